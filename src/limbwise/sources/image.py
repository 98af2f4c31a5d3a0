"""Picture files to arrays, as viewers show them: turned upright, in 8 bits, on white.

file -> opened (the header) -> upright -> white on black, grey, colours -> (H, W, 3) BGR
"""

import os
import re
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry import Image

PICTURES = ".jpg .jpeg .jfif .png .apng .webp .gif .bmp .tif .tiff .ppm .pgm .pbm .avif .heic"
MAX_PIXELS = 200_000_000  # 600 MB when decoded

# Not those that run programs (EPS), nor those told by hardly anything (TGA: two small bytes).
_FORMS = "JPEG MPO PNG GIF WEBP BMP DIB TIFF PPM JPEG2000 AVIF HEIF QOI"
_ANIMATED = {"GIF", "WEBP", "PNG", "AVIF"}  # of other forms the first page counts
_PILLOW = threading.Lock()


def read_picture(
    path_or_bytes: str | Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS
) -> Image:
    """A picture file, or its bytes, as an array.

    The header is judged before anything is decoded.

    Args:
        path_or_bytes: a file, or what is in one.
        name: what bytes are called in an error.
        max_pixels: of a picture that is not refused.

    Returns:
        (H, W, 3) uint8 BGR, turned as its EXIF says.

    Raises:
        BadInput: it is missing, too large or no picture.
    """
    if isinstance(path_or_bytes, bytes):
        file: Path | BytesIO = BytesIO(path_or_bytes)
        name = name or "the picture"
    else:
        file = Path(path_or_bytes)
        name = name or str(file)
    with opened(file, name, max_pixels) as picture:
        return to_bgr(picture, name)


@contextmanager
def opened(
    file: Path | BytesIO, name: str, max_pixels: int = MAX_PIXELS
) -> Iterator[PIL.Image.Image]:
    """The picture of a file, its header read and its pixels not; BadInput if there is none."""
    if isinstance(file, Path):
        check_file(file, name)
    try:
        with quiet():
            picture = PIL.Image.open(file, formats=_known_forms())
    except Exception as error:  # on damaged headers Pillow raises almost anything
        raise BadInput(
            f"{name} is not a picture that Pillow can read: save it as JPEG or PNG"
        ) from error
    with picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise BadInput(
                f"{name} has {width} x {height} pixels, more than the {max_pixels} allowed: "
                "make it smaller or raise max_pixels"
            )
        yield picture


def check_name(path: Path) -> None:
    """BadInput for a name that no file can have."""
    try:
        os.stat(path)  # noqa: PTH116 - a name that is too long raises only here
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{str(path)[:80]!r} cannot be read: {reason}") from error


def check_file(path: Path, name: str) -> None:
    """BadInput if there is no file, or nothing in it, or it may not be read."""
    check_name(path)
    if path.is_dir():
        raise BadInput(f"{name} is a folder, not a file")
    if path.exists() and not path.is_file():
        raise BadInput(f"{name} is no regular file but a device or socket: name a file")
    try:
        with path.open("rb") as file:
            empty = path.is_file() and not file.read(1)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise BadInput(f"{name} does not exist: is the name right?") from error
        raise BadInput(f"{name} cannot be read: {getattr(error, 'strerror', error)}") from error
    if empty:
        raise BadInput(f"{name} is empty: copy it again from where it came")


def pages(picture: PIL.Image.Image, name: str) -> int:
    """How many frames an animation has; 1 for a still."""
    if picture.format not in _ANIMATED:
        return 1
    try:
        with quiet():
            return int(getattr(picture, "n_frames", 1))
    except Exception as error:
        raise BadInput(broken(name, error)) from error


def picture_shots(
    picture: PIL.Image.Image, name: str, report: Callable[[BadInput], None]
) -> Generator[tuple[Image, float | None], None, None]:
    """A still, which has no time, or the frames of an animation; one that breaks off goes to
    `report` after the frames that are fine."""
    if pages(picture, name) == 1:
        yield to_bgr(picture, name), None
        return
    shown, time = 0, 0.0
    try:
        for image, time in animation(picture, name):
            yield image, time
            shown += 1
    except BadInput:
        if not shown:
            raise
        report(cut_off(name, shown, time))


def cut_off(name: str, frames: int, time: float) -> BadInput:
    """What to say of a film of which only the first `frames` are sure to be fine."""
    return BadInput(
        f"{name} is cut off or damaged after frame {frames} ({time:.2f} s): "
        "the frames before it are fine"
    )


