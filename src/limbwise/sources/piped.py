"""Pictures and films from a pipe: standard input, or a pipe with a name.

    pipe -> _opened -> its first bytes tell what comes -> JPEGs | one picture | a film -> shots

JPEGs may follow one another for as long as somebody sends them. A film is read as it comes, but
for an MP4 whose index is at its end: that is kept in a temporary file first.
"""

import io
import math
import os
import select
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import numpy as np

from ..errors import BadInput
from .image import opened, picture_shots, read_picture, split_jpegs
from .video import Report, Shots, film_shots

LEAST_WAIT = 1.0  # seconds in which somebody must begin to write into a pipe with a name
BEGIN = 1 << 16  # bytes that are looked at to tell what comes

_PICTURES = (b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"qoif",
             b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n")  # fmt: skip
_FILMS = (b"\x1aE\xdf\xa3", b"FLV\x01", b"OggS", b"0&\xb2u", b"\0\0\1\xba", b"\0\0\1\xb3",
          b"YUV4MPEG2", b"DKIF", b"\x06\x0e+4", b"G")  # fmt: skip
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")


def shots(stream: BinaryIO, name: str, report: Report) -> Shots:
    """What a pipe brings, with its times: of a film its own, of JPEGs the clock's on the wall."""
    pipe = _Peeked(stream)
    match kind(pipe.begin):
        case "picture":
            yield from _picture(pipe.read(), name, report)
        case "film" if _index_comes_late(pipe.begin):
            with _kept(pipe, name) as path:
                yield from film_shots(path, name, False, report)
        case "film":
            yield from film_shots(pipe, name, False, report)
        case _:
            yield from jpegs(pipe, name, report)


def raw_shots(stream: BinaryIO, size: tuple[int, int], fps: float | None, report: Report) -> Shots:
    """BGR24 of `size` (width, height), `fps` a second, else by the clock on the wall."""
    shape = (size[1], size[0], 3)
    shown, start, data = 0, 0.0, bytearray()
    while len(data := _filled(stream, math.prod(shape))) == math.prod(shape):
        now = monotonic()
        start = start or now
        yield np.frombuffer(data, np.uint8).reshape(shape), shown / fps if fps else now - start
        shown += 1
    if data or not shown:
        bad = BadInput(
            f"stdin ends within frame {shown}, which has {len(data)} bytes "
            f"instead of {math.prod(shape)}: is the raw size right?"
        )
        if not shown:
            raise bad
        report(bad)


@contextmanager
def fifo(path: Path, patience: float) -> Iterator[BinaryIO]:
    """A pipe with a name, opened; BadInput if nobody writes into it for so many seconds."""
    seconds = max(patience, LEAST_WAIT)
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(number, "rb", buffering=0) as raw:  # noqa: PTH123 - a number, no path
        yield _Patient(raw, seconds, str(path))  # type: ignore[misc]


def stdin() -> BinaryIO:
    """Standard input; BadInput where the caller has closed it."""
    if sys.stdin is None:
        raise BadInput("standard input is closed: send pictures to it, or name a file")
    return sys.stdin.buffer


class _Patient(io.RawIOBase):
    """A pipe whose writer may be late: an end before the first byte is none, and a silence that
    lasts is one."""

    def __init__(self, raw: io.FileIO, seconds: float, name: str) -> None:
        self._raw, self._seconds, self._name = raw, seconds, name
        self._begun = False

    def read(self, size: int = -1) -> bytes:
        deadline = monotonic() + self._seconds
        while monotonic() < deadline:
            ready, _, _ = select.select([self._raw], [], [], min(deadline - monotonic(), 0.2))
            data = self._raw.read(size if size >= 0 else BEGIN) if ready else None
            if data:
                self._begun = True
                return data
            if data == b"" and self._begun:
                return b""
            if data == b"":  # nobody has opened it for writing yet
                select.select([], [], [], 0.05)
        if self._begun:
            raise BadInput(f"{self._name} says no more: nothing came for {self._seconds:g} s")
        raise BadInput(
            f"{self._name} says nothing: nobody wrote into it for {self._seconds:g} s (--patience)"
        )


class _Peeked:
    """A stream whose first bytes were looked at; PyAV, too, reads it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._some = getattr(stream, "read1", stream.read)  # what is there now: none comes late
        self.begin = self._some(BEGIN)
        while len(self.begin) < 16 and (more := self._some(BEGIN)):
            self.begin += more
        self._rest = self.begin

    def read(self, size: int = -1) -> bytes:
        """As much as there is, up to `size`; all of it if that is negative."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BEGIN), b""))
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        more: bytes = self._some(size)
        return more


def kind(begin: bytes) -> str:
    """Of what the first bytes are: "picture", "film", or "jpegs" where nothing else is known."""
    if begin[:4] == b"RIFF":
        return "picture" if begin[8:12] == b"WEBP" else "film"
    if begin[4:8] == b"ftyp":
        return "picture" if begin[8:12] in _PICTURE_BRANDS else "film"
    if begin[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "film"
    if begin.startswith(_PICTURES):
        return "picture"
    if begin.startswith(_FILMS) and (begin[:1] != b"G" or begin[188:189] == b"G"):  # MPEG-TS
        return "film"
    return "jpegs"


def _index_comes_late(begin: bytes) -> bool:
    """Whether the boxes of an MP4 (ISO 14496-12) come in an order that a pipe cannot give."""
    at = 0
    while begin[4:8].isalpha() and at + 8 <= len(begin):
        name, size = begin[at + 4 : at + 8], int.from_bytes(begin[at : at + 4])
        if name in (b"moov", b"moof"):
            return False
        if name == b"mdat" or size < 8:
            return True
        at += size
    return begin[4:8].isalpha()


@contextmanager
def _kept(pipe: _Peeked, name: str) -> Iterator[Path]:
    """All that comes as a file; BadInput where there is no room for it."""
    try:
        with tempfile.NamedTemporaryFile(prefix="limbwise-") as file:
            shutil.copyfileobj(pipe, file, 1 << 20)
            file.flush()
            yield Path(file.name)
    except OSError as error:
        raise BadInput(f"{name} could not be kept: {error.strerror or error}") from error


def _picture(data: bytes, name: str, report: Report) -> Shots:
    with (
        opened(io.BytesIO(data), name) as picture,
        closing(picture_shots(picture, name, report)) as shown,
    ):
        for image, time in shown:
            yield image, time or 0.0


def jpegs(pipe: _Peeked, name: str, report: Report) -> Shots:
    """One after another. The first that is damaged is told, others are counted and told at the
    end: they may be thousands."""
    number, damaged, start = 0, 0, 0.0
    for number, data in enumerate(split_jpegs(lambda: pipe.read(BEGIN)), 1):
        try:
            image = read_picture(data, f"picture {number} of {name}")
        except BadInput as bad:
            damaged += 1
            if damaged == 1:
                report(bad)
            continue
        now = monotonic()
        start = start or now
        yield image, now - start
    if damaged > 1:
        report(BadInput(f"{damaged} of {number} pictures of {name} are damaged"))
    if not number:
        raise BadInput(
            f"{name} holds no JPEG, nor another picture or film: send one, or say the raw size"
        )


def _filled(stream: BinaryIO, size: int) -> bytearray:
    """`size` bytes, fewer only at the end: a pipe gives as many as it has."""
    data = bytearray()
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data
