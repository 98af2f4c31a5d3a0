"""The data of the bundled model: a mixed COCO keypoint file in, what is trained on and held out.

    python scripts/bundled_model_data.py pack/annotations.json train.json held.json

Pictures of --source, which people labelled, count --times; 200 of them are held out, to choose by.

Not everybody in the pictures is labelled. With --detector, a model that finds boxes, and the folder
of the --images, whoever it finds and no label covers becomes a region that is neither person nor
background, so that nobody is learnt to be nobody. What is held out keeps the labels alone.
"""

import argparse
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from limbwise.atomic import write_json
from limbwise.backends.base import Backend
from limbwise.boxes import Floats, ious
from limbwise.cli.terminal import failing_in_one_line, progress
from limbwise.data.coco_file import CocoFile, Entry, read_coco
from limbwise.estimator import load_pair
from limbwise.evaluation.boxes import coco_box, in_picture
from limbwise.places import check_places
from limbwise.sources.image import read_picture

_SURE = 0.3  # score of a box that may be somebody
_SIDE = 416  # pixels of the pictures' longer side: nearly as they are
_OVERLAP, _WITHIN = 0.3, 0.6  # IoU with a label, or share of the box in it, that says it is covered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("held", type=Path)
    parser.add_argument("--source", default="coco-train2017")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--hold", type=int, default=200)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--category", help="name or id, of several with keypoints")
    flags = parser.parse_args()
    if (flags.detector is None) != (flags.images is None):
        parser.error("--detector and --images go together")
    with failing_in_one_line():
        check_places([flags.pack], {"TRAIN": flags.train, "HELD": flags.held})
        pack = read_coco(flags.pack, flags.category)
        human = sorted(e["id"] for e in pack.pictures if e.get("source") == flags.source)
        Random(0).shuffle(human)
        held = set(human[: flags.hold])
        trained = [entry for entry in pack.images if entry["id"] not in held]
        again = [entry for entry in trained if entry["id"] in set(human)] * (flags.times - 1)
        write_json(flags.held, chosen(pack, [e for e in pack.images if e["id"] in held]))
        if flags.detector:
            detector, _ = load_pair(flags.detector, person=False, precision="f32")
            found = unlabelled(pack.having(trained, pack.annotations), flags.images, detector)
            pack = pack.having(pack.images, pack.annotations + found)
            print(f"{len(found)} regions of people without a label")
        write_json(flags.train, chosen(pack, trained + again))
        print(f"{flags.train}: {len(trained + again)} pictures; {flags.held}: {len(held)}")


def unlabelled(pack: CocoFile, images: Path, detector: Backend) -> list[Entry]:
    """Crowd annotations for what a detector finds in the pictures and no label covers."""
    of: dict[int, list[list[float]]] = {}
    for entry in pack.boxes_only.people:
        of.setdefault(entry["image_id"], []).append(entry["bbox"])
    regions: list[Entry] = []
    count = len(pack.keypoints)
    for image in progress(pack.pictures, len(pack.pictures), "pictures"):
        boxes = in_picture(detector, read_picture(images / image["file_name"]), _SIDE, _SURE)
        corners = np.array(of.get(image["id"], []), np.float32).reshape(-1, 4) - (0.5, 0.5, 0, 0)
        labels = np.c_[corners[:, :2], corners[:, :2] + corners[:, 2:]]
        for box in boxes[~covered(boxes, labels)]:
            side = coco_box(box)
            regions.append(
                {"id": 0, "image_id": image["id"], "category_id": pack.category.id, "iscrowd": 1,
                 "bbox": side, "area": round(side[2] * side[3], 1), "num_keypoints": 0,
                 "keypoints": [0] * 3 * count, "labels": "detector"}
            )  # fmt: skip
    last = max(entry["id"] for entry in pack.annotations)
    return [{**entry, "id": last + n} for n, entry in enumerate(regions, start=1)]


def covered(boxes: Floats, labels: Floats) -> NDArray[np.bool_]:
    """Which of boxes (N, 5) a label (M, 4) is like, or has most of within it."""
    if not len(labels):
        return np.zeros(len(boxes), bool)
    overlap = ious(boxes, labels)
    low = np.maximum(boxes[:, None, :2], labels[:, :2])
    high = np.minimum(boxes[:, None, 2:4], labels[:, 2:4])
    within = (high - low).clip(0).prod(axis=2)
    own = (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1, keepdims=True)
    alike: NDArray[np.bool_] = ((overlap > _OVERLAP) | (within > _WITHIN * own)).any(axis=1)
    return alike


def chosen(pack: CocoFile, images: list[Entry]) -> Entry:
    """The pack with these pictures only, as often as they are named, under new ids."""
    of: dict[int, list[Entry]] = {}
    for entry in pack.annotations:
        of.setdefault(entry["image_id"], []).append(entry)
    people = [
        {**entry, "image_id": number}
        for number, image in enumerate(images, start=1)
        for entry in of.get(image["id"], [])
    ]
    return pack.having(
        [{**image, "id": number} for number, image in enumerate(images, start=1)],
        [{**entry, "id": number} for number, entry in enumerate(people, start=1)],
    ).content


if __name__ == "__main__":
    main()
