"""A COCO file, read once: parsed, one category chosen, its pictures and annotations checked.

file -> `CocoFile` -> for training `Labels` (coco.py), for evaluation `pictures` and `people`

The category is the one with keypoints; of several the one called "person", unless another is asked
for by its name or id (`--category`). Where no category has keypoints, as in files of boxes, all are
considered. Annotations of other categories are passed over.

What leaves nothing to work with is a BadInput. What is wrong with one picture or annotation is a
fault: training names it and goes on without; evaluation, whose figure would be another, refuses.
"""

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checks import is_number, is_whole, read_json, shown
from ..errors import BadInput

Entry = dict[str, Any]
Numbers = NDArray[np.float64]

PERSON = 1  # the id of a category that has none
_LARGEST_ID = 2**63 - 1
_FAR = 1e6  # pixels from a picture's corner, beyond which nothing can be meant
_STATES = frozenset((0, 1, 2))  # v of a keypoint
_PARTS = ("images", "annotations", "categories")


class Category(NamedTuple):
    """What is labelled; `entry` is how the file has it."""

    id: int
    name: str
    keypoints: tuple[str, ...]
    entry: Entry


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A parsed COCO file: all that it holds, the chosen category, and where it came from."""

    path: Path
    content: Entry
    category: Category

    @property
    def images(self) -> list[Entry]:
        """All pictures, as the file has them."""
        entries: list[Entry] = self.content["images"]
        return entries

    @cached_property
    def annotations(self) -> list[Entry]:
        """The annotations of the category, as the file has them; who names none is of it."""
        its = self.category.id
        return [e for e in self.content["annotations"] if e.get("category_id", its) == its]

    @property
    def keypoints(self) -> tuple[str, ...]:
        """The names of the category's keypoints; BadInput if it has none."""
        if not self.category.keypoints:
            raise BadInput(f"{self.path} has no category with 'keypoints'")
        return self.category.keypoints

    @property
    def boxes_only(self) -> "CocoFile":
        """The same file as if it had no keypoints, so that nothing is asked of them."""
        return replace(self, category=self.category._replace(keypoints=()))

    def having(self, images: Sequence[Entry], annotations: Sequence[Entry]) -> "CocoFile":
        """The same file with other pictures and annotations."""
        content = {**self.content, "images": list(images), "annotations": list(annotations)}
        return replace(self, content=content)

    @cached_property
    def pictures(self) -> list[Entry]:
        """All pictures, each with an id of its own and a file_name; BadInput otherwise."""
        seen: set[int] = set()
        for entry in self.images:
            if problem := picture_fault(entry, seen):
                raise BadInput(f"{self.path}: {problem}")
            seen.add(entry["id"])
        if not self.images:
            raise BadInput(f"{self.path} names no pictures")
        return self.images

    @cached_property
    def people(self) -> list[Entry]:
        """What is annotated in the pictures, with the numbers that COCO's evaluation needs and
        nothing else; BadInput if one of them cannot be used."""
        ids = {entry["id"] for entry in self.pictures}
        known = [e for e in self.annotations if is_id(e.get("image_id")) and e["image_id"] in ids]
        return [self._person(entry, n) for n, entry in enumerate(known, start=1)]

    def _person(self, entry: Entry, number: int) -> Entry:
        faults: list[str] = []
        box = box_of(entry, faults)
        area = area_of(entry)
        values, good = keypoints_of(entry, len(self.category.keypoints), faults)
        if area is None:
            faults.append("has no area")
        if faults or box is None:
            name = f"annotation {shown(entry.get('id'))} of picture {entry['image_id']}"
            raise BadInput(f"{self.path}: {name} {faults[0]}")
        keypoints = {"keypoints": values.ravel().tolist(), "num_keypoints": int(good.sum())}
        return {
            "id": number, "image_id": entry["image_id"], "category_id": self.category.id,
            "bbox": list(box), "area": area, "iscrowd": int(bool(entry.get("iscrowd"))),
            **(keypoints if self.category.keypoints else {}),
        }  # fmt: skip


Labelled = str | Path | CocoFile


def read_coco(given: Labelled, category: str | int | None = None) -> CocoFile:
    """A COCO file; what was read before is returned as it is, so that a command reads it once.

    Args:
        given: the file's path.
        category: the name or the id of the category; None for the one described above.

    Raises:
        BadInput: it is no COCO file, or the category is not to be found or not to be told.
    """
    if isinstance(given, CocoFile):
        return given
    path = Path(given)
    content = read_json(path)
    for part in _PARTS:
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise BadInput(f"{path} is not a COCO keypoint file: no list '{part}' of objects")
    return CocoFile(path, content, _chosen(content["categories"], category, path))


