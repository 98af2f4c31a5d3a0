"""Whole files or none: written under a temporary name beside the place, then renamed.

Only regular files and new names are written so. "-", /dev/stdout, /dev/null and pipes are streams:
they have no old content to keep and are written to as they are. Other nodes are refused, since a
device that is renamed over is lost.
"""

import io
import json
import os
import re
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from .errors import BadInput

LONGEST = 255  # bytes of a name, on most file systems
_STDOUT = ("-", "/dev/stdout", "/dev/fd/1")
_PARTIAL = re.compile(r"\..*\.(\d+)\.partial")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields the temporary path to write; renames it on success, removes it on an exception.

    The suffix is kept, since many writers choose their format by it. What was not written at all
    changes nothing; a link stays a link. What a killed run left of the same name is removed.
    BadInput if the folder does not exist or cannot be written to, or the path is no regular file.
    """
    path = Path(path)
    check_writable(path)
    target = path.resolve() if path.is_symlink() else path
    temporary = _partial(target, os.getpid())
    for name, pid in _of_killed_runs(target.parent.absolute()):
        if name.startswith(_partial(target, pid).name.partition(".partial")[0] + "."):
            target.with_name(name).unlink(missing_ok=True)
    try:
        yield temporary
        if temporary.exists():
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: str | Path) -> Iterator["Writable"]:
    """An open file that takes its place at the end, as in `replacing`, or the stream itself."""
    if is_stdout(path):
        yield stdout()
    elif is_stream(path):
        with Path(path).open("wb", buffering=0) as file:
            yield _Unbuffered(file)
    else:
        with replacing(path) as temporary, temporary.open("wb") as file:
            yield file


@contextmanager
def failing_to_write(path: str | Path) -> Iterator[None]:
    """A failure to write as a BadInput that names the place."""
    try:
        yield
    except BrokenPipeError:
        raise  # no failure: whoever reads has read enough, and the caller ends quietly
    except OSError as error:
        place = "standard output" if is_stdout(path) else path
        raise BadInput(f"{place} could not be written: {error.strerror or error}") from error
    except RuntimeError as error:
        if "iostream" not in str(error):  # as C++ says it, which does not say why
            raise
        raise BadInput(f"{path} could not be written: is the disk full?") from error


def write_json(path: str | Path, content: Any) -> None:
    """Writes plain JSON types to a file or stream."""
    text = json.dumps(content)
    with failing_to_write(path), writing(path) as file:
        file.write(text.encode() + b"\n" * is_stdout(path))
        file.flush()


def is_stdout(path: str | Path) -> bool:
    return str(path) in _STDOUT


def is_stream(path: str | Path) -> bool:
    """Whether it is written to as it is: standard output, a pipe, or the device that forgets."""
    if is_stdout(path):
        return True
    with suppress(OSError, ValueError):
        mode = os.stat(path).st_mode  # noqa: PTH116 - as it is said
        return stat.S_ISFIFO(mode) or (
            stat.S_ISCHR(mode) and os.path.samefile(path, os.devnull)  # noqa: PTH121
        )
    return False


def stdout() -> "Writable":
    """Standard output; BadInput where the caller has closed it."""
    if sys.stdout is None:
        raise BadInput("standard output is closed: name a file for what is to be written")
    try:
        sys.stdout.flush()
        return _Unbuffered(io.FileIO(sys.stdout.fileno(), "wb", closefd=False))
    except io.UnsupportedOperation:  # not a file at all: somebody collects it
        return sys.stdout.buffer


class Writable(Protocol):
    """What results are written to."""

    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...


class _Unbuffered:
    """A pipe, each write of which is whole or has failed. A buffer would keep what an interrupted
    write did not get rid of, and try it again at the end: for ever, where nobody reads."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw

    def write(self, data: bytes, /) -> int:
        rest = memoryview(data)
        while rest:
            written = self._raw.write(rest)
            if written is None:  # a pipe that does not wait, and is full
                select.select([], [self._raw], [], 1.0)
            rest = rest[written or 0 :]
        return len(data)

    def flush(self) -> None:
        """There is nothing left to write."""


def check_writable(path: str | Path, *, stream: bool = False) -> None:
    """BadInput, naming the remedy, if no file can be made at `path`; a `stream` is as good as a
    file for those who write from beginning to end."""
    if is_stream(path) and stream:
        return
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG  # a new name
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{_short(path)} cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from error
    if stat.S_ISDIR(mode):
        raise BadInput(f"{path} is a folder: give the name of a file in it")
    if not stat.S_ISREG(mode):
        raise BadInput(f"{path} is no regular file but a device or pipe: give the name of a file")
    folder = (path.resolve() if path.is_symlink() else path).parent
    if not folder.is_dir():
        raise BadInput(f"the folder {folder} does not exist: make it, or choose another")
    if not os.access(folder, os.W_OK):
        raise BadInput(f"the folder {folder} is not writable: choose another")


def fitting(stem: str, ending: str, longest: int = LONGEST) -> str:
    """A file name of at most so many bytes: the stem is cut where it must be."""
    room = max(longest - len(os.fsencode(ending)), 0)
    data = os.fsencode(stem)
    return (stem if len(data) <= room else data[:room].decode("utf-8", "ignore")) + ending


def _partial(path: Path, pid: int) -> Path:
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= 32 else ""
    return path.with_name(fitting(f".{path.stem}", f".{pid}.partial{suffix}"))


@cache  # once a folder: one of a hundred thousand pictures is not looked through for each of them
def _of_killed_runs(folder: Path) -> frozenset[tuple[str, int]]:
    """What processes that are gone left unfinished in a folder: the names, and whose they were."""
    if os.name != "posix":  # elsewhere asking for a process may end it
        return frozenset()
    with suppress(OSError):
        left = [(name, match) for name in os.listdir(folder) if (match := _PARTIAL.match(name))]  # noqa: PTH208
        return frozenset((name, int(m[1])) for name, m in left if not _lives(int(m[1])))
    return frozenset()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} letters)"
