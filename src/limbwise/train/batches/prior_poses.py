"""What a first look found of the people of a training pack: told to the network of the second.

limbwise eval labels.json images/ --detections found.json
limbwise train labels.json images/ --network limbwise-person --found found.json
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.annotations import SURE, Labels
from ...errors import BadInput
from ...evaluation.evaluate import as_pose, layout_of, read_labels
from ...pose import Pose, oks
from ...skeleton import Skeleton

Floats = NDArray[np.float32]

_ALIKE = 0.1  # OKS of a pose and a person that belong together, at least


def read_found(labels: Labels, annotations: str | Path, found: str | Path) -> Floats:
    """(P, K, 2) in the pixels of the labels, nan where nothing was found: for each person the pose
    of COCO results `found` that is most like it, a pose for one person only.

    BadInput if that is no file of results for the label file `annotations`.
    """
    layout = layout_of(read_labels(annotations), labels.skeleton, annotations)
    poses: dict[int, list[Pose]] = {}
    for image, pose in _poses(Path(found), layout):
        poses.setdefault(image, []).append(pose.as_skeleton(labels.skeleton))
    if not set(poses) & set(labels.ids):
        raise BadInput(f"{found} has no people in the pictures of {annotations}")
    told = np.full_like(labels.keypoints, np.nan)
    for n, image in enumerate(labels.ids):
        rows = labels.people(n)
        people = _people(labels, rows)
        told[rows] = _matched(people, labels.areas[rows], poses.get(image, []), told.shape[1])
    return told


def _poses(path: Path, layout: Skeleton) -> list[tuple[int, Pose]]:
    try:
        entries: Any = json.loads(path.read_bytes())
        return [
            (entry["image_id"], as_pose(entry["keypoints"], layout, entry["score"]))
            for entry in entries
        ]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} holds no COCO results of these keypoints: {error}") from error


def _people(labels: Labels, rows: slice) -> list[Pose]:
    """Their sure keypoints."""
    sure = labels.state[rows] == SURE
    places = np.where(sure[..., None], labels.keypoints[rows], np.nan).astype(np.float32)
    return [
        Pose(labels.skeleton, xy, known.astype(np.float32), 1.0)
        for xy, known in zip(places, sure, strict=True)
    ]


def _matched(people: list[Pose], areas: Floats, poses: list[Pose], kinds: int) -> Floats:
    """(P, K, 2), K being `kinds`: the most alike first."""
    told = np.full((len(people), kinds, 2), np.nan, np.float32)
    alike = np.array([oks(one, poses, area) for one, area in zip(people, areas, strict=True)])
    while alike.size and alike.max() > _ALIKE:
        person, pose = np.unravel_index(alike.argmax(), alike.shape)
        told[person] = poses[pose].xy
        alike[person], alike[:, pose] = 0, 0
    return told
