"""Labels onto the disk: all files of a format or none, and no file that was there before is lost.

A format that is a folder needs a new or an empty one: it is made beside the place under another
name and takes its place when it is whole.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from ...atomic import check_writable, failing_to_write, is_stdout, replacing, writing
from ...errors import BadInput
from ...places import check_places
from .dataset import Files


def save(
    files: Files, target: str | Path, reads: list[Path], copies: Mapping[str, Path] | None = None
) -> None:
    """Writes what a format's `write` gave.

    Args:
        files: texts by their names; "" and names that are only an ending belong to one file.
        target: the file or folder; "-" is standard output, for the formats of one file.
        reads: what must not be replaced.
        copies: pictures by their names in the folder.

    Raises:
        BadInput: the place cannot be written, would replace an input, or is a folder in use.
    """
    if set(files) <= {"", ".xml"}:
        _save_file(files, target, reads)
    elif is_stdout(target):
        raise BadInput("this format is a folder: name one, not -")
    else:
        _save_folder(files, Path(target), copies or {})


def _save_file(files: Files, target: str | Path, reads: list[Path]) -> None:
    if is_stdout(target):
        with failing_to_write(target), writing(target) as file:
            file.write(files[""].encode())
            file.flush()
        return
    places = {ending: Path(target).with_suffix(ending or Path(target).suffix) for ending in files}
    check_places(reads, {f"the file {path.name}": path for path in places.values()})
    for path in places.values():
        check_writable(path)
    with failing_to_write(target), ExitStack() as stack:
        for ending, path in places.items():
            stack.enter_context(replacing(path)).write_text(files[ending], encoding="utf-8")


def check_folder(target: Path) -> None:
    """BadInput unless a folder can be made at `target`: a new name, or an empty folder."""
    if target.is_dir() and any(target.iterdir()):
        raise BadInput(f"{target} is not empty: name a new folder")
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target} is a file, and this format is a folder: name a new one")
    check_writable(target.absolute().with_name(f".{target.name}.{os.getpid()}.partial"))


def _save_folder(files: Files, target: Path, copies: Mapping[str, Path]) -> None:
    check_folder(target)
    target = target.absolute()
    building = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with failing_to_write(target):
            for name, text in files.items():
                place = building / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
            for name, picture in copies.items():
                place = building / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, place)
            building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
