"""How good: COCO keypoint AP and AR of a runtime on labelled pictures, through pycocotools."""

import contextlib
import io
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.base import Backend, has
from ..checks import shown
from ..data.coco_file import CocoFile, Entry, Labelled, read_coco
from ..decode import DecodeOptions
from ..errors import BadInput
from ..estimator import Estimator
from ..geometry import COCO_CORNER, Image
from ..outputs.records import coco_person
from ..pose import Pose
from ..refine import poses_in_boxes, refine
from ..skeleton import BODY, COCO, Skeleton
from ..sources.image import read_picture

METRICS = {"AP": 0, "AP50": 1, "AP75": 2, "APM": 3, "APL": 4, "AR": 5}  # places in COCOeval.stats

MIN_EVALUATED_BOX = 0.05  # score of a box that counts: AP asks for everybody, in order

Progress = Callable[[Sequence[Entry]], Iterable[Entry]]


def evaluate(
    runtime: Backend,
    annotations: Labelled,
    images: str | Path,
    *,
    person: Backend | None = None,
    height: int | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    limit: int | None = None,
    progress: Progress = iter,
    category: str | int | None = None,
    min_box: float = MIN_EVALUATED_BOX,
    decoding: DecodeOptions | None = None,
) -> tuple[dict[str, float], list[Entry]]:
    """COCO's keypoint metrics of a model on labelled pictures.

    Args:
        runtime: the first stage; or a network of crops, which then gets the labelled people.
        annotations: a COCO keypoint file, or one that is parsed.
        images: the folder of its pictures.
        person: the second stage: everybody found is refined.
        height: of the input in pixels, as for `Estimator`, as are `flip`, `scales` and `decoding`.
        flip: the mirror image is seen, too.
        scales: parts of `height` whose maps are averaged.
        limit: how many pictures, from the first on.
        progress: goes round the pictures, as a bar does.
        category: as in `read_coco`; detections are of the labels' category.
        min_box: score of a box that is refined.
        decoding: options of the decoder.

    Returns:
        AP, AP50, AP75, APM, APL and AR in 0..1, images and seconds; and the detections in COCO's
        form.

    Raises:
        BadInput: pycocotools, a part of the label file or a picture is missing.
    """
    labels = read_coco(annotations, category)
    layout = layout_of(labels, (person or runtime).description.skeleton)
    pictures = labels.pictures[:limit]
    _ = labels.people  # what cannot be used is refused before the work, not after it
    find = _finder(runtime, person, labels, layout, height, flip, scales, min_box, decoding)
    began = time.perf_counter()
    detections = []
    for entry in progress(pictures):
        image = read_picture(Path(images) / entry["file_name"])
        people = (
            coco_person(pose, entry["id"], layout, labels.category.id)
            for pose in find(image, entry["id"])
        )
        detections += [person for person in people if person]
    seconds = time.perf_counter() - began
    found = score(labels, detections, [entry["id"] for entry in pictures], layout)
    return found | {"images": len(pictures), "seconds": round(seconds, 2)}, detections


def _finder(
    runtime: Backend, person: Backend | None, labels: CocoFile, layout: Skeleton,
    height: int | None, flip: bool, scales: Sequence[float], min_box: float,
    decoding: DecodeOptions | None,
) -> Callable[[Image, int], list[Pose]]:  # fmt: skip
    """An image and its id to the poses in it, by whatever the networks do."""
    its = runtime.description
    if its.crop and its.prior:
        labelled = _labelled(labels, layout, its.skeleton)

        def find_with_prior(image: Image, n: int) -> list[Pose]:
            seen = refine(image, labelled.get(n, []), runtime, use_prior=False)
            return [replace(pose, score=float(pose.confidence.mean())) for pose in seen]

        return find_with_prior
    if its.crop:
        boxes = _labelled_boxes(labels)
        return lambda image, n: poses_in_boxes(
            image, boxes.get(n, np.zeros((0, 5), np.float32)), runtime, flip=flip
        )
    estimate = Estimator(
        runtime, person=person, height=height, flip=flip, scales=scales, min_score=0,
        min_box=min_box, decoding=decoding,
    )  # fmt: skip
    return lambda image, n: estimate(image)


