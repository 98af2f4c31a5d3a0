"""Pictures to a place, whose name says how: a film, an animation, one picture, a folder of them.

    Recorder(path) -> _sink -> _Film | _Picture | _Folder

Nothing is made before the first picture. A file appears whole or not at all: it is written beside
its place and renamed at the end, also when the loop that filled it was interrupted.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np
import PIL.Image

from ..atomic import check_writable, failing_to_write, fitting, replacing
from ..errors import BadInput
from ..geometry import Image
from ..places import Identity, identities, keep

LARGEST = 8192  # pixels a side of a film; H.264 ends there (level 6.2)
USUAL_FPS = 25.0  # where nobody says


class Recorder:
    """Takes pictures (H, W, 3) BGR one by one and makes a file or a folder of them.

    with Recorder("out.mp4") as recorder:
        recorder.add(image, time)

    `.mp4 .m4v .mov` films and `.gif .webp` animations keep the times given, or are played at
    `fps`; `.png .jpg` hold one picture; a name without ending is a folder. BadInput at once if
    the place cannot be written to, later if writing fails: then what stood there before remains.
    None of the `inputs`, files that are read, is replaced.
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
        """`time` in seconds; `name` of the picture this came from, for the file in a folder."""
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


class _Sink:
    """A place being filled. Whoever writes each picture at once has nothing to end."""

    def add(self, image: Image, time: float, name: str | Path | None) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Ends the file and puts it in its place."""

    def abandon(self, error: BaseException) -> None:
        """Writing failed: removes what is unfinished."""


@dataclass(frozen=True)
class _Form:
    """How FFmpeg is to write a film, in `ticks` a second; a frame comes `least` ticks or more
    after the one before or is left out."""

    container: str
    codec: str
    pixels: str
    ticks: int
    least: int
    container_options: dict[str, str]
    codec_options: dict[str, str]


# What every browser plays: H.264 in yuv420p, its index in front. Without B-frames, since with them
# FFmpeg lets a film of uneven steps end too early.
_FRONT = {"movflags": "+faststart"}
_X264 = {"crf": "20", "preset": "veryfast", "bf": "0"}
# Browsers show an animation's frames of less than 20 ms for 100 ms.
_FILMS = {
    ".mp4": _Form("mp4", "libx264", "yuv420p", 90000, 1, _FRONT, _X264),
    ".m4v": _Form("mp4", "libx264", "yuv420p", 90000, 1, _FRONT, _X264),
    ".mov": _Form("mov", "libx264", "yuv420p", 90000, 1, _FRONT, _X264),
    ".gif": _Form("gif", "gif", "pal8", 100, 2, {"loop": "0"}, {}),
    ".webp": _Form("webp", "libwebp_anim", "bgra", 1000, 20, {"loop": "0"}, {"quality": "85"}),
}
_PICTURES = (".jpg", ".jpeg", ".png")


def _sink(path: Path, folder: bool, fps: float, inputs: frozenset[Identity]) -> _Sink:
    if str(path) == "-":
        raise BadInput("pictures cannot go to standard output: name a file or folder")
    ending = path.suffix.lower()
    if folder or path.is_dir() or not ending:
        return _Folder(path, inputs)
    if ending not in {*_FILMS, *_PICTURES}:
        known = " ".join([*_FILMS, *_PICTURES])
        raise BadInput(f"{path} has an unknown ending: use one of {known}, or none for a folder")
    check_writable(path)
    keep(path, inputs)
    return _Film(path, _FILMS[ending], fps) if ending in _FILMS else _Picture(path)


class _Film(_Sink):
    """Frame by frame to the encoder, so that memory does not grow with the length."""

    def __init__(self, path: Path, form: _Form, fps: float) -> None:
        self._path, self._form, self._fps = path, form, fps
        self._files = ExitStack()
        self._stream: Any = None
        self._ticks = -form.least

    def add(self, image: Image, time: float, name: str | Path | None) -> None:
        ticks, last = round(time * self._form.ticks), self._ticks
        if ticks - last < self._form.least:
            return
        if self._stream is None:
            _keep_source(self._path, name)
            self._start(image)
        frame = _encodable(_fitted(image, self._size), self._form.pixels)
        frame.pts, frame.time_base = ticks, Fraction(1, self._form.ticks)
        self._step = ticks - last if last >= 0 else round(self._form.ticks / self._fps)
        self._write(frame)
        self._ticks = ticks

    def close(self) -> None:
        if self._ticks < 0:  # no picture came, or the first was interrupted
            self.abandon(EOFError())
        with self._files:  # closes what is open and renames the file
            if self._ticks >= 0:
                self._write(None)

    def abandon(self, error: BaseException) -> None:
        with suppress(OSError, av.FFmpegError):  # closing cannot write, either
            self._files.__exit__(type(error), error, error.__traceback__)

    def _start(self, image: Image) -> None:
        """The first picture sets the size."""
        form, even = self._form, 2 if self._form.pixels == "yuv420p" else 1
        scale = min(1, LARGEST / max(image.shape))
        height, width = (max(round(side * scale), 1) for side in image.shape[:2])
        with ExitStack() as files:
            temporary = files.enter_context(replacing(self._path))
            self._container = files.enter_context(
                av.open(f"file:{temporary}", "w", form.container, options=form.container_options)
            )
            rate = Fraction(self._fps).limit_denominator(1001)
            stream = self._container.add_stream(form.codec, rate=rate, options=form.codec_options)
            stream.width, stream.height = width + width % even, height + height % even
            stream.pix_fmt = form.pixels
            stream.codec_context.time_base = Fraction(1, form.ticks)
            if form.pixels == "yuv420p":
                _say_colours(stream.codec_context)
            self._files = files.pop_all()
        self._stream, self._size = stream, (width, height)

    def _write(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._step  # counts for the last: shown as long as the one before
            self._container.mux(packet)


def _fitted(image: Image, size: tuple[int, int]) -> Image:
    """image (H, W, 3) in the middle of `size` (width, height), as large as it fits, on black."""
    rows, columns = image.shape[:2]
    if (columns, rows) == size:
        return image
    width, height = size[0], max(round(rows * size[0] / columns), 1)
    if height > size[1]:
        width, height = max(round(columns * size[1] / rows), 1), size[1]
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    fitted = np.zeros((size[1], size[0], 3), np.uint8)
    fitted[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA
    )
    return fitted


def _encodable(image: Image, pixels: str) -> Any:
    """image (H, W, 3) as a frame of what the encoder takes."""
    match pixels:
        case "pal8":
            return _in_256_colours(image)
        case "yuv420p":
            rows, columns = image.shape[:2]  # of half as many colours: odd sides are made even
            image = np.pad(image, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            return frame.reformat(format="yuv420p", dst_colorspace="ITU709")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")


def _in_256_colours(image: Image) -> Any:
    picture = PIL.Image.fromarray(image[:, :, ::-1]).quantize(256, PIL.Image.Quantize.FASTOCTREE)
    colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    palette[: len(colours), 1:] = colours
    return av.VideoFrame.from_ndarray((np.asarray(picture), palette), format="pal8")


def _say_colours(codec: Any) -> None:
    """BT.709, limited range (ITU-T H.273): players guess by the size where nothing is said."""
    codec.colorspace = codec.color_primaries = codec.color_trc = codec.color_range = 1


class _Picture(_Sink):
    def __init__(self, path: Path) -> None:
        self._path, self._full = path, False

    def add(self, image: Image, time: float, name: str | Path | None) -> None:
        if self._full:
            raise BadInput(
                f"{self._path} holds one picture: give a folder or a .mp4 name for several pictures"
            )
        _keep_source(self._path, name)
        _write_picture(self._path, image)
        self._full = True


class _Folder(_Sink):
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
        _keep_source(target, name)
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


def _keep_source(target: Path, name: str | Path | None) -> None:
    """BadInput if the picture or film worked on would be replaced by the result."""
    if name and target.exists() and Path(name).exists() and target.samefile(name):
        raise BadInput(f"{target} would replace the file it is made from: give another place")
