"""One person: where each keypoint is, how sure of it, how sure of the whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .skeleton import MIDPOINTS, Skeleton

Array = NDArray[np.float32]

# OKS measures by a person's area, which is that of the outline. Where nobody drew one it is taken
# to be a share of what is known of the person:
KEYPOINTS_AREA = 0.6  # of the box of the keypoints, from which head, hands and feet stick out
BOX_AREA = 0.53  # of the box round the whole person: COCO's people fill so much of theirs
SIZE_AREA = 0.2  # of the square of a tracked person's size (track.py): about half the box again


@dataclass(frozen=True, eq=False, repr=False)
class Pose:
    """One person.

    Attributes:
        skeleton: which keypoints these are.
        xy: (K, 2) in pixels of the image that was given, nan where not found.
        confidence: (K,) in 0..1, 0 where not found.
        score: ranks people of all pictures.
        id: a tracker's.
    """

    skeleton: Skeleton
    xy: Array
    confidence: Array
    score: float
    id: int | None = None

    def __post_init__(self) -> None:
        count = len(self.skeleton.keypoints)
        if self.xy.shape != (count, 2) or self.confidence.shape != (count,):
            raise ValueError(
                f"a pose of {count} keypoints needs xy ({count}, 2) and confidence ({count},), "
                f"not {self.xy.shape} and {self.confidence.shape}"
            )

    def __repr__(self) -> str:
        box = ", ".join(f"{side:.0f}" for side in self.box)
        found = f"{int(self.found.sum())} of {len(self.xy)} keypoints"
        name = "" if self.id is None else f"id {self.id}, "
        return f"<Pose: {name}{found}, score {self.score:.2f}, box ({box})>"

    def __getitem__(self, name: str) -> Array:
        """xy (2,) of a keypoint by its name; KeyError if the skeleton has none of that name."""
        place: Array = self.xy[self.skeleton.index[name]]
        return place

    @property
    def found(self) -> NDArray[np.bool_]:
        """(K,) True where the keypoint has a place."""
        return ~np.isnan(self.xy[:, 0])

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom of the found keypoints, in pixels; four nan if none is found."""
        if not self.found.any():
            return (np.nan,) * 4
        left, top = self.xy[self.found].min(axis=0)
        right, bottom = self.xy[self.found].max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    @property
    def area(self) -> float:
        """About the person's, in square pixels, by the found keypoints; nan if none is found."""
        left, top, right, bottom = self.box
        return KEYPOINTS_AREA * (right - left) * (bottom - top)

    def moved(self, to: Callable[[Array], Array]) -> "Pose":
        """The same person in other coordinates: `to` maps (K, 2) to (K, 2)."""
        return replace(self, xy=to(self.xy).astype(np.float32))

    def as_skeleton(self, skeleton: Skeleton) -> "Pose":
        """The same person with the keypoints of another skeleton.

        Args:
            skeleton: the keypoints, and their order, of the result.

        Returns:
            The pose; a neck or mid_hip that was not found lies between its two sides, and keypoints
            that this person does not have are not found.
        """
        xy, confidence = converted(self.xy, self.confidence, self.skeleton, skeleton)
        return replace(self, skeleton=skeleton, xy=xy, confidence=confidence)


def converted(xy: Array, confidence: Array, own: Skeleton, target: Skeleton) -> tuple[Array, Array]:
    """Keypoints (..., K, 2) and confidences (..., K) of one skeleton in another's order; neck and
    mid_hip are made where they were not found."""
    places, first, second = _sources(own, target)
    nowhere = np.full((*xy.shape[:-2], 1, 2), np.nan, np.float32)
    xy = np.concatenate([xy, nowhere], axis=-2)
    confidence = np.concatenate([confidence, np.zeros_like(nowhere[..., 0])], axis=-1)
    given = ~np.isnan(xy[..., places, 0])
    between = (xy[..., first, :] + xy[..., second, :]) / 2
    surest = np.minimum(confidence[..., first], confidence[..., second])
    surest = np.where(np.isnan(between[..., 0]), 0, surest)
    moved = np.where(given[..., None], xy[..., places, :], between)
    sure = np.where(given, confidence[..., places], surest)
    return moved.astype(np.float32), sure.astype(np.float32)


@lru_cache(maxsize=32)
def _sources(
    own: Skeleton, target: Skeleton
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """For each keypoint of `target` its place in `own`, and the two that it lies between if it has
    none or is not found there; one place more than there are stands for nothing."""
    nothing = len(own.keypoints)
    rows = []
    for name in target.keypoints:
        ends = [own.index.get(end, nothing) for end in MIDPOINTS.get(name, ())]
        rows.append((own.index.get(name, nothing), *(ends or [nothing] * 2)))
    places = np.array(rows, np.intp).reshape(-1, 3).T
    return places[0], places[1], places[2]


def oks(pose: Pose, others: list[Pose], area: float) -> NDArray[np.float64]:
    """Object keypoint similarity (cocodataset.org/#keypoints-eval) over the keypoints both have.

    Args:
        pose: the one that the others are compared with.
        others: poses of the same skeleton.
        area: of the person in square pixels (`Pose.area` where nobody drew the outline): it sets
            how far is far.

    Returns:
        (len(others),) in 0..1; 0 for those with no keypoint in common.
    """
    if not others:
        return np.zeros(0)
    theirs = np.stack([other.xy for other in others])
    alike = similarities(pose.xy[None], theirs, np.array([area]), pose.skeleton.sigmas)
    return alike.reshape(-1)


def similarities(
    xy: Array, others: Array, areas: NDArray[np.floating], sigmas: Sequence[float]
) -> NDArray[np.float64]:
    """Object keypoint similarity of each of N people to each of M others.

    Args:
        xy: (N, K, 2), nan where a keypoint was not found.
        others: (M, K, 2).
        areas: (N,) of the first, in square pixels.
        sigmas: K, of the skeleton.

    Returns:
        (N, M) as `oks` has it.
    """
    square = np.square(others - xy[:, None]).sum(axis=3)
    variance = np.square(2 * np.asarray(sigmas))
    both = ~np.isnan(square)
    spread = 2 * variance * np.maximum(areas, 1e-6)[:, None, None]
    similar = np.exp(-np.where(both, square, 0) / spread)
    total: NDArray[np.float64] = (similar * both).sum(axis=2) / np.maximum(both.sum(axis=2), 1)
    return total
