"""What a command reads and what it writes: nothing that is read is written over, nothing that is
written is written twice.

A file is known by what it is (device and inode), not by what it is called: links of both kinds and
other ways to spell a name are the same file.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .atomic import is_stdout
from .errors import BadInput
from .sources.image import PICTURES


class Identity(NamedTuple):
    """Of a file that is there: device and inode. Of a new one: those of its folder, and the name
    as file systems have it that take A and a for the same."""

    device: int
    inode: int
    name: str = ""


def check_places(
    reads: Iterable[str | Path | None], writes: Mapping[str, str | Path | None]
) -> None:
    """BadInput if an output is an input or another output.

    `reads` are files, and folders for all pictures in them; `writes` are places by what a user
    calls them, such as "--json". None stands for what is not asked for.
    """
    kept = [Path(path) for path in reads if path is not None]
    taken: dict[Identity, str] = {}
    for option, place in writes.items():
        for path in _made_with(place):
            its = identity(path)
            if its is None:
                continue
            if its in taken:
                raise BadInput(f"{taken[its]} and {option} both write {path}: name two files")
            taken[its] = option
            for source in kept:
                if its.name == "" and its in _inside(source):
                    raise BadInput(
                        f"{option} {path} would replace {source}, which is read: give another place"
                    )


def identity(path: str | Path) -> Identity | None:
    """What a file is, also one that is to be made; None where nothing can be made or lost."""
    if is_stdout(path):
        return Identity(0, 0, "standard output")
    if str(path) == os.devnull:
        return None
    path = Path(path)
    try:
        found = path.stat()
        return Identity(found.st_dev, found.st_ino)
    except (OSError, ValueError):
        pass
    with suppress(OSError, ValueError, RuntimeError):  # of a loop of links
        path = path.resolve()
        folder = path.parent.stat()
        return Identity(folder.st_dev, folder.st_ino, path.name.casefold())
    return None


def identities(paths: Iterable[Path]) -> frozenset[Identity]:
    """What must not be replaced."""
    return frozenset(its for path in paths for its in _inside(path))


def keep(target: Path, inputs: frozenset[Identity]) -> None:
    """BadInput if a file that is about to be written is one of the inputs."""
    if identity(target) in inputs:
        raise BadInput(f"{target} would replace a file that is read: give another place")


def with_weights(path: str | Path | None) -> list[Path]:
    """The files of a model: OpenVINO and NCNN keep the weights beside the graph."""
    return list(_made_with(path))


def _made_with(path: str | Path | None) -> Iterator[Path]:
    if path is not None:
        yield Path(path)
        if Path(path).suffix.lower() in (".xml", ".param"):
            yield Path(path).with_suffix(".bin")
        if Path(path).suffix.lower() == ".param":
            yield Path(path).with_suffix(".json")


def _inside(path: Path) -> Iterator[Identity]:
    """A file itself, or the pictures of a folder and of those in it."""
    if not path.is_dir():
        its = identity(path)
        if its and not its.name:
            yield its
        return
    for folder, _, _ in os.walk(path):
        with suppress(OSError), os.scandir(folder) as entries:
            device = Path(folder).stat().st_dev
            for entry in entries:  # which know most inodes without being asked for each
                if Path(entry.name).suffix.lower() in PICTURES.split():
                    its = identity(entry.path) if entry.is_symlink() else None
                    yield its or Identity(device, entry.inode())
