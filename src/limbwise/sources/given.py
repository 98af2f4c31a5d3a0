"""What a caller of Python holds, as the picture that the networks take: (H, W, 3) uint8 BGR.

    path, bytes, PIL image, array, torch tensor -> as_image -> (H, W, 3) BGR

Paths, bytes and PIL images know their colours. Arrays and tensors do not: they are BGR, as OpenCV
gives them, unless the caller says `rgb`. What cannot be meant is told what to do.
"""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from ..errors import BadInput
from ..geometry import Image
from .frames import VIDEOS, is_url
from .image import broken, quiet, read_picture, to_bgr

KINDS = "a path, bytes, a PIL image, a uint8 array or a tensor"


def as_image(given: Any, rgb: bool = False) -> Image:
    """A path, bytes, PIL image, uint8 array (H, W, 3), (H, W) or (H, W, 4), or a tensor of PyTorch
    (also with its channels first) as (H, W, 3) uint8 BGR; an image that is one already is not
    copied.

    Raises:
        BadInput: a file that is missing or no picture.
        ValueError: anything else that is no image, and what to do about it.
    """
    if isinstance(given, str | Path):
        return _read(given)
    if isinstance(given, bytes | bytearray | memoryview):
        return read_picture(bytes(given))
    if isinstance(given, PIL.Image.Image):
        return _of_pillow(given)
    if type(given).__module__.partition(".")[0] == "torch":
        given = _channels_last(given.detach().cpu().numpy())
    if isinstance(given, list | tuple):
        raise ValueError(
            f"a {type(given).__name__} is not one image: estimate.batch(images) takes several; "
            "numpy.asarray(image, dtype=numpy.uint8) makes an array of numbers"
        )
    if not isinstance(given, np.ndarray):
        raise ValueError(f"an image is {KINDS}, not {type(given)}")
    return _bgr(given, rgb)


def check_bgr(image: Image) -> None:
    """ValueError if it is no (H, W, 3) uint8 array with at least one pixel."""
    fine = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not fine or image.shape[2] != 3 or image.size == 0:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(f"an image is a (height, width, 3) uint8 BGR array, not {what}")


def _read(path: str | Path) -> Image:
    if isinstance(path, str) and is_url(path):
        raise BadInput(f"{path[:80]} is an address: limbwise.run takes those, or download it first")
    if Path(path).suffix.lower() in VIDEOS.split():
        raise BadInput(f"{path} is a film: limbwise.run({str(path)!r}) gives its people by frames")
    return read_picture(path)


def _of_pillow(given: PIL.Image.Image) -> Image:
    """Of a copy, since it is turned upright and the caller's is not."""
    try:
        with quiet():
            picture = given.copy()
    except Exception as error:  # on damaged data Pillow raises almost anything
        raise BadInput(broken("the picture", error)) from error
    return to_bgr(picture, "the picture")


def _channels_last(array: Any) -> Any:
    """(C, H, W), as PyTorch has pictures, to (H, W, C)."""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        return np.ascontiguousarray(array.transpose(1, 2, 0))
    return array


def _bgr(array: Any, rgb: bool) -> Image:
    """(H, W, 3) of an array that may be grey or have an opacity; ValueError if it is no image."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    fine = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not fine or array.size == 0 or array.dtype != np.uint8:
        raise ValueError(
            "an image is a (height, width, 3) uint8 BGR array, not "
            f"{array.dtype} {array.shape}{_remedy(array)}"
        )
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    if array.shape[2] == 4:
        array = _on_white(array)
    return np.ascontiguousarray(array[:, :, ::-1]) if rgb else array


def _on_white(array: Any) -> Any:
    """Colours and opacity (H, W, 4) on the white page that picture files are shown on."""
    opacity = array[:, :, 3:].astype(np.uint16)
    return ((array[:, :, :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def _remedy(array: Any) -> str:
    if array.size == 0:
        return ": it is empty"
    if array.ndim == 4:
        return ": of several images estimate.batch(images) takes each"
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        return ": move the channels to the end with image.transpose(1, 2, 0)"
    if array.dtype == bool:
        return ": make it 8 bits with image.astype(numpy.uint8) * 255"
    if array.dtype.kind == "f" and array.ndim in (2, 3):
        largest = float(np.nan_to_num(array).max())
        scaled = "(image * 255)" if largest <= 1 else "image"
        return f": make it 8 bits with {scaled}.round().clip(0, 255).astype(numpy.uint8)"
    if array.dtype == np.uint16:
        return ": make it 8 bits with (image >> 8).astype(numpy.uint8)"
    if array.dtype.kind in "iu" and array.ndim in (2, 3):
        return ": make it 8 bits with image.clip(0, 255).astype(numpy.uint8)"
    return ""
