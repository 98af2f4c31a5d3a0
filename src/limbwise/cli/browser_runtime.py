"""onnxruntime-web, which runs networks in a browser: a package of npm, not part of limbwise.

It is taken from a folder or archive that the user names, else got by npm once and kept.
"""

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .. import cache
from ..errors import BadInput

VERSION = "1.30.0"
_ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"
_BY_HAND = f"npm pack onnxruntime-web@{VERSION}, then give --runtime {_ARCHIVE}"


def runtime_files(place: Path | None, names: Iterable[str]) -> tuple[dict[str, bytes], str]:
    """The package's files of these names, and its version; `place` is the package's folder, one
    that has it in node_modules, or its .tgz. BadInput if they are not there or cannot be got."""
    place = _kept() if place is None else place
    try:
        if place.is_dir():
            return _from_folder(place, names)
        return _from_archive(place, names)
    except (OSError, KeyError, ValueError, EOFError, tarfile.TarError) as error:
        raise BadInput(
            f"--runtime {place} is not the package onnxruntime-web, nor has it: {_BY_HAND}"
        ) from error


def _from_folder(place: Path, names: Iterable[str]) -> tuple[dict[str, bytes], str]:
    below = (place / "node_modules" / "onnxruntime-web", place / "package", place.parent)
    package = next((each for each in below if _is_package(each)), place)
    about = json.loads((package / "package.json").read_bytes())
    return {name: (package / "dist" / name).read_bytes() for name in names}, about["version"]


def _is_package(folder: Path) -> bool:
    return (folder / "package.json").is_file() and (folder / "dist").is_dir()


def _from_archive(place: Path, names: Iterable[str]) -> tuple[dict[str, bytes], str]:
    with tarfile.open(place) as archive:

        def content(name: str) -> bytes:
            file = archive.extractfile(f"package/{name}")
            if file is None:
                raise KeyError(name)
            return file.read()

        about = json.loads(content("package.json"))
        return {name: content(f"dist/{name}") for name in names}, about["version"]


def _kept() -> Path:
    """The archive in limbwise's cache, got by npm if it is not there yet."""
    kept = cache.folder() or cache.private_folder()
    if kept is None:
        raise BadInput(f"there is no folder to keep onnxruntime-web in: {_BY_HAND}")
    path = kept / _ARCHIVE
    if path.is_file():
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise BadInput(f"npm is missing, which gets onnxruntime-web: install it, or {_BY_HAND}")
    with tempfile.TemporaryDirectory(dir=kept) as folder:
        got = subprocess.run(
            [npm, "pack", f"onnxruntime-web@{VERSION}"],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        made = Path(folder, _ARCHIVE)
        if got.returncode or not made.is_file():
            lines = [line for line in got.stderr.splitlines() if "error" in line.lower()] or ["?"]
            raise BadInput(f"npm could not get onnxruntime-web ({lines[0][:120]}): {_BY_HAND}")
        made.replace(path)
    return path