def animation(picture: PIL.Image.Image, name: str) -> Iterator[tuple[Image, float]]:
    """The frames of an animation and when each is shown, in seconds; BadInput where it breaks."""
    milliseconds = 0.0
    for page in range(pages(picture, name)):
        try:
            with quiet():
                picture.seek(page)
                picture.load()
        except Exception as error:
            raise BadInput(broken(name, error)) from error
        yield to_bgr(picture.copy(), name), milliseconds / 1000
        duration = float(picture.info.get("duration") or 0)
        milliseconds += duration if duration > 10 else 100  # as browsers show "no delay"


def to_bgr(picture: PIL.Image.Image, name: str) -> Image:
    """Decoded and turned upright, (H, W, 3) uint8 BGR; BadInput if the file breaks off."""
    try:
        with quiet():
            picture.load()
            with suppress(Exception):  # viewers, too, show a picture whose EXIF is damaged
                PIL.ImageOps.exif_transpose(picture, in_place=True)
    except Exception as error:  # on damaged data Pillow raises almost anything
        raise BadInput(broken(name, error)) from error
    try:
        return _bgr(picture)
    except ValueError as error:
        raise BadInput(f"{name} has {picture.mode} colours: save it as RGB") from error


def _bgr(picture: PIL.Image.Image) -> Image:
    """(H, W, 3) of any mode. Transparent parts turn white, the page that cut-outs are made for."""
    if picture.mode[0] in "IF":
        grey = _grey(np.asarray(picture), sixteen=picture.mode.startswith("I;16"))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        paper = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(paper, picture)
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])


def _grey(values: NDArray[Any], sixteen: bool) -> NDArray[np.uint8]:
    """Deep grey (H, W) in 8 bits. White is 65535 in 16 bits; in 32 bits and floats, where files
    do not say, the first of 1, 255 and 65535 that no value exceeds, else the highest value."""
    if sixteen:
        return (values >> 8).astype(np.uint8)
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    white = next((white for white in (1, 255, 65535) if values.max() <= white), values.max())
    return np.clip(values * (255 / white), 0, 255).round().astype(np.uint8)


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow without warnings and without its own limit on size: `opened` has its own.

    Both are settings of the whole process, hence the lock: two threads would restore each other's.
    """
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit


def _known_forms() -> list[str]:
    PIL.Image.init()
    return [form for form in _FORMS.split() if form in PIL.Image.OPEN]


def broken(name: str, error: Exception) -> str:
    """What to say of a picture whose data cannot be decoded."""
    reason = " ".join(str(error).split())
    return f"{name} is cut off or damaged ({reason}): copy it again from where it came"


# A JPEG is a row of segments: FF, a kind, and mostly two bytes of length (ITU T.81, annex B). What
# follows a scan's header is data, where FF is followed by 00 or by a restart (D0 to D7).
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_SEGMENT = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")


def split_jpegs(read: Callable[[], bytes]) -> Iterator[bytes]:
    """JPEGs one after another cut apart, each as soon as its end is read; also a last, partial one.

    Segments are stepped over whole, so the thumbnail inside one does not end the picture.
    """
    data, at = bytearray(), 0  # at 0 the start of a picture is looked for, else its next segment
    while chunk := read():
        data += chunk
        while True:
            if not at:
                start = data.find(b"\xff\xd8")
                del data[: start if start >= 0 else max(len(data) - 1, 0)]
                if start < 0:
                    break
            at, cut = _next_cut(data, at or 2)
            if not cut:
                break
            yield bytes(data[:cut])
            del data[:cut]
            at = 0
    if at:
        yield bytes(data)


def _next_cut(data: bytearray, at: int) -> tuple[int, int]:
    """Where to go on looking, and where the picture ends or another starts; 0 if not yet known."""
    while segment := _SEGMENT.search(data, at):
        kind, body = data[segment.start() + 1], segment.end()
        if kind in (_START, _END):
            return 0, body if kind == _END else segment.start()
        at = body + max(int.from_bytes(data[body : body + 2]), 2)
        if len(data) <= max(at, body + 1):
            return segment.start(), 0
        if kind != _SCAN and data[at] != 0xFF:  # it breaks off: another picture may start inside
            at = body
    return max(at, len(data) - 1), 0
