"""A film whose people have labels in MOTChallenge's format, for tracking.py.

A line of such a file is frame, person, left, top, width, height, whether it counts, and what is
not used here; frames from 1. OpenCV's `vtest.avi` is PETS09-S2L1 of MOTChallenge 2015, whose
`gt/gt.txt` has these lines for each of its 795 frames (motchallenge.net, CC BY-NC-SA 3.0: it is
read, not shipped).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbwise.pose import Pose

Floats = NDArray[np.floating]
Ints = NDArray[np.int_]
Picture = tuple[Ints, Ints, Floats]  # ids of both, and how alike they are

# By how much of its height a person's box is wider than that of the keypoints, left, top, right and
# bottom: the median of the film above.
MARGINS = np.array([-0.03, -0.07, 0.05, 0.09])


def on_labels(path: Path, frames: int) -> list[Callable[[list[Pose]], Picture]]:
    """For each of so many frames, what compares those who are shown with those who are there."""
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    return [partial(_compared, rows[rows[:, 0] == n]) for n in range(1, frames + 1)]


def _compared(rows: Floats, shown: list[Pose]) -> Picture:
    """Whoever lies on a label that does not count, and on none that does, is not judged."""
    shown = [pose for pose in shown if pose.found.sum() > 1]
    boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
    alike = _overlaps(boxes, np.array([_around(pose) for pose in shown]).reshape(-1, 4))
    counts = rows[:, 6] > 0
    real, other = (alike[which].max(axis=0, initial=0) for which in (counts, ~counts))
    judged = (other < 0.5) | (other <= real)
    ids = np.array([pose.id for pose in shown], int)
    return rows[counts, 1].astype(int), ids[judged], alike[counts][:, judged]


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """(N, P) intersection over union."""
    first = np.maximum(boxes[:, None, :2], others[None, :, :2])
    last = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inside = np.prod(np.maximum(last - first, 0), axis=2)
    areas = [np.prod(its[:, 2:] - its[:, :2], axis=1) for its in (boxes, others)]
    return inside / np.maximum(areas[0][:, None] + areas[1][None] - inside, 1e-9)


def _around(pose: Pose) -> Floats:
    """The box of the whole person."""
    return np.array(pose.box) + MARGINS * (pose.box[3] - pose.box[1])
