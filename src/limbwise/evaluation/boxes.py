"""How well people are found: COCO's box AP of a runtime, and the share of the people with a box.

A network that finds boxes is asked for them; of any other the poses, widened, are the boxes, so
that all kinds of first stage can be compared. All annotated people count, also those without
keypoints; crowds are neither to be found nor wrong.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend
from ..boxes import find_boxes, in_image
from ..data.coco_file import CocoFile, Entry, Labelled, read_coco
from ..errors import BadInput
from ..estimator import Estimator
from ..geometry import COCO_CORNER, Image, letterbox
from ..pose import Pose
from ..sources.image import read_picture
from .evaluate import Progress, judged

Floats = NDArray[np.float32]

MAX_BOXES = 16  # boxes of a picture that count: as many as a second stage can afford
_MIN_SCORE = 0.05  # score of a box that counts
_WIDER = 1.25  # a person's box over that of the keypoints
_ALL, _MEDIUM, _LARGE = 0, 2, 3  # COCOeval's sizes of people


def evaluate_boxes(
    runtime: Backend,
    annotations: Labelled,
    images: str | Path,
    *,
    person: Backend | None = None,
    height: int | None = None,
    limit: int | None = None,
    progress: Progress = iter,
    max_iou: float = 0.6,
    category: str | int | None = None,
) -> tuple[dict[str, float], list[Entry]]:
    """COCO's box metrics of a model on labelled pictures.

    Args:
        runtime: a network that finds people as boxes.
        annotations: a COCO file, or one that is parsed.
        images: the folder of its pictures.
        person: a second stage: the boxes are then those of its poses.
        height: of the input in pixels, as for `Estimator`.
        limit: how many pictures, from the first on.
        progress: goes round the pictures, as a bar does.
        max_iou: overlap of two boxes that may both stay.
        category: as in `read_coco`.

    Returns:
        AP, AP50, AP75, APM and APL; recall_medium and recall_large, of people with an area over 32
        and 96 pixels squared, at an IoU of 0.5; images and seconds. And the boxes as COCO results,
        at most 16 of a picture.

    Raises:
        BadInput: as `evaluate`.
    """
    labels = read_coco(annotations, category).boxes_only
    pictures = labels.pictures[:limit]
    _ = labels.people  # what cannot be used is refused before the work, not after it
    if runtime.description.boxes:
        finder = _of_boxes(runtime, height, max_iou)
    else:
        finder = _of_poses(runtime, person, height)
    began = time.perf_counter()
    detections = []
    for entry in progress(pictures):
        image = read_picture(Path(images) / entry["file_name"])
        detections += [_result(box, entry["id"], labels.category.id) for box in finder(image)]
    seconds = time.perf_counter() - began
    found = score_boxes(labels, detections, [entry["id"] for entry in pictures])
    return found | {"images": len(pictures), "seconds": round(seconds, 2)}, detections


def _of_boxes(
    runtime: Backend, height: int | None, max_iou: float
) -> Callable[[Image], Iterable[Floats]]:
    return lambda image: in_picture(runtime, image, height, _MIN_SCORE, max_iou)


def in_picture(
    runtime: Backend,
    image: Image,
    height: int | None = None,
    min_score: float = 0.3,
    max_iou: float = 0.6,
) -> Floats:
    """The boxes (B, 5) that a network finds in an image, in its pixels, best first."""
    its = runtime.description
    picture, view = letterbox(
        image, height or its.height, its.multiple, to=its.fit, within=its.shape
    )
    boxes = runtime(picture[None])[0].boxes
    if boxes is None:
        raise BadInput(f"{its.name} finds no boxes")
    boxes = find_boxes(boxes, min_score=min_score, max_iou=max_iou, max_boxes=MAX_BOXES)
    return in_image(boxes, view, image)


def _of_poses(
    runtime: Backend, person: Backend | None, height: int | None
) -> Callable[[Image], Iterable[Floats]]:
    estimate = Estimator(runtime, person=person, height=height, max_people=MAX_BOXES)
    return lambda image: [widened(pose) for pose in estimate(image)]


def widened(pose: Pose) -> Floats:
    """The box (5,) of a pose's keypoints, wider by a quarter, and its score."""
    left, top, right, bottom = pose.box
    across, down = (right - left) * (_WIDER - 1) / 2, (bottom - top) * (_WIDER - 1) / 2
    sides = left - across, top - down, right + across, bottom + down, pose.score
    return np.array(sides, np.float32)


def _result(box: Floats, image: int, category: int) -> Entry:
    score = round(float(box[4]), 5)
    return {"image_id": image, "category_id": category, "bbox": coco_box(box), "score": score}


def coco_box(box: Floats) -> list[float]:
    """left, top, width and height of a box (5,), as COCO counts."""
    left, top, right, bottom = (float(value) for value in box[:4])
    sides = left + COCO_CORNER, top + COCO_CORNER, right - left, bottom - top
    return [round(side, 2) for side in sides]


def score_boxes(
    labels: CocoFile, detections: Sequence[Entry], images: Sequence[int]
) -> dict[str, float]:
    """COCO's box metrics on the pictures with the ids `images`, and the recalls."""
    names = "AP", "AP50", "AP75", "APM", "APL", "recall_medium", "recall_large"
    if not detections:
        return dict.fromkeys(names, 0.0)
    judge = judged(labels, detections, images, "bbox", maxDets=[MAX_BOXES])
    precision = judge.eval["precision"][:, :, 0, :, 0]  # IoU from 0.5 by 0.05, recall, size
    recall = judge.eval["recall"][:, 0, :, 0]  # IoU, size; -1 where nobody is of that size
    values = (
        precision[:, :, _ALL], precision[0, :, _ALL], precision[5, :, _ALL],
        precision[:, :, _MEDIUM], precision[:, :, _LARGE], recall[0, _MEDIUM], recall[0, _LARGE],
    )  # fmt: skip
    return {n: round(float(np.mean(v)), 4) for n, v in zip(names, values, strict=True)}
