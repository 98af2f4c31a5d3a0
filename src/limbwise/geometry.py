"""Image to network input and back: the only place where coordinates change images.

The pixel convention: the centre of a pixel is a whole number, so scaling by s takes x to
(x + 0.5) * s - 0.5. cv2.resize follows the same rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float32]

GREY = (128, 128, 128)  # where there is no picture
FITS = ("height", "side")  # what of an input is as long as was asked for (`letterbox`)

# Where COCO has the centre of the first pixel; measured, +0.4 AP (docs/log.md, 2026-11-22).
COCO_CORNER = 0.5


@dataclass(frozen=True, eq=False)
class View:
    """An affine map from image pixels to network-input pixels: matrix (2, 3)."""

    matrix: NDArray[np.float64]

    @classmethod
    def scaling(cls, x: float, y: float) -> "View":
        """The view of an image resized by the factors x and y."""
        return cls(np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]]))

    def forward(self, xy: NDArray[np.floating]) -> Points:
        """(..., 2) image pixels to input pixels."""
        moved: Points = (xy @ self.matrix[:, :2].T + self.matrix[:, 2]).astype(np.float32)
        return moved

    def inverse(self, xy: NDArray[np.floating]) -> Points:
        """(..., 2) input pixels to image pixels."""
        inverse = np.linalg.inv(self.matrix[:, :2])
        moved: Points = ((xy - self.matrix[:, 2]) @ inverse.T).astype(np.float32)
        return moved


def inverse_of(views: Sequence[View], xy: NDArray[np.floating]) -> Points:
    """(N, K, 2) input pixels, K of each of N views, to image pixels."""
    matrices = np.stack([view.matrix for view in views])
    turned = np.linalg.inv(matrices[:, :, :2]).transpose(0, 2, 1)
    moved: Points = ((xy - matrices[:, None, :, 2]) @ turned).astype(np.float32)
    return moved


def letterbox(
    image: Image, height: int, multiple: int = 8, widest: float = 4.0, to: str = "height",
    within: tuple[int, int] | None = None,
) -> tuple[Image, View]:  # fmt: skip
    """An image to a network's input, padded right and below.

    Args:
        image: (H, W, 3).
        height: rows of the input, before padding.
        multiple: of which both sides are whole multiples.
        widest: a picture wider than this times its height is made smaller, so that a strip of
            20000 x 50 pixels costs no more than any other picture.
        to: "height", or "side": the longer side gets `height` pixels, whichever it is.
        within: a height and a width that are not exceeded either.

    Returns:
        The input, and the view from the image to it.
    """
    rows, columns = image.shape[:2]
    scale = min(height / rows, (widest if to == "height" else 1) * height / columns)
    if within:
        scale = min(scale, within[0] / rows, within[1] / columns)
    size = max(round(columns * scale), 1), max(round(rows * scale), 1)
    while image.shape[0] >= 2 * size[1] and image.shape[1] >= 2 * size[0]:
        image = _halved(image)  # 4 to 20 times as fast as INTER_AREA all the way
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    right, below = -size[0] % multiple, -size[1] % multiple
    padded = cv2.copyMakeBorder(scaled, 0, below, 0, right, cv2.BORDER_CONSTANT, value=GREY)
    return padded.astype(np.uint8, copy=False), View.scaling(size[0] / columns, size[1] / rows)


def warp_crop(image: Image, view: View, size: tuple[int, int]) -> Image:
    """What a view shows of an image in `size` (height, width); grey where there is no picture."""
    image, matrix = _seen(image, view, size)
    while np.hypot(*matrix[:, 0]) < 0.5 and min(image.shape[:2]) > 1:
        rows, columns = image.shape[0] & ~1, image.shape[1] & ~1  # halves of odd sides are slow
        image = _halved(image[:rows, :columns])
        matrix = matrix @ _TWICE
    shown = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=GREY)
    return shown.astype(np.uint8, copy=False)


# From pixels of a picture halved to its own.
_TWICE = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])


def _seen(image: Image, view: View, size: tuple[int, int]) -> tuple[Image, NDArray[np.float64]]:
    """The part of an image that a view of `size` shows, and the view's matrix for that part."""
    margin = 4  # pixels of the view, so that edges within the image are not seen
    corners = np.array([(x, y) for x in (0, size[1]) for y in (0, size[0])], np.float64)
    corners += margin * np.sign(corners - 0.5)
    places = view.inverse(corners)
    rows, columns = image.shape[:2]
    left, top = np.floor(places.min(axis=0)).clip(0, (columns - 1, rows - 1)).astype(int)
    right, below = (
        np.ceil(places.max(axis=0)).clip((left + 1, top + 1), (columns, rows)).astype(int)
    )
    matrix = view.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ (left, top)
    return image[top:below, left:right], matrix


def _halved(image: Image) -> Image:
    """Means of 2 x 2 pixels."""
    size = image.shape[1] // 2, image.shape[0] // 2
    halved: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(
        np.uint8, copy=False
    )
    return halved
