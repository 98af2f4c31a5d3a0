"""COCO's and CrowdPose's keypoint files, read by the one reader of COCO files.

One file, or a folder of them of which each is a split called after the file. CrowdPose is COCO's
form with 14 keypoints and, for each picture, how much its people overlap (`crowdIndex`).
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...checks import is_whole, shown
from ...errors import BadInput
from ...sources.image import MAX_PIXELS
from ..coco_file import CocoFile, Entry, area_of, box_of, is_id, keypoints_of, read_coco
from .dataset import (
    CROWDPOSE,
    NOT_LABELLED,
    Box,
    Dataset,
    Files,
    Limbs,
    Person,
    Picture,
    checked_name,
    known_limbs,
    person_of,
)


def read(path: Path, images: Path | None = None, category: str | None = None) -> Dataset:
    """A COCO keypoint file, or a folder of them, one for each split.

    Args:
        path: the file or folder.
        images: not needed: COCO's files know the sizes of their pictures.
        category: what is labelled, as in `read_coco`.

    Raises:
        BadInput: a file is none, a label cannot be used, or the files name different keypoints.
    """
    if not path.is_dir():
        return _dataset(read_coco(path, category), "")
    parts = [_dataset(read_coco(p, category), p.stem) for p in sorted(path.glob("*.json"))]
    if not parts:
        raise BadInput(f"{path} holds no .json file")
    if any(part.names != parts[0].names for part in parts):
        raise BadInput(f"the files of {path} do not name the same keypoints")
    return replace(parts[0], pictures=tuple(p for part in parts for p in part.pictures))


def _dataset(file: CocoFile, split: str) -> Dataset:
    names = file.keypoints
    sizes = {entry["id"]: _size(entry, file.path) for entry in file.pictures}
    people: dict[Any, list[Person]] = {its: [] for its in sizes}
    for entry in file.annotations:
        if not is_id(its := entry.get("image_id")) or its not in sizes:
            raise BadInput(f"{file.path}: annotation {shown(entry.get('id'))} is of no picture")
        who = _person(entry, len(names), sizes[its], file.path)
        people[its] += [who] if who else []
    pictures = []
    for entry in file.pictures:
        try:
            name, its = checked_name(entry["file_name"]), entry["id"]
        except ValueError as error:
            raise BadInput(f"{file.path}: {error}") from error
        pictures.append(Picture(name, *sizes[its], tuple(people[its]), split, its))
    limbs = _limbs(file.category.entry.get("skeleton"), names)
    return Dataset(names, tuple(pictures), limbs, file.category.name or "person")


def _size(entry: Entry, path: Path) -> tuple[int, int]:
    width, height = entry.get("width"), entry.get("height")
    if not (is_whole(width, 1, MAX_PIXELS) and is_whole(height, 1, MAX_PIXELS)):
        raise BadInput(f"{path}: {shown(entry['file_name'])} has no width and height of a picture")
    return width, height  # type: ignore[return-value]


def _limbs(pairs: Any, names: tuple[str, ...]) -> Limbs:
    """The pairs of a category, which count from 1; the known ones where they fit no keypoint, as
    in CrowdPose's own files, which have COCO's."""
    try:
        limbs = tuple((int(a) - 1, int(b) - 1) for a, b in pairs or ())
    except (TypeError, ValueError):
        limbs = ((-1, -1),)
    good = all(0 <= k < len(names) for limb in limbs for k in limb)
    return limbs if good else known_limbs(names)


def _person(entry: Entry, count: int, size: tuple[int, int], path: Path) -> Person | None:
    faults: list[str] = []
    crowd = bool(entry.get("iscrowd"))
    box = box_of(entry, faults) if "bbox" in entry else None
    values, labelled = keypoints_of(entry, count, faults)
    if faults:
        raise BadInput(f"{path}: annotation {shown(entry.get('id'))} {faults[0]}")
    keypoints = [
        (float(x), float(y), int(v)) if good else NOT_LABELLED
        for (x, y, v), good in zip(values.tolist(), labelled, strict=True)
    ]
    outline = entry.get("segmentation") or None
    return person_of(keypoints, box, size, crowd=crowd, area=area_of(entry), outline=outline)


def write(dataset: Dataset) -> Files:
    """One file, or one for each split of several; ids count from 1 where a picture has none.

    Args:
        dataset: the labelled pictures.

    Returns:
        Texts by the names of the files, for `save`.
    """
    if dataset.splits in ((), ("",)):
        return {"": _json(_content(dataset))}
    parts = {f"{split or 'all'}.json": dataset.of_split(split) for split in dataset.splits}
    return {name: _json(_content(part)) for name, part in parts.items()}


def write_crowdpose(dataset: Dataset) -> Files:
    """As `write`, by CrowdPose's 14 keypoints and with `crowdIndex`.

    Args:
        dataset: the labelled pictures; where nobody labelled them the neck lies between the
            shoulders, and the top of the head is not labelled.

    Returns:
        Texts by the names of the files, for `save`.
    """
    dataset = dataset.as_keypoints(CROWDPOSE)
    files = {}
    for name, text in write(dataset).items():
        content = json.loads(text)
        people: dict[int, list[Entry]] = {}
        for entry in content["annotations"]:
            people.setdefault(entry["image_id"], []).append(entry)
        for entry in content["images"]:
            entry["crowdIndex"] = crowd_index(people.get(entry["id"], []))
        files[name] = _json(content)
    return files


def crowd_index(people: list[Entry]) -> float:
    """CrowdPose's measure of a picture, 0 where nobody is in another's box (arXiv 1812.00324,
    equation 6): the mean, over the people, of others' keypoints in a box by its own.

    Args:
        people: COCO's annotations of the picture.
    """
    people = [entry for entry in people if not entry["iscrowd"] and entry["num_keypoints"]]
    shares = []
    for entry in people:
        inside = {id(p): _count_inside(p["keypoints"], entry["bbox"]) for p in people}
        own = inside.pop(id(entry))
        shares.append(sum(inside.values()) / own if own else 0.0)
    return round(min(sum(shares) / len(shares), 1.0), 4) if shares else 0.0


def _count_inside(values: list[float], box: Box) -> int:
    left, top, width, height = box
    points = zip(values[::3], values[1::3], values[2::3], strict=True)
    return sum(
        bool(v) and left <= x <= left + width and top <= y <= top + height for x, y, v in points
    )


def _content(dataset: Dataset) -> Entry:
    ids = _ids(dataset)
    category = {
        "id": 1, "name": dataset.category, "supercategory": dataset.category,
        "keypoints": list(dataset.names), "skeleton": [[a + 1, b + 1] for a, b in dataset.limbs],
    }  # fmt: skip
    images = [
        {"id": its, "file_name": picture.name, "width": picture.width, "height": picture.height}
        for its, picture in zip(ids, dataset.pictures, strict=True)
    ]
    people = [(its, who) for its, p in zip(ids, dataset.pictures, strict=True) for who in p.people]
    annotations = [_annotation(n, its, who) for n, (its, who) in enumerate(people, start=1)]
    return {"images": images, "annotations": annotations, "categories": [category]}


def _ids(dataset: Dataset) -> list[int]:
    """The pictures' own ids, if each has one that no other has; else they are counted."""
    own = [picture.id for picture in dataset.pictures if picture.id is not None]
    good = len(own) == len(dataset.pictures) == len(set(own))
    return own if good else list(range(1, len(dataset.pictures) + 1))


def _annotation(number: int, image_id: int, who: Person) -> Entry:
    area = who.area if who.area is not None else who.box[2] * who.box[3]
    entry = {
        "id": number, "image_id": image_id, "category_id": 1, "bbox": list(who.box),
        "area": area, "iscrowd": int(who.crowd),
        "num_keypoints": sum(v > 0 for _, _, v in who.keypoints),
        "keypoints": [value for keypoint in who.keypoints for value in keypoint],
    }  # fmt: skip
    return entry | {"segmentation": who.outline or []}  # some readers want one


def _json(content: Any) -> str:
    return json.dumps(content, allow_nan=False)
