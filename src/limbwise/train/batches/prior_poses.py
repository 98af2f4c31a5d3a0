"""What a first stage found of the people of a training pack: the prior keypoints of the second.

limbwise eval labels.json images/ --detections found.json
limbwise train labels.json images/ --network limbwise-person --found found.json
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data.annotations import LABELLED, Labels
from ...data.coco_file import Labelled, read_coco, read_results
from ...errors import BadInput
from ...evaluation.evaluate import as_pose, layout_of
from ...pose import Pose, oks

Floats = NDArray[np.float32]

_ALIKE = 0.1  # OKS of a pose and a person that belong together, at least


def read_found(labels: Labels, annotations: Labelled, found: str | Path) -> Floats:
    """(P, K, 2) in the pixels of the labels, nan where nothing was found: for each person the pose
    of COCO results `found` that is most like it, a pose for one person only.

    BadInput if that is no file of results for the label file `annotations`.
    """
    annotations = read_coco(annotations)
    layout = layout_of(annotations, labels.skeleton)
    poses: dict[int, list[Pose]] = {}
    for each in read_results(found, len(layout.keypoints)):
        pose = as_pose(each.keypoints, layout, each.score)
        poses.setdefault(each.image_id, []).append(pose.as_skeleton(labels.skeleton))
    if not set(poses) & set(labels.ids):
        raise BadInput(f"{found} has no people in the pictures of {annotations.path}")
    prior = np.full_like(labels.keypoints, np.nan)
    for n, image in enumerate(labels.ids):
        rows = labels.people(n)
        people = _people(labels, rows)
        prior[rows] = _matched(people, labels.areas[rows], poses.get(image, []), prior.shape[1])
    return prior


def _people(labels: Labels, rows: slice) -> list[Pose]:
    """Their sure keypoints."""
    sure = labels.state[rows] == LABELLED
    places = np.where(sure[..., None], labels.keypoints[rows], np.nan).astype(np.float32)
    return [
        Pose(labels.skeleton, xy, known.astype(np.float32), 1.0)
        for xy, known in zip(places, sure, strict=True)
    ]


def _matched(people: list[Pose], areas: Floats, poses: list[Pose], kinds: int) -> Floats:
    """(P, K, 2), K being `kinds`: the most alike first."""
    prior = np.full((len(people), kinds, 2), np.nan, np.float32)
    alike = np.array([oks(one, poses, area) for one, area in zip(people, areas, strict=True)])
    while alike.size and alike.max() > _ALIKE:
        person, pose = np.unravel_index(alike.argmax(), alike.shape)
        prior[person] = poses[pose].xy
        alike[person], alike[:, pose] = 0, 0
    return prior
