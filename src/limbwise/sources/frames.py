"""Pictures from anywhere as Frames: files, folders, patterns, videos, URLs, cameras, stdin.

    source -> _items -> _shots: pictures, films (video.py), live.py or piped.py -> Frame

All of it is lazy: a source is opened when its first frame is asked for and closed after its last.
"""

import glob
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from ..errors import BadInput
from ..geometry import Image
from . import piped
from .image import PICTURES, check_file, check_name, opened, pages, picture_shots, read_picture
from .live import camera_shots, persistent_shots
from .video import Report, Shots, film_length, film_shots

__all__ = ["Frame", "count", "frames", "is_live", "read_picture"]

Source = str | Path | int

VIDEOS = ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .wmv .flv .3gp"
_FILES = (PICTURES + " " + VIDEOS).split()
_URL = re.compile(r"(https?|rtsps?|rtmps?|rtp|udp|tcp|srt)://", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Frame:
    """image (H, W, 3) uint8 BGR; `time` in seconds, `index` from 0; `path` only for stills.

    The time of a video's frame is when it is shown, from 0; of a camera, a stream or stdin the
    wall clock since its first frame; of stills 0, 1, 2, ... `index` runs on over several sources.
    """

    image: Image
    time: float
    index: int
    source: str
    path: Path | None = None


def frames(
    source: Source | Sequence[Source],
    *,
    on_bad: Report | None = None,
    raw_size: tuple[int, int] | None = None,
    fps: float | None = None,
    stdin: BinaryIO | None = None,
    patience: float = 0.0,
    recursive: bool = False,
) -> Iterator[Frame]:
    """The frames of one source or of several.

    A video that breaks off gives what it has, and is then a source that cannot be read.

    Args:
        source: a file, folder, glob pattern, URL, camera number, or several of these. Of a folder
            its pictures and films are taken. "-" reads `stdin`: JPEGs one after another, or BGR24.
        on_bad: gets the BadInput of a source that cannot be read among several, and the next
            follows.
        raw_size: width and height in pixels of BGR24 from `stdin`.
        fps: its frames a second.
        stdin: what "-" reads; the process's own if None.
        patience: seconds for which a stream that breaks off is opened again, at growing intervals.
        recursive: of a folder also what is in folders in it.

    Raises:
        BadInput: a source cannot be read, and it is the only one or there is no `on_bad`.
    """
    report, index = on_bad or _refuse, 0
    items, several = _items(source, recursive)
    for item in items:
        try:
            with closing(_shots(item, report, stdin, raw_size, fps, patience)) as shots:
                for image, time in shots:
                    path = Path(str(item)) if time is None else None
                    yield Frame(image, index if time is None else time, index, _name(item), path)
                    index += 1
        except BadInput as bad:
            if not several:
                raise
            report(bad)


def is_live(source: Source | Sequence[Source]) -> bool:
    """Whether it goes on as time does: a camera, stdin, or a URL that does not end like a file."""
    if not isinstance(source, str | Path | int):
        return any(map(is_live, source))
    match _kind(source):
        case "file":
            return False
        case "url":
            url = urlsplit(str(source))
            a_file = Path(url.path).suffix.lower() in _FILES
            return not (url.scheme.lower().startswith("http") and a_file)
    return True


def is_pipe(source: Source | Sequence[Source]) -> bool:
    """Whether it is, or holds, stdin or a pipe with a name."""
    if not isinstance(source, str | Path | int):
        return any(map(is_pipe, source))
    return _kind(source) in ("stdin", "pipe")


def count(source: Source | Sequence[Source], *, recursive: bool = False) -> int | None:
    """About how many frames there will be, from the headers alone; None where nobody knows."""
    total = 0
    for item in _items(source, recursive)[0]:
        length = _length(item)
        if length is None:
            return None
        total += length
    return total


def files(source: Source | Sequence[Source], *, recursive: bool = False) -> list[Path]:
    """The files that are read, also one that stands behind stdin."""
    items = [(item, _kind(item)) for item in _items(source, recursive)[0]]
    return [
        Path("/dev/stdin" if kind == "stdin" else str(item))
        for item, kind in items
        if kind in ("file", "stdin")
    ]


def are_files(source: Source | Sequence[Source]) -> bool:
    """Whether nothing in it is a camera, a stream, a pipe or an address."""
    return all(_kind(item) == "file" for item in _items(source, recursive=False)[0])


def _length(item: Source) -> int | None:
    path = Path(str(item))
    if _kind(item) != "file":
        return None
    try:
        if _is_picture(path):
            with opened(path, str(path)) as picture:
                return pages(picture, str(path))
        return film_length(path)
    except BadInput:
        return 0  # what cannot be read gives no frames


def _items(source: Source | Sequence[Source], recursive: bool) -> tuple[list[Source], bool]:
    """The single sources in it, and whether it may hold several."""
    if not isinstance(source, str | Path | int):
        return [item for some in source for item in _items(some, recursive)[0]], True
    if not str(source):
        raise BadInput("the name of a source is empty: is a variable not set?")
    path = Path(str(source))
    if _kind(source) != "file":
        return [source], False
    check_name(path)
    if path.is_file():
        return [source], False
    if path.is_dir():
        found = [
            file
            for file in path.glob("**/*" if recursive else "*")
            if file.suffix.lower() in _FILES and not _hidden(file.relative_to(path))
        ]
        deeper = "" if recursive else "; recursive looks into the folders in it"
        missing = f"the folder {path} holds no pictures ({PICTURES}) or films{deeper}"
    elif any(letter in str(source) for letter in "*?["):
        matches = glob.glob(str(source), recursive=True)  # noqa: PTH207 - it may be absolute
        found = [Path(file) for file in matches]
        missing = f"no file is called {source}: is the pattern right?"
    else:
        return [source], False
    shown = [file for file in found if file.is_file() and not file.name.startswith(".")]
    if not shown:
        raise BadInput(missing)
    return [*sorted(shown, key=_natural)], True


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _natural(path: Path) -> tuple[list[str | int], str]:
    """9.jpg before 10.jpg."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], str(path)


def is_url(text: str) -> bool:
    """Whether it is an address of a kind that can be opened."""
    return bool(_URL.match(text))


def _kind(item: Source) -> str:
    if isinstance(item, int) or (isinstance(item, str) and item.isdecimal()):
        return "camera"
    if item == "-":
        return "stdin"
    if is_url(str(item)):
        return "url"
    with suppress(OSError, ValueError):
        return "pipe" if Path(str(item)).is_fifo() else "file"
    return "file"


def _name(item: Source) -> str:
    """What a user calls it; without the password that a URL may hold."""
    match _kind(item):
        case "camera":
            return f"camera {item}"
        case "stdin":
            return "stdin"
        case "pipe":
            return str(item)
    return re.sub(r"(?<=://)[^/@]*@", "", str(item))


def _refuse(bad: BadInput) -> None:
    raise bad


def _shots(
    item: Source,
    report: Report,
    stdin: BinaryIO | None,
    raw_size: tuple[int, int] | None,
    fps: float | None,
    patience: float,
) -> Shots:
    match _kind(item):
        case "camera":
            return camera_shots(int(str(item)), report)
        case "stdin" if raw_size:
            return piped.raw_shots(stdin or piped.stdin(), raw_size, fps, report)
        case "stdin":
            return piped.shots(stdin or piped.stdin(), "stdin", report)
        case "pipe":
            return _pipe(Path(str(item)), report, patience)
        case "url" if is_live(item) and patience:
            return persistent_shots(str(item), _name(item), report, patience)
        case "url":
            return film_shots(str(item), _name(item), is_live(item), report)
    path = Path(str(item))
    check_file(path, str(path))
    if _is_picture(path):
        return _pictures(path, report)
    return film_shots(path, str(path), False, report)


def _pipe(path: Path, report: Report, patience: float) -> Shots:
    with piped.fifo(path, patience) as stream:
        yield from piped.shots(stream, str(path), report)


def _is_picture(path: Path) -> bool:
    """By its ending, else by its content."""
    if path.suffix.lower() in _FILES:
        return path.suffix.lower() in PICTURES.split()
    try:
        with opened(path, str(path)):
            return True
    except BadInput:
        return False


def _pictures(path: Path, report: Report) -> Shots:
    with opened(path, str(path)) as picture:
        yield from picture_shots(picture, str(path), report)
