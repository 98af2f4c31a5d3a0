"""The outline of a region as strips: COCO's polygons or run lengths to a few upright boxes.

Boxes are tested in a moment on any device and need no masks; a crowd's own box would take half a
picture out of the training.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import is_whole
from ..data.annotations import Floats
from ..geometry import COCO_CORNER

STRIP = 16  # pixels: how fine the outline of a region is kept


def strips(outline: Any, size: tuple[int, int]) -> list[Floats]:
    """Boxes (4,) of what an outline covers of a picture of `size` (H, W), from above, in limbwise's
    pixels; ValueError if it is no outline of such a picture."""
    mask = _mask(outline, size)
    found = []
    for top in range(0, size[0], STRIP):
        columns = np.flatnonzero(mask[top : top + STRIP].any(axis=0))
        if len(columns):
            bottom = min(top + STRIP, size[0])
            found.append(np.array([columns[0], top, columns[-1] + 1, bottom], np.float32))
    return [strip - COCO_CORNER for strip in found]


def _mask(outline: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W). pycocotools believes what it is given: lengths that do not add up to the picture
    leave a part of the mask as the memory was, and along a polygon's edges it walks step by step,
    however long they are."""
    from pycocotools import mask as coco_mask

    height, width = size
    if isinstance(outline, dict):
        counts = outline.get("counts")
        if not isinstance(counts, list):
            raise ValueError("run lengths that are compressed are not read")
        if not all(is_whole(count, 0, height * width) for count in counts):
            raise ValueError("run lengths are whole numbers")
        if sum(counts) != height * width or outline.get("size", [height, width]) != [height, width]:
            raise ValueError("run lengths are of another picture")
        runs = {"size": [height, width], "counts": counts}
        return _decoded(coco_mask.frPyObjects(runs, height, width))
    polygons = [_polygon(flat, height, width) for flat in outline]
    return _decoded(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


def _decoded(runs: Any) -> NDArray[np.uint8]:
    from pycocotools import mask as coco_mask

    with warnings.catch_warnings():  # of how it makes an array of it
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(coco_mask.decode(runs))


def _polygon(flat: Any, height: int, width: int) -> list[float]:
    corners = np.array(flat, np.float64)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise ValueError("a polygon has three corners or more")
    beyond = max(height, width)
    if not ((corners >= -beyond) & (corners <= 2 * beyond)).all():
        raise ValueError("a polygon lies far outside of its picture")
    points: list[float] = corners.tolist()
    return points
