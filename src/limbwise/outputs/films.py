"""Films and animations, frame by frame to the encoder (FFmpeg through PyAV)."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import PIL.Image

from ..atomic import replacing
from ..errors import BadInput
from ..geometry import Image

LARGEST = 8192  # pixels a side of a film; H.264 ends there (level 6.2)


class Sink:
    """A place being filled. Whoever writes each picture at once has nothing to end."""

    def add(self, image: Image, time: float, name: str | Path | None) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Ends the file and puts it in its place."""

    def abandon(self, error: BaseException) -> None:
        """Writing failed: removes what is unfinished."""


@dataclass(frozen=True)
class Form:
    """How FFmpeg is to write a film, in `ticks` a second; a frame comes `min_ticks` ticks or more
    after the one before or is left out."""

    container: str
    codec: str
    pixels: str
    ticks: int
    min_ticks: int
    container_options: dict[str, str]
    codec_options: dict[str, str]


# What every browser plays: H.264 in yuv420p, its index in front. Without B-frames, since with them
# FFmpeg lets a film of uneven steps end too early.
_FRONT = {"movflags": "+faststart"}


_X264 = {"crf": "20", "preset": "veryfast", "bf": "0"}


# VP9, which is WebM's, at its quickest: frames are drawn while the network computes.
_VP9 = {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}

# AVI has one distance between frames and fills gaps with empty ones, so that a tick is the finest
# time it can say: 120 a second fit 24, 30 and 60. FFmpeg reads H.264 in it at wrong times; MPEG-4
# (quantiser 3 of 1 to 31, in units of 1/118) keeps them.
_AVI = 120
_MPEG4 = {"flags": "+qscale", "global_quality": str(3 * 118)}


# Browsers show an animation's frames of less than 20 ms for 100 ms.
FILMS = {
    ".mp4": Form("mp4", "libx264", "yuv420p", 90000, 1, _FRONT, _X264),
    ".m4v": Form("mp4", "libx264", "yuv420p", 90000, 1, _FRONT, _X264),
    ".mov": Form("mov", "libx264", "yuv420p", 90000, 1, _FRONT, _X264),
    ".mkv": Form("matroska", "libx264", "yuv420p", 1000, 1, {}, _X264),
    ".webm": Form("webm", "libvpx-vp9", "yuv420p", 1000, 1, {}, _VP9),
    ".avi": Form("avi", "mpeg4", "yuv420p", _AVI, 1, {}, _MPEG4),
    ".gif": Form("gif", "gif", "pal8", 100, 2, {"loop": "0"}, {}),
    ".webp": Form("webp", "libwebp_anim", "bgra", 1000, 20, {"loop": "0"}, {"quality": "85"}),
}


class Film(Sink):
    """Frame by frame to the encoder, so that memory does not grow with the length."""

    def __init__(self, path: Path, form: Form, fps: float) -> None:
        self._path, self._form, self._fps = path, form, fps
        self._files = ExitStack()
        self._stream: Any = None
        self._ticks = -form.min_ticks

    def add(self, image: Image, time: float, name: str | Path | None) -> None:
        ticks, last = round(time * self._form.ticks), self._ticks
        if ticks - last < self._form.min_ticks:
            return
        if self._stream is None:
            keep_source(self._path, name)
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
    """BT.709, limited range (ITU-T H.273): players guess by the size where nothing is stated."""
    codec.colorspace = codec.color_primaries = codec.color_trc = codec.color_range = 1


def keep_source(target: Path, name: str | Path | None) -> None:
    """BadInput if the picture or film worked on would be replaced by the result."""
    if name and target.exists() and Path(name).exists() and target.samefile(name):
        raise BadInput(f"{target} would replace the file it is made from: give another place")
