"""What is written of a frame and of a person, in plain types: records of JSON lines, COCO results,
OpenPose's people, rows of CSV.

Nothing here writes nan: a keypoint that was not found is null in JSON lines, an empty cell in CSV
and three zeros in the formats of OpenPose and COCO.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry import COCO_CORNER
from ..pose import Pose
from ..skeleton import COCO, Skeleton

Keypoint = list[float]  # x, y, confidence


@dataclass(frozen=True)
class Result:
    """The people of one frame: `index` counts frames from 0, on over several sources; `time` is in
    seconds, None of a picture that is no part of a film; `picture` tells a still picture from a
    frame of a video or camera."""

    source: str
    index: int
    time: float | None
    width: int
    height: int
    poses: list[Pose]
    picture: bool = False


def record(result: Result) -> dict[str, Any]:
    """The object that is a line of JSON lines."""
    return {
        "source": result.source,
        "frame": result.index,
        "time": _time(result),
        "width": result.width,
        "height": result.height,
        "people": [_person(pose) for pose in result.poses],
    }


def _person(pose: Pose) -> dict[str, Any]:
    keypoints = _keypoints(pose)
    return {
        "id": pose.id,
        "score": _number(pose.score, 4),
        "box": _box(keypoints),
        "keypoints": dict(zip(pose.skeleton.keypoints, keypoints, strict=True)),
    }


def _keypoints(pose: Pose) -> list[Keypoint | None]:
    """The keypoints as they are written, rounded; None where not found."""
    places = np.round(pose.xy.astype(float), 2).tolist()
    return [
        [x, y, _number(confidence, 4)] if math.isfinite(x + y) else None
        for (x, y), confidence in zip(places, pose.confidence, strict=True)
    ]


def _box(keypoints: list[Keypoint | None]) -> list[float] | None:
    """left, top, right, bottom; None if nothing was found."""
    if not any(keypoints):
        return None
    x, y, _ = zip(*filter(None, keypoints), strict=True)
    return [min(x), min(y), max(x), max(y)]


def _number(value: float, digits: int) -> float:
    """Rounded; 0 for nan and infinities, which JSON has no words for."""
    return round(float(value), digits) if math.isfinite(value) else 0.0


def _time(result: Result) -> float | None:
    return None if result.time is None else _number(result.time, 6)


def _flat(pose: Pose, skeleton: Skeleton) -> list[float]:
    """x, y, confidence, x, y, ... in the order of `skeleton`; zeros where not found."""
    keypoints = _keypoints(pose.as_skeleton(skeleton))
    return [value for keypoint in keypoints for value in keypoint or (0.0, 0.0, 0.0)]


def coco_person(
    pose: Pose, image_id: int, layout: Skeleton = COCO, category_id: int = 1
) -> dict[str, Any] | None:
    """A person of COCO's results, keypoints in the order of `layout`; None if none is found. The
    category is the one of the labels that the results are for; COCO's own call people 1.

    COCO counts from the corner of the first pixel, limbwise from its centre.
    """
    keypoints = _flat(pose.moved(lambda xy: xy + COCO_CORNER), layout)
    if not any(keypoints):
        return None
    score = _number(pose.score, 4)
    person = {"image_id": image_id, "category_id": category_id}
    return {**person, "keypoints": keypoints, "score": score}


def coco_image_id(result: Result) -> int:
    """A picture's number where that is its name, as in COCO; else the frame's index."""
    stem = Path(result.source).stem
    return int(stem) if result.picture and stem.isdecimal() else result.index


def csv_cells(result: Result, n: int, pose: Pose) -> list[object]:
    """The cells of person `n`; None, an empty cell, for what was not found."""
    keypoints = _keypoints(pose)
    person = n if pose.id is None else pose.id
    row: list[object] = [result.source, result.index, _time(result), person]
    row += [_number(pose.score, 4), *(_box(keypoints) or (None,) * 4)]
    return row + [cell for keypoint in keypoints for cell in keypoint or (None,) * 3]


def csv_columns(names: tuple[str, ...]) -> list[str]:
    columns = ["source", "frame", "time", "person", "score", "left", "top", "right", "bottom"]
    return columns + [f"{name}_{what}" for name in names for what in ("x", "y", "confidence")]


def csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def openpose_person(pose: Pose, skeleton: Skeleton) -> dict[str, Any]:
    parts = [f"{part}_keypoints" for part in ("pose", "face", "hand_left", "hand_right")]
    empty: dict[str, list[float]] = {f"{part}_{d}d": [] for d in (2, 3) for part in parts}
    person_id = [-1 if pose.id is None else pose.id]
    return {"person_id": person_id} | empty | {"pose_keypoints_2d": _flat(pose, skeleton)}
