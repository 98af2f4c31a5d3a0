"""Where a person's crop is in a picture: round a detector's box, or round what was found of them.

boxes (P, 5) or poses -> a view each (geometry.py) -> crops (P, height, width, 3)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Image, View, warp_crop
from .pose import Pose

Floats = NDArray[np.float32]

MIN_EXTENT = 0.05  # pixels of the picture to one of a crop: what is smaller is enlarged no more
BOX_MARGIN = 1.25  # times a person's box is a crop, as in the published second stages


def box_of(pose: Pose) -> tuple[float, float, float, float, float]:
    """A person's box from those keypoints that the first stage found, the fewer the wider, and its
    score. The factors are those that gave most AP to a published pair (docs/log.md)."""
    left, top, right, bottom = pose.box
    wider = (1 + 0.7 * (1 - float(pose.found.mean()))) * 1.4 / BOX_MARGIN
    across, down = max(right - left, 1) * wider / 2, max(bottom - top, 1) * wider / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - across, y - down, x + across, y + down, pose.score


def box_crops(image: Image, boxes: Floats, size: tuple[int, int]) -> tuple[Image, list[View]]:
    """Crops (P, height, width, 3) of `size` round boxes (P, 4 or 5), and where each is."""
    views = [box_view(box, size) for box in boxes]
    return np.stack([warp_crop(image, view, size) for view in views]), views


def box_view(box: Floats, size: tuple[int, int], margin: float = BOX_MARGIN) -> View:
    """From the image to the crop of `size` (height, width) round a box, `margin` times as large."""
    left, top, right, bottom = (float(side) for side in box[:4])
    height, width = size
    extent = max((right - left) / width, (bottom - top) / height, MIN_EXTENT / margin)
    return _view(1 / (margin * extent), ((left + right) / 2, (top + bottom) / 2), size)


def crops(
    image: Image, poses: Sequence[Pose], size: tuple[int, int]
) -> tuple[Image, Floats, list[View]]:
    """A network's inputs for poses of an image: crops (N, height, width, 3) of `size` round them,
    what was found (N, K, 3), and where each crop is in the image."""
    views = [crop_view(pose, size) for pose in poses]
    pictures = np.stack([warp_crop(image, view, size) for view in views])
    prior = np.stack([_prior(*both) for both in zip(poses, views, strict=True)])
    return pictures, prior, views


def box_fraction(found: Any) -> Any:
    """The share of a crop's side that the box of a person's keypoints takes, of which the share
    `found` (0..1, a number or an array) was found: the fewer, the more is outside that box."""
    return 1 / (1.25 + 0.7 * (1 - found))


def crop_view(pose: Pose, size: tuple[int, int]) -> View:
    """From the image to the crop of `size` (height, width) round a pose."""
    left, top, right, bottom = pose.box
    height, width = size
    extent = max((right - left) / width, (bottom - top) / height, MIN_EXTENT)
    scale = box_fraction(float(pose.found.mean())) / extent
    return _view(scale, ((left + right) / 2, (top + bottom) / 2), size)


def _view(scale: float, middle: tuple[float, float], size: tuple[int, int]) -> View:
    """What lies at `middle` (x, y) comes into the middle of a crop of `size`, `scale` times as
    large."""
    corner = np.array([size[1] - 1, size[0] - 1]) / 2 - scale * np.array(middle)
    return View(np.array([[scale, 0, corner[0]], [0, scale, corner[1]]]))


def _prior(pose: Pose, view: View) -> Floats:
    """(K, 3): what was found, in pixels of the crop, and 1; three times 0 where nothing was."""
    found = np.column_stack([view.forward(pose.xy), pose.found])
    return np.where(pose.found[:, None], found, 0).astype(np.float32)
