"""A film whose people have labels in MOTChallenge's format, for tracking.py.

A line of such a file is frame, person, left, top, width, height, whether it counts, and what is
not used here; frames from 1. OpenCV's `vtest.avi` is PETS09-S2L1 of MOTChallenge 2015, whose
`gt/gt.txt` has these lines for each of its 795 frames (motchallenge.net, CC BY-NC-SA 3.0).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbwise.pose import Pose

Floats = NDArray[np.floating]
Labels = tuple[NDArray[np.int_], Floats, NDArray[np.bool_]]  # ids, boxes (N, 4), which count

# By how much of its height a person's box is wider than that of the keypoints, left, top, right and
# bottom: the median of the film above.
MARGINS = np.array([-0.03, -0.07, 0.05, 0.09])


def labels(path: Path, frames: int) -> list[Labels]:
    """The people of each of so many frames."""
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    found = []
    for number in range(1, frames + 1):
        its = rows[rows[:, 0] == number]
        boxes = np.concatenate([its[:, 2:4], its[:, 2:4] + its[:, 4:6]], axis=1)
        found.append((its[:, 1].astype(int), boxes, its[:, 6] > 0))
    return found


def overlaps(boxes: Floats, shown: Iterable[Pose]) -> Floats:
    """(N, P) intersection over union of boxes with those round poses."""
    others = np.array([_round(pose) for pose in shown]).reshape(-1, 4)
    first = np.maximum(boxes[:, None, :2], others[None, :, :2])
    last = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inside = np.prod(np.maximum(last - first, 0), axis=2)
    areas = [np.prod(its[:, 2:] - its[:, :2], axis=1) for its in (boxes, others)]
    union = areas[0][:, None] + areas[1][None] - inside
    return inside / np.maximum(union, 1e-9)


def _round(pose: Pose) -> Floats:
    left, top, right, bottom = pose.box
    return np.array(pose.box) + MARGINS * (bottom - top)


def without_uncounted(ids: Floats, alike: Floats, counts: Floats) -> Floats:
    """Which of the shown are to be judged: all but those who lie on a label that does not count and
    on none that does."""
    on = [np.max(alike[rows], axis=0, initial=0) for rows in (counts, ~counts)]
    return ~((on[1] >= 0.5) & (on[1] > on[0]))
