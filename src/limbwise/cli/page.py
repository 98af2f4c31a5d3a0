"""`limbwise page --static FOLDER`: the page as plain files, the networks in the browser itself."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadInput
from ..estimator import stages
from ..models.catalogue import Network, own_height
from .options import PLACE, ModelOption, PersonOption
from .terminal import failing_in_one_line, note


@failing_in_one_line()
def page(
    static: Annotated[
        Path,
        typer.Option("--static", help="The folder to make, for any web server.", **PLACE),
    ],
    model: ModelOption = Path("fast"),
    person_model: PersonOption = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime",
            help="onnxruntime-web: its folder, or its .tgz; without, npm gets it once.",
            **PLACE,
        ),
    ] = None,
) -> None:
    """The page without a server: pictures and the camera never leave the browser."""
    from ..backends.openvino import describe
    from ..server.static_page import RUNTIME, static_page
    from .browser_runtime import runtime_files

    _check_free(static)
    paths = [_onnx(stage) for stage in stages(model, person_model)]
    about = [describe(path) for path in paths]
    for path, description in zip(paths, about, strict=True):
        if description is None:
            raise BadInput(f"{path} was not exported by limbwise: it does not say what it is")
    first, second = (each for each in about if each is not None)
    if height := own_height(model):
        first = replace(first, height=height)
    found, version = runtime_files(runtime, RUNTIME)
    files = static_page(paths[0], paths[1], first, second, found, version)
    _write(static, files)
    size = sum(map(len, files.values())) / 1e6
    note(
        f"{static} has the page, {len(files)} files of {size:.1f} MB. To see it here: "
        f"python -m http.server --bind 127.0.0.1 --directory {static}"
    )


def _onnx(stage: Network | Path | None) -> Path:
    if stage is None:
        raise BadInput("the page needs two stages: give --person-model, or --model fast")
    path = stage.plain if isinstance(stage, Network) else stage
    if path.suffix != ".onnx":
        raise BadInput(f"{path} is no .onnx file, the only kind that runs in a browser")
    return path


def _check_free(folder: Path) -> None:
    """BadInput unless the folder can be made, or is empty."""
    if folder.is_dir():
        if any(folder.iterdir()):
            raise BadInput(f"the folder {folder} is not empty: choose another, or empty it")
    elif folder.exists() or folder.is_symlink():
        raise BadInput(f"{folder} is not a folder: choose another place")
    if not folder.absolute().parent.is_dir():
        raise BadInput(f"the folder {folder.parent} does not exist: make it, or choose another")


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """All of the files or none: they take their place as a whole."""
    partial = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.partial")
    try:
        for name, content in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
