"""Pictures to a place, whose name says how: a film, an animation, one picture, a folder of them.

    Recorder(path) -> _sink -> Film | _Picture | _Folder

Nothing is made before the first picture. A file appears whole or not at all: it is written beside
its place and renamed at the end, also when the loop that filled it was interrupted.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2

from ..atomic import check_writable, failing_to_write, fitting, replacing
from ..errors import BadInput
from ..geometry import Image
from ..places import Identity, identities, keep
from .films import FILMS, Film, Sink, keep_source

USUAL_FPS = 25.0  # where nobody says


class Recorder:
    """Takes pictures (H, W, 3) BGR one by one and makes a file or a folder of them.

    with Recorder("out.mp4") as recorder:
        recorder.add(image, time)

    Args:
        path: a film (.mp4 .m4v .mov .mkv .webm .avi), an animation (.gif .webp), one picture
            (.png .jpg), or a folder if it has no ending.
        fps: what films and animations are played at; None keeps the times given.
        inputs: files that are read: none is replaced.

    Raises:
        BadInput: at once if the place cannot be written to, later if writing fails: then what stood
            there before remains.
    """

    def __init__(
        self, path: str | Path, fps: float | None = None, *, inputs: Iterable[Path] = ()
    ) -> None:
        if fps is not None and not fps > 0:
            raise BadInput(f"{fps} frames a second cannot be: say more than 0")
        self.path = Path(path)
        self.count = 0
        folder = str(path).endswith(("/", os.sep))
        with failing_to_write(path):
            self._sink = _sink(self.path, folder, fps or USUAL_FPS, identities(inputs))
        self._clock = _Clock(fps)
        self._open = True

    def add(self, image: Image, time: float | None = None, name: str | Path | None = None) -> None:
        """A picture more.

        Args:
            image: (H, W, 3) uint8 BGR.
            time: seconds, for films; where it is left out frames follow each other evenly.
            name: of the picture this came from, for the file in a folder.

        Raises:
            ValueError: the recorder is closed.
            BadInput: it cannot be written.
        """
        if not self._open:
            raise ValueError(f"{self.path} is closed")
        with self._failing():
            self._sink.add(image, self._clock(time), name)
        self.count += 1

    def close(self) -> None:
        """Finishes the file and puts it in its place."""
        if self._open:
            self._open = False
            with self._failing():
                self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()  # an interrupted film is still a film

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """A failure to write as one line, leaving nothing half-written behind."""
        try:
            yield
        except (OSError, av.FFmpegError, cv2.error) as error:
            self._open = False
            self._sink.abandon(error)
            reason = getattr(error, "strerror", None) or getattr(error, "err", None) or error
            raise BadInput(f"{self.path} could not be written: {reason}") from error


class _Clock:
    """Times that start at 0 and always grow: after a jump back, another video, they run on."""

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self._step = 1 / (fps or USUAL_FPS)
        self._now: float | None = None
        self._shift = 0.0

    def __call__(self, time: float | None) -> float:
        if self._now is None:
            self._now, self._shift = 0.0, time or 0.0
        elif self._fps or time is None:
            self._now += self._step
        else:
            if time - self._shift <= self._now:
                self._shift = time - self._now - self._step
            self._step, self._now = time - self._shift - self._now, time - self._shift
        return self._now


_PICTURES = (".jpg", ".jpeg", ".png")


def _sink(path: Path, folder: bool, fps: float, inputs: frozenset[Identity]) -> Sink:
    if str(path) == "-":
        raise BadInput("pictures cannot go to standard output: name a file or folder")
    ending = path.suffix.lower()
    if folder or path.is_dir() or not ending:
        return _Folder(path, inputs)
    if ending not in {*FILMS, *_PICTURES}:
        known = " ".join([*FILMS, *_PICTURES])
        raise BadInput(f"{path} has an unknown ending: use one of {known}, or none for a folder")
    check_writable(path)
    keep(path, inputs)
    return Film(path, FILMS[ending], fps) if ending in FILMS else _Picture(path)


class _Picture(Sink):
    """Written at the end, when it is known that no second picture comes."""

    _several = False
    _image: Image | None

    def __init__(self, path: Path) -> None:
        self._path, self._image = path, None

    def add(self, image: Image, time: float, name: str | Path | None) -> None:
        if self._image is not None:
            self._several = True
            raise BadInput(
                f"{self._path} holds one picture: give a folder or a .mp4 name for several pictures"
            )
        keep_source(self._path, name)
        self._image = image.copy()  # the caller may draw on it again

    def close(self) -> None:
        if self._image is not None and not self._several:
            _write_picture(self._path, self._image)


class _Folder(Sink):
    """Pictures named after those they came from, or numbered."""

    def __init__(self, path: Path, inputs: frozenset[Identity]) -> None:
        if path.exists() and not path.is_dir():
            raise BadInput(f"{path} is a file, not a folder: choose another name")
        check_writable(path / "0.jpg" if path.exists() else path)
        self._path, self._count, self._inputs = path, 0, inputs
        self._times: Counter[str] = Counter()
        self._used: set[str] = set()

    def add(self, image: Image, time: float, name: str | Path | None) -> None:
        self._path.mkdir(exist_ok=True)
        target = self._path / f"{self._unused(Path(name).stem if name else '')}.jpg"
        keep_source(target, name)
        keep(target, self._inputs)
        _write_picture(target, image)
        self._count += 1

    def _unused(self, stem: str) -> str:
        """stem, stem_2, stem_3; some file systems take A and a for the same."""
        stem = fitting(stem, "", 240) or f"{self._count:06}"
        while True:
            self._times[stem] += 1
            title = stem if self._times[stem] == 1 else f"{stem}_{self._times[stem]}"
            if title.casefold() not in self._used:
                self._used.add(title.casefold())
                return title


def _write_picture(path: Path, image: Image) -> None:
    quality = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 92]
    done, data = cv2.imencode(path.suffix.lower(), image, quality)
    if not done:
        rows, columns = image.shape[:2]
        raise OSError(f"{columns} x {rows} pixels are too many for {path.suffix}")
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())
