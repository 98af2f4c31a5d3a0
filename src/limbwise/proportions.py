"""Which keypoints cannot belong to one body: those at the end of a limb that is far too long.

Pictures make limbs shorter, never longer: the limbs of a body that lie across the view have their
own length in proportion to each other, and none is several times as long as these say. What is
several times as long joins two people, or a person and a table.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .skeleton import Skeleton

Floats = NDArray[np.float32]

# Lengths of limbs in parts of the body's height, roughly those of an adult (Winter 2009,
# Biomechanics and Motor Control of Human Movement, figure 4.1; the head's are the author's own).
_LENGTHS = {
    ("shoulder", "elbow"): 0.19,
    ("elbow", "wrist"): 0.15,
    ("hip", "knee"): 0.25,
    ("knee", "ankle"): 0.25,
    ("nose", "eye"): 0.04,
    ("eye", "ear"): 0.06,
    ("neck", "nose"): 0.12,
    ("neck", "shoulder"): 0.13,
    ("neck", "hip"): 0.31,
}
MAX_RATIO = 3.0  # times as long as the body's other limbs say that a limb may be
_SURE = 0.2  # confidence of both ends of a limb that says how large the body is


def impossible(
    skeleton: Skeleton, xy: Floats, confidence: Floats, max_ratio: float = MAX_RATIO
) -> NDArray[np.bool_]:
    """Which keypoints cannot be: the less sure end of each limb that is more than `max_ratio` times
    as long as the person's others say; none of skeletons without a person's limbs.

    A body's size is the third quartile of what its sure limbs say, since turned limbs look short.

    Args:
        skeleton: of all P people.
        xy: (P, K, 2) pixels, nan where a keypoint was not found.
        confidence: (P, K).
        max_ratio: see above.

    Returns:
        (P, K).
    """
    start, end, lengths = _limbs(skeleton)
    lost = np.zeros(confidence.shape, np.bool_)
    if not lost.size or not len(start):
        return lost
    across, down = np.moveaxis(xy[:, end] - xy[:, start], 2, 0)
    sizes = np.hypot(across, down) / lengths
    first, second = confidence[:, start], confidence[:, end]
    sure = (np.minimum(first, second) > _SURE) & np.isfinite(sizes)
    judged = np.flatnonzero(sure.sum(axis=1) >= 4)
    limit = max_ratio * _third_quartile(sizes[judged], sure[judged])
    row, limb = np.nonzero(sizes[judged] > limit[:, None])
    person = judged[row]
    lost[person, np.where(first < second, start, end)[person, limb]] = True
    return lost


def _third_quartile(values: NDArray[np.float64], which: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(P,) of those values of each row (P, L) that are meant, one at least, in proportion between
    neighbours."""
    row = np.arange(len(values))
    ordered = np.sort(np.where(which, values, np.inf), axis=1)
    place = 0.75 * (which.sum(axis=1) - 1)
    below, above = (ordered[row, side(place).astype(int)] for side in (np.floor, np.ceil))
    quartiles: NDArray[np.float64] = below + (place % 1) * (above - below)
    return quartiles


@lru_cache(maxsize=8)
def _limbs(
    skeleton: Skeleton,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Starts and ends of the limbs whose length is known, and these lengths."""
    rows = []
    for a, b in skeleton.limbs:
        one, other = (name.removeprefix("left_").removeprefix("right_") for name in (a, b))
        length = _LENGTHS.get((one, other)) or _LENGTHS.get((other, one))
        if length:
            rows.append((skeleton.index[a], skeleton.index[b], length))
    start, end, lengths = np.array(rows, np.float64).reshape(-1, 3).T
    return start.astype(np.intp), end.astype(np.intp), lengths
