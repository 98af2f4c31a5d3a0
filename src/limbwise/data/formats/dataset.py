"""What label files of all formats have in common: pictures, the people in them, named keypoints.

file or folder -> its format's `read` -> `Dataset` -> another format's `write` -> names and texts

Places are as COCO counts them: pixels from the upper left corner of the first pixel. A keypoint is
x, y and v: 0 not labelled (and x = y = 0), 1 labelled but hidden, 2 visible.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ...checks import is_number, shown
from ...errors import BadInput
from ...skeleton import BODY_25, COCO, MIDPOINTS

Keypoint = tuple[float, float, int]
Box = tuple[float, float, float, float]  # left, top, width, height
Limbs = tuple[tuple[int, int], ...]  # pairs of positions in the names
Files = dict[str, str]  # what a format writes: names below the place that was given, "" is itself

NOT_LABELLED: Keypoint = (0.0, 0.0, 0)
FAR = 1e6  # pixels from a picture's corner, beyond which nothing can be meant

# CrowdPose's 14 keypoints in its order (arXiv 1812.00324); "head" is the top of the head.
_CROWDPOSE = (
    "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip "
    "left_knee right_knee left_ankle right_ankle head neck"
)
CROWDPOSE = tuple(_CROWDPOSE.split())
_MORE_LIMBS = (("head", "neck"), ("neck", "left_shoulder"), ("neck", "right_shoulder"))


@dataclass(frozen=True)
class Person:
    """One labelled person, or with `crowd` a region of people whom nobody labelled.

    `area` is what the file says, in pixels; `outline` is COCO's segmentation as COCO has it.
    """

    keypoints: tuple[Keypoint, ...]
    box: Box
    crowd: bool = False
    area: float | None = None
    outline: Any = None


@dataclass(frozen=True)
class Picture:
    """A picture by its name, which may contain folders; `split` is train, val, ... or nothing."""

    name: str
    width: int
    height: int
    people: tuple[Person, ...] = ()
    split: str = ""
    id: int | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures; `limbs` are empty where a format has no words for them."""

    names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    limbs: Limbs = ()
    category: str = "person"

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits in the order of their first pictures."""
        return tuple(dict.fromkeys(picture.split for picture in self.pictures))

    def of_split(self, split: str) -> "Dataset":
        """Only the pictures of one split; BadInput if there are none."""
        if split not in self.splits:
            there = ", ".join(each or "(none)" for each in self.splits)
            raise BadInput(f"no pictures of the split {shown(split)}: there are {there}")
        return replace(self, pictures=tuple(p for p in self.pictures if p.split == split))

    def as_keypoints(self, names: Sequence[str]) -> "Dataset":
        """The same people by other keypoints.

        Args:
            names: of the keypoints; those of other names than here are not labelled, but for the
                neck and the middle of the hips, which lie between their two sides.
        """
        if tuple(names) == self.names:
            return self
        sources = [_sources(name, self.names) for name in names]
        pictures = tuple(
            replace(
                picture,
                people=tuple(
                    replace(who, keypoints=tuple(_middle(who.keypoints, s) for s in sources))
                    for who in picture.people
                ),
            )
            for picture in self.pictures
        )
        return Dataset(tuple(names), pictures, known_limbs(names), self.category)


def _sources(name: str, names: Sequence[str]) -> tuple[int, ...]:
    parts = (name,) if name in names else MIDPOINTS.get(name, (name,))
    return tuple(names.index(each) for each in parts) if set(parts) <= set(names) else ()


def _middle(keypoints: Sequence[Keypoint], sources: tuple[int, ...]) -> Keypoint:
    chosen = [keypoints[k] for k in sources]
    if not chosen or not all(v for _, _, v in chosen):
        return NOT_LABELLED
    x, y, v = zip(*chosen, strict=True)
    return sum(x) / len(x), sum(y) / len(y), min(v)


def known_limbs(names: Sequence[str]) -> Limbs:
    """The limbs of COCO and CrowdPose between these names, as far as both ends are there."""
    place = {name: k for k, name in enumerate(names)}
    pairs = (*COCO.limbs, *_MORE_LIMBS, *BODY_25.limbs)
    return tuple((place[a], place[b]) for a, b in pairs if a in place and b in place)


def known_names(count: int) -> tuple[str, ...]:
    """The names of COCO's or CrowdPose's keypoints by their number, else keypoint_1, ..."""
    known = {len(COCO.keypoints): COCO.keypoints, len(CROWDPOSE): CROWDPOSE}
    return known.get(count, tuple(f"keypoint_{k}" for k in range(1, count + 1)))


def box_round(keypoints: Iterable[Keypoint], size: tuple[int, int]) -> Box | None:
    """A box round what is labelled, wider by an eighth on each side, inside a picture of `size`
    (width, height) pixels; None if nothing is labelled."""
    seen = [(x, y) for x, y, v in keypoints if v]
    if not seen:
        return None
    spans = []
    for values, longest in zip(zip(*seen, strict=True), size, strict=True):
        margin = max((max(values) - min(values)) / 8, 1.0)
        low, high = max(min(values) - margin, 0.0), min(max(values) + margin, float(longest))
        spans.append((low, max(high - low, 0.0)))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def person_of(
    keypoints: Sequence[Keypoint], box: Box | None, size: tuple[int, int], **more: Any
) -> Person | None:
    """A person whose box may have to be made of the keypoints; None if there is neither."""
    box = box or box_round(keypoints, size)
    return None if box is None else Person(tuple(keypoints), box, **more)


def number_of(text: Any, what: str) -> float:
    """A number that a file has as text or number; ValueError, with its name, if it is none."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not is_number(value, -FAR, FAR):
        raise ValueError(f"{what} is {shown(text)}, not a number")
    return value


def checked_name(name: Any) -> str:
    """The name of a picture, which must lie below its folder; ValueError otherwise."""
    path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in str(name):
        raise ValueError(f"{shown(name)} is no name of a picture in a folder")
    return str(path)


def by_stem(pictures: Iterable[Picture], ending: str) -> Mapping[str, Picture]:
    """The pictures by what a file of labels beside each is called; BadInput if two are the same."""
    found: dict[str, Picture] = {}
    for picture in pictures:
        name = f"{PurePosixPath(picture.name).with_suffix('')}{ending}"
        if picture.split:
            name = f"{picture.split}/{name}"
        if name in found:
            raise BadInput(
                f"{picture.name} and {found[name].name} would share the labels {name}: rename one"
            )
        found[name] = picture
    return found


def read_text(path: Path) -> str:
    """The text of a file; BadInput if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"{path} is no text in UTF-8") from error