def _labelled_boxes(labels: CocoFile) -> dict[int, Any]:
    """By a picture's id the boxes (P, 5) of the people with keypoints, with a score of 1."""
    boxes: dict[int, list[list[float]]] = {}
    for entry in labels.people:
        if entry["num_keypoints"]:
            left, top = (side - COCO_CORNER for side in entry["bbox"][:2])
            right, bottom = left + entry["bbox"][2], top + entry["bbox"][3]
            boxes.setdefault(entry["image_id"], []).append([left, top, right, bottom, 1])
    return {image: np.array(some, np.float32) for image, some in boxes.items()}


def layout_of(labels: CocoFile, skeleton: Skeleton) -> Skeleton:
    """The keypoints of the label file in its order; limbs play no part. BadInput if the skeleton
    lacks one."""
    names = labels.keypoints
    if skeleton.keypoints == COCO.keypoints:
        skeleton = BODY  # poses have the neck too
    known = dict(zip(skeleton.keypoints, skeleton.sigmas, strict=True))
    if missing := [shown(name) for name in names if name not in known]:
        lacked = ", ".join(missing)
        raise BadInput(f"{labels.path} labels keypoints that the model lacks: {lacked}")
    return Skeleton(names, (), tuple(known[name] for name in names))


def _labelled(labels: CocoFile, layout: Skeleton, skeleton: Skeleton) -> dict[int, list[Pose]]:
    """The people with keypoints of each picture, by its id."""
    people: dict[int, list[Pose]] = {}
    for entry in labels.people:
        pose = as_pose(entry["keypoints"], layout)
        if pose.found.any():
            people.setdefault(entry["image_id"], []).append(pose.as_skeleton(skeleton))
    return people


def as_pose(values: Any, layout: Skeleton, score: float = 1.0) -> Pose:
    """x, y and visibility or confidence of each keypoint in turn, as COCO's labels and results have
    them, in limbwise's pixels; ValueError if these are not the keypoints of `layout`."""
    x, y, sure = np.array(values, np.float32).reshape(-1, 3).T
    xy = np.where(sure > 0, [x - COCO_CORNER, y - COCO_CORNER], np.nan).T
    return Pose(layout, xy.astype(np.float32), sure.clip(0, 1), score)


def score(
    labels: CocoFile, detections: Sequence[Entry], images: Sequence[int], layout: Skeleton
) -> dict[str, float]:
    """COCO's metrics of `detections` on the pictures with the ids `images`."""
    if not detections:
        return dict.fromkeys(METRICS, 0.0)
    judge = judged(labels, detections, images, "keypoints", kpt_oks_sigmas=np.array(layout.sigmas))
    with contextlib.redirect_stdout(io.StringIO()):
        judge.summarize()
    return {name: round(float(judge.stats[place]), 4) for name, place in METRICS.items()}


def judged(
    labels: CocoFile,
    detections: Sequence[Entry],
    images: Sequence[int],
    kind: str,
    **parameters: Any,
) -> Any:
    """COCO's own judge of "keypoints" or "bbox" detections, at least one, with its `eval` made.

    It is given copies, to which it adds, and of which the category is the labels', whatever its id.
    """
    if not has("pycocotools"):
        raise BadInput("pycocotools is missing: pip install 'limbwise[eval]'")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    its = labels.category.id
    if unknown := {each["image_id"] for each in detections} - {e["id"] for e in labels.pictures}:
        raise BadInput(f"detections are of picture {min(unknown)}, which {labels.path} lacks")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks a lot
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": entry["id"]} for entry in labels.pictures],
            "annotations": [dict(entry) for entry in labels.people],
            "categories": [{"id": its}],
        }
        truth.createIndex()
        mine = [{**each, "category_id": its} for each in detections]
        judge = COCOeval(truth, truth.loadRes(mine), kind)
        for name, value in {"imgIds": list(images), "catIds": [its], **parameters}.items():
            setattr(judge.params, name, value)
        judge.evaluate()
        judge.accumulate()
    return judge
