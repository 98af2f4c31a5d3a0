"""Boxes of people, out of what a detector says of every cell: the sure ones, each person once.

A box is left, top, right, bottom and a score. Edges lie between pixels: the picture's own are at
-0.5 and its size less 0.5 (geometry.py).
"""

import numpy as np
from numpy.typing import NDArray

from .geometry import Image, View

Floats = NDArray[np.float32]

_CANDIDATES = 400  # the best, among which people are told apart: cells round a hundred of them


def find_boxes(
    boxes: Floats, *, min_score: float = 0.3, max_iou: float = 0.6, max_boxes: int = 16
) -> Floats:
    """Greedy non-maximum suppression: each person's surest box.

    Args:
        boxes: (A, 5) left, top, right, bottom in pixels and a score; those without area, or with a
            number that is none, are dropped.
        min_score: of those that stay.
        max_iou: of boxes that overlap by more (intersection over union) the surest stays.
        max_boxes: how many stay at most.

    Returns:
        (B, 5), best first.
    """
    sure = boxes[boxes[:, 4] >= min_score]
    sure = sure[np.isfinite(sure).all(axis=1) & (sure[:, :2] < sure[:, 2:4]).all(axis=1)]
    sure = sure[np.argsort(-sure[:, 4], kind="stable")[:_CANDIDATES]]
    alike = ious(sure, sure) > max_iou
    alive = np.ones(len(sure), bool)
    kept: list[int] = []
    for n in range(len(sure)):
        if alive[n] and len(kept) < max_boxes:
            kept.append(n)
            alive &= ~alike[n]
    return sure[kept]


def in_image(boxes: Floats, view: View, image: Image) -> Floats:
    """Boxes (B, 5) of an input in the pixels of the image, and within it."""
    edges = np.array(image.shape[1::-1], np.float32) - 0.5
    sides = view.inverse(boxes[:, :4].reshape(-1, 2, 2)).clip(-0.5, edges)
    return np.concatenate([sides.reshape(-1, 4), boxes[:, 4:]], axis=1)


def ious(boxes: Floats, others: Floats) -> Floats:
    """(N, M): the intersection of boxes (N, 4) with others (M, 4) over their union; further columns
    do not count."""
    left, top, right, bottom = boxes[:, :4].T.copy()[..., None]
    its_left, its_top, its_right, its_bottom = others[:, :4].T.copy()
    width = np.minimum(right, its_right) - np.maximum(left, its_left)
    height = np.minimum(bottom, its_bottom) - np.maximum(top, its_top)
    inner = np.maximum(width, 0) * np.maximum(height, 0)
    own, theirs = (right - left) * (bottom - top), (its_right - its_left) * (its_bottom - its_top)
    shared: Floats = inner / (own + theirs - inner)
    return shared