def _chosen(entries: list[Entry], category: str | int | None, path: Path) -> Category:
    able = [entry for entry in entries if _named(entry)]
    if category is not None:
        fitting = [entry for entry in entries if entry.get("name") == category]
        fitting = fitting or [
            e for e in entries if is_id(e.get("id")) and str(e["id"]) == str(category)
        ]
    elif len(able or entries) == 1:
        fitting = able or entries
    else:
        fitting = [entry for entry in able or entries if entry.get("name") == "person"]
    if len(fitting) == 1:
        return _category(fitting[0], path)
    if not entries:
        raise BadInput(f"{path} has no category")
    known = [f"{shown(e.get('name'))} ({shown(e.get('id'))})" for e in entries]
    several = ", ".join(known[:9]) + (", ..." if len(known) > 9 else "")
    asked = "" if category is None else f"no single {shown(category)} among "
    raise BadInput(f"{path} has {asked}the categories {several}: choose one with --category")


def _named(entry: Entry) -> list[Any]:
    names = entry.get("keypoints")
    return names if isinstance(names, list) else []


def _category(entry: Entry, path: Path) -> Category:
    names, name, number = _named(entry), entry.get("name"), entry.get("id", PERSON)
    if not is_id(number):
        raise BadInput(f"{path}: the id of category {shown(name)} is not a whole number")
    if not all(isinstance(each, str) for each in names) or len(set(names)) < len(names):
        raise BadInput(f"{path}: the keypoints of category {shown(name)} are not different names")
    return Category(number, name if isinstance(name, str) else "", tuple(names), entry)


def is_id(value: Any) -> bool:
    """Whether a value can be the id of a picture, an annotation or a category."""
    return is_whole(value, -_LARGEST_ID, _LARGEST_ID)


def picture_fault(entry: Entry, seen: Container[int]) -> str | None:
    """What is wrong with a picture's id or name, others' ids being `seen`; None if nothing is."""
    name, number = entry.get("file_name"), entry.get("id")
    if not (isinstance(name, str) and _can_be_a_name(name) and is_id(number)):
        return "a picture has no id or no file_name"
    return f"{shown(name)} has the id of another picture" if number in seen else None


def _can_be_a_name(text: str) -> bool:
    try:
        return 0 < len(os.fsencode(text)) < 4096 and "\0" not in text
    except ValueError:  # half a character
        return False


def box_of(entry: Entry, faults: list[str]) -> tuple[float, float, float, float] | None:
    """Left, top, width and height as COCO counts; None, and a fault, if it cannot be used."""
    try:
        left, top, width, height = (float(value) for value in entry["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        faults.append("has no bbox of four numbers")
        return None
    if not all(-_FAR < side < _FAR for side in (left, top, width, height)):
        faults.append("has a bbox without area, or beyond all pictures")
        return None
    return left, top, width, height


def area_of(entry: Entry) -> float | None:
    """Pixels; None if there is no such number."""
    area = entry.get("area")
    return float(area) if is_number(area, 0, _FAR**2) else None  # type: ignore[arg-type]


def keypoints_of(entry: Entry, count: int, faults: list[str]) -> tuple[Numbers, NDArray[np.bool_]]:
    """x, y and v (count, 3) as COCO has them, zeros where they cannot be used, which is a fault of
    all but crowds; and which of them are labelled (count,)."""
    nobody = np.zeros((count, 3)), np.zeros(count, bool)
    if not count:
        return nobody
    try:
        values = np.array(entry["keypoints"], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        if not entry.get("iscrowd"):
            faults.append("has no keypoints of numbers")
        return nobody
    if values.shape != (3 * count,):
        faults.append(f"has {values.size} numbers as keypoints instead of {3 * count}")
        return nobody
    states = entry["keypoints"][2::3]
    values = values.reshape(-1, 3)
    v = values[:, 2]
    if _STATES.issuperset(states) and np.abs(values).max() < _FAR:  # nearly always, and quick
        return values, v > 0
    good = (np.abs(values[:, :2]) < _FAR).all(axis=1) & ((v == 0) | (v == 1) | (v == 2))
    if not good.all():
        faults.append(f"has {(~good).sum()} keypoints that are no numbers, or v other than 0, 1, 2")
        values = np.where(good[:, None], values, 0)
    return values, values[:, 2] > 0


class Found(NamedTuple):
    """A person of COCO's results: keypoints (K, 3) x, y and confidence as COCO counts."""

    image_id: int
    keypoints: Numbers
    score: float


def read_results(path: str | Path, count: int) -> list[Found]:
    """COCO's results of `count` keypoints; BadInput if that is not what the file holds."""
    path, found = Path(path), []
    entries = read_json(path)
    for entry in entries if isinstance(entries, list) else [None]:
        values, score = np.zeros(0), None
        if isinstance(entry, dict) and is_id(entry.get("image_id")):
            score = entry.get("score")
            try:
                values = np.array(entry.get("keypoints"), np.float64)
            except (TypeError, ValueError, OverflowError):
                values = np.zeros(0)
        usable = values.shape == (3 * count,) and bool((np.abs(values) < _FAR).all())
        if not usable or not is_number(score, -_FAR, _FAR):
            raise BadInput(f"{path} holds no COCO results of these keypoints ({count})")
        found.append(Found(entry["image_id"], values.reshape(-1, 3), float(score)))  # type: ignore
    return found
