"""Which keypoints cannot belong to one body: those at the end of a limb that is far too long.

Pictures make limbs shorter, never longer: the limbs of a body that lie across the view have their
own length in proportion to each other, and none is several times as long as these say. What is
several times as long joins two people, or a person and a table.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .pose import Pose
from .skeleton import Skeleton

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


def without_impossible(pose: Pose, max_ratio: float = MAX_RATIO) -> Pose:
    """The pose without the less sure end of each limb that is more than `max_ratio` times as long
    as the others say; skeletons without a person's limbs stay as they are.

    The body's size is the third quartile of what its sure limbs say, since turned limbs look short.
    """
    start, end, lengths = _limbs(pose.skeleton)
    if not len(start):
        return pose
    sizes = np.hypot(*(pose.xy[end] - pose.xy[start]).T) / lengths
    both = np.minimum(pose.confidence[start], pose.confidence[end])
    sure = sizes[(both > _SURE) & np.isfinite(sizes)]
    if len(sure) < 4:
        return pose
    too_long = np.flatnonzero(sizes > max_ratio * np.quantile(sure, 0.75))
    if not len(too_long):
        return pose
    xy, confidence = pose.xy.copy(), pose.confidence.copy()
    weaker = pose.confidence[start] < pose.confidence[end]
    lost = np.where(weaker, start, end)[too_long]
    xy[lost], confidence[lost] = np.nan, 0
    return type(pose)(pose.skeleton, xy, confidence, pose.score, pose.id)


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
