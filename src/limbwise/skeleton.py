"""Who has which keypoints: the one home of names, limbs, mirror pairs and OKS sigmas.

Everything that needs an order (channels of a network, flips, file formats) derives it from here.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .checks import number

MIN_SIGMA, MAX_SIGMA = 1e-4, 10.0  # that a keypoint can have; COCO's are 0.025 to 0.107


@dataclass(frozen=True)
class Skeleton:
    """K named keypoints, L limbs between them and one OKS sigma per keypoint.

    Attributes:
        keypoints: names in the order of a network's heatmaps; left_ and right_ swap in a mirror
            image.
        limbs: pairs of names, in the order of a network's part affinity fields; a limb points from
            its first keypoint to its second.
        sigmas: how far apart people label a keypoint, as a part of the root of the person's area.
    """

    keypoints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(set(self.keypoints)) != len(self.keypoints):
            raise ValueError("a skeleton names a keypoint twice")
        if len(self.sigmas) != len(self.keypoints):
            raise ValueError(f"{len(self.keypoints)} keypoints but {len(self.sigmas)} sigmas")
        if unknown := {name for limb in self.limbs for name in limb} - set(self.keypoints):
            raise ValueError(f"limbs use unknown keypoints: {', '.join(sorted(unknown))}")

    @cached_property
    def index(self) -> dict[str, int]:
        """Name to position."""
        return {name: k for k, name in enumerate(self.keypoints)}

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Limbs as positions."""
        return tuple((self.index[a], self.index[b]) for a, b in self.limbs)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """For each keypoint the position of its counterpart in a mirrored picture."""
        return tuple(self.index.get(_mirrored(name), k) for k, name in enumerate(self.keypoints))

    @cached_property
    def mirrored_limbs(self) -> tuple[tuple[int, int], ...]:
        """For each limb its position in a mirrored picture, and its direction there: +1 or -1."""
        place = {pair: limb for limb, pair in enumerate(self.pairs)}
        counterparts = [(self.mirror[a], self.mirror[b]) for a, b in self.pairs]
        return tuple(
            (place[other], 1) if other in place else (place.get(other[::-1], limb), -1)
            for limb, other in enumerate(counterparts)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as model files carry it."""
        limbs = [list(limb) for limb in self.limbs]
        return {"keypoints": list(self.keypoints), "limbs": limbs, "sigmas": list(self.sigmas)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Skeleton":
        """The inverse of `to_dict`; KeyError, TypeError or ValueError if it is not one."""
        names = tuple(data["keypoints"])
        if not all(isinstance(name, str) for name in names):
            raise ValueError("the name of a keypoint is no text")
        limbs = tuple((str(a), str(b)) for a, b in data["limbs"])
        sigmas = tuple(number(each, MIN_SIGMA, MAX_SIGMA, "a sigma") for each in data["sigmas"])
        return cls(names, limbs, sigmas)


def _mirrored(name: str) -> str:
    """left_wrist <-> right_wrist; other names are their own."""
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


# OKS sigmas of COCO (cocodataset.org/#keypoints-eval). COCO has no neck, mid_hip or feet: those in
# the middle take their neighbours' value, the feet those of the COCO-WholeBody evaluation.
_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    "neck": 0.079,
    "mid_hip": 0.107,
    "big_toe": 0.068,
    "small_toe": 0.066,
    "heel": 0.066,
}

# Keypoints that nobody labels, made of two that are labelled.
MIDPOINTS = {
    "neck": ("left_shoulder", "right_shoulder"),
    "mid_hip": ("left_hip", "right_hip"),
}


def _human(keypoints: str, limbs: str = "") -> Skeleton:
    names = tuple(keypoints.split())
    sigmas = tuple(_SIGMAS[name.removeprefix("left_").removeprefix("right_")] for name in names)
    pairs = tuple((a, b) for a, _, b in (limb.partition("-") for limb in limbs.split()))
    return Skeleton(names, pairs, sigmas)


# The 18 keypoints and 19 limbs of OpenPose's COCO model (arXiv 1812.08008), in the channel order of
# Lightweight OpenPose (arXiv 1811.12004).
BODY = _human(
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
    "right_hip right_knee right_ankle left_hip left_knee left_ankle "
    "right_eye left_eye right_ear left_ear",
    "neck-right_hip right_hip-right_knee right_knee-right_ankle "
    "neck-left_hip left_hip-left_knee left_knee-left_ankle "
    "neck-right_shoulder right_shoulder-right_elbow right_elbow-right_wrist "
    "right_shoulder-right_ear "
    "neck-left_shoulder left_shoulder-left_elbow left_elbow-left_wrist "
    "left_shoulder-left_ear "
    "neck-nose nose-right_eye nose-left_eye right_eye-right_ear left_eye-left_ear",
)

# COCO's 17 keypoints and 19 limbs (the `skeleton` of its annotation files).
COCO = _human(
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder "
    "left_elbow right_elbow left_wrist right_wrist left_hip right_hip "
    "left_knee right_knee left_ankle right_ankle",
    "left_ankle-left_knee left_knee-left_hip right_ankle-right_knee right_knee-right_hip "
    "left_hip-right_hip left_shoulder-left_hip right_shoulder-right_hip "
    "left_shoulder-right_shoulder left_shoulder-left_elbow right_shoulder-right_elbow "
    "left_elbow-left_wrist right_elbow-right_wrist left_eye-right_eye nose-left_eye "
    "nose-right_eye left_eye-left_ear right_eye-right_ear "
    "left_ear-left_shoulder right_ear-right_shoulder",
)

# OpenPose's 25-point output layout; only its keypoint order matters here.
BODY_25 = _human(
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
    "mid_hip right_hip right_knee right_ankle left_hip left_knee left_ankle "
    "right_eye left_eye right_ear left_ear "
    "left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel"
)
