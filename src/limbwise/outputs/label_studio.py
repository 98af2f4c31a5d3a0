"""What a model found as Label Studio's predictions, which it shows to whoever corrects them."""

from pathlib import PurePath
from typing import Any

import numpy as np

from ..data.formats.dataset import NOT_LABELLED, Keypoint, person_of
from ..data.formats.label_studio import image_data, person_regions
from ..errors import BadInput
from ..geometry import COCO_CORNER
from ..pose import Pose
from ..skeleton import BODY, COCO
from .records import Result

VERSION = "limbwise"  # Label Studio's "model_version": predictions are chosen by it


def task(result: Result) -> dict[str, Any]:
    """A picture with its people as a prediction, by COCO's keypoints where they are a body's.

    Args:
        result: of a still picture: Label Studio has no picture of a film's frame.

    Returns:
        A task as Label Studio imports it, in plain JSON types.

    Raises:
        BadInput: it is a frame of a film or camera.
    """
    if not result.picture:
        raise BadInput(
            f"{result.source} is no picture: Label Studio's tasks are pictures, "
            "so save the frames first (--save frames/)"
        )
    size = result.width, result.height
    regions = [
        region for n, pose in enumerate(result.poses) for region in _regions(f"p{n}", pose, size)
    ]
    scores = [float(pose.score) for pose in result.poses]
    prediction: dict[str, Any] = {"model_version": VERSION, "result": regions}
    if scores:
        prediction["score"] = round(sum(scores) / len(scores), 4)
    return {"data": image_data(_name(result.source), size), "predictions": [prediction]}


def _name(source: str) -> str:
    """The picture below the folder that Label Studio serves: the path as it was given."""
    path = PurePath(source)
    return (path.relative_to(path.anchor) if path.anchor else path).as_posix()


def _regions(its: str, pose: Pose, size: tuple[int, int]) -> list[dict[str, Any]]:
    shown = pose.as_skeleton(COCO) if pose.skeleton == BODY else pose
    found = [bool(np.isfinite(xy).all()) for xy in shown.xy]
    places = np.clip(shown.xy.astype(float) + COCO_CORNER, 0, size)  # it draws nothing outside
    keypoints: list[Keypoint] = [
        (float(x), float(y), 2) if seen else NOT_LABELLED
        for (x, y), seen in zip(places, found, strict=True)
    ]
    who = person_of(keypoints, None, size)
    if who is None:
        return []
    scores = [round(float(value), 4) for value in (pose.score, *shown.confidence)]
    return person_regions(its, who, shown.skeleton.keypoints, size, "person", scores)
