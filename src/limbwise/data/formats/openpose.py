"""OpenPose's JSON: a folder with a file <picture>_keypoints.json for each picture
(CMU-Perceptual-Computing-Lab/openpose, doc/02_output.md).

It knows 25 or 18 keypoints by their order, with a confidence instead of v: what was found counts as
visible, what was labelled has confidence 1. It knows neither boxes nor sizes nor crowds, and counts
from the middle of the first pixel.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from ...checks import read_json
from ...errors import BadInput
from ...geometry import COCO_CORNER
from ...skeleton import BODY, BODY_25
from .dataset import (
    NOT_LABELLED,
    Dataset,
    Files,
    Keypoint,
    Person,
    Picture,
    by_stem,
    known_limbs,
    number_of,
    person_of,
)
from .sizes import picture_of, picture_size

ENDING = "_keypoints.json"
_LAYOUTS = {3 * len(s.keypoints): s.keypoints for s in (BODY_25, BODY)}
_PARTS = ("face", "hand_left", "hand_right")


def read(path: Path, images: Path | None = None, category: str | None = None) -> Dataset:
    """A folder of OpenPose's files.

    Args:
        path: the folder.
        images: the folder of the pictures, which tell their sizes.
        category: how to call who is labelled; person if None.

    Raises:
        BadInput: a file is not OpenPose's, or its picture is not to be found.
    """
    entries = {p.name.removesuffix(ENDING): read_json(p) for p in sorted(path.glob(f"*{ENDING}"))}
    if not entries:
        raise BadInput(f"{path} holds no file that ends in {ENDING}")
    people = {stem: _people(entry, path / f"{stem}{ENDING}") for stem, entry in entries.items()}
    lengths = {len(values) for each in people.values() for values in each}
    if len(lengths) > 1:
        raise BadInput(f"the files of {path} have people of 18 and of 25 keypoints")
    names = _LAYOUTS[lengths.pop()] if lengths else BODY_25.keypoints
    pictures = tuple(_picture(picture_of(images, stem), each) for stem, each in people.items())
    return Dataset(names, pictures, known_limbs(names), category or "person")


def _people(entry: Any, path: Path) -> list[list[float]]:
    try:
        found = [who["pose_keypoints_2d"] for who in entry["people"]]
        numbers = [[number_of(value, "a value") for value in values] for values in found]
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} is not OpenPose's: no people with pose_keypoints_2d") from error
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from error
    if any(len(values) not in _LAYOUTS for values in numbers):
        raise BadInput(f"{path} has people of other than 18 or 25 keypoints")
    return numbers


def _picture(path: Path, people: list[list[float]]) -> Picture:
    size = picture_size(path)
    found = (person_of(_keypoints(values), None, size) for values in people)
    return Picture(path.name, *size, tuple(who for who in found if who))


def _keypoints(values: list[float]) -> list[Keypoint]:
    places = zip(values[::3], values[1::3], values[2::3], strict=True)
    return [(x + COCO_CORNER, y + COCO_CORNER, 2) if c > 0 else NOT_LABELLED for x, y, c in places]


def write(dataset: Dataset) -> Files:
    """A file a picture, with 18 keypoints if that is what there are, else with 25.

    Args:
        dataset: the labelled pictures; crowds are left out.

    Returns:
        Texts by the names of the files, for `save`.

    Raises:
        BadInput: two pictures in different folders have the same name.
    """
    names = BODY.keypoints if dataset.names == BODY.keypoints else BODY_25.keypoints
    dataset = dataset.as_keypoints(names)
    flat = {PurePosixPath(picture.name).name for picture in dataset.pictures}
    if len(flat) < len(dataset.pictures):
        raise BadInput("OpenPose's files lie in one folder, and two pictures have the same name")
    files = {}
    for name, picture in by_stem(dataset.pictures, ENDING).items():
        people = [_person(who) for who in picture.people if not who.crowd]
        files[PurePosixPath(name).name] = json.dumps({"version": 1.3, "people": people})
    if len(files) < len(dataset.pictures):
        raise BadInput("OpenPose's files lie in one folder, and two pictures have the same name")
    return files


def _person(who: Person) -> dict[str, Any]:
    values: list[float] = []
    for x, y, v in who.keypoints:
        values += (x - COCO_CORNER, y - COCO_CORNER, 1.0) if v else (0.0, 0.0, 0.0)
    empty: dict[str, Any] = {f"{part}_keypoints_2d": [] for part in _PARTS}
    empty |= {f"{part}_keypoints_3d": [] for part in ("pose", *_PARTS)}
    return {"person_id": [-1], "pose_keypoints_2d": values} | empty
