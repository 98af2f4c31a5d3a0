"""What a teacher is shown, and what of it a network learns."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from limbwise.backends.base import Backend
from limbwise.data.coco import read
from limbwise.description import Description
from limbwise.errors import BadInput
from limbwise.networks.checkpoint import build
from limbwise.skeleton import Skeleton
from limbwise.train.batches.batch import Sampler
from limbwise.train.batches.loader import feed
from limbwise.train.batches.teacher import in_cells_of
from limbwise.train.loss import map_loss
from test_train_run import CALM, KITES, kites

COVERED = replace(CALM, cut_out=1.0)  # in every crop something is hidden, in both sizes the same

OURS = Description("ours", KITES, 4, crop=(128, 96), sigma=8.0, offset=-0.5)
THEIRS = [
    Description("finer", KITES, 4, crop=(256, 192), sigma=8.0, offset=-0.5),
    Description("of a third more", KITES, 4, crop=(176, 128), sigma=6.0),
    Description("of another stride", KITES, 8, crop=(256, 192), sigma=7.0, offset=3.0),
    Description("as ours, narrower", KITES, 4, crop=(128, 96), sigma=4.0, offset=1.5),
]


def gaussian(its: Description, at: tuple[float, float]) -> np.ndarray:
    """Drawn round x and y, shares of the crop's sides."""
    assert its.crop
    assert its.sigma
    first = (its.stride - 1) / 2 if its.offset is None else its.offset
    lines = [
        np.exp(-np.square((first + its.stride * np.arange(side // its.stride) + 0.5 - share * side)
               / its.sigma) / 2)
        for side, share in zip(its.crop, at[::-1], strict=True)
    ]  # fmt: skip
    return np.outer(*lines)


@pytest.mark.parametrize("theirs", THEIRS, ids=lambda its: its.name)
@pytest.mark.parametrize("at", [(0.5, 0.5), (0.4, 0.63), (0.55, 0.37)])
def test_what_a_teacher_draws_becomes_what_the_network_would_draw(theirs, at) -> None:
    down, across = in_cells_of(OURS, theirs)
    said = down @ gaussian(theirs, at) @ across.T
    wanted = gaussian(OURS, at)
    assert np.abs(said - wanted).max() < 0.03


def crops_of(tmp_path: Path, teacher: Backend, network: str = "lite-hrnet") -> Sampler:
    tmp_path.mkdir(exist_ok=True)
    labels = kites(tmp_path / "a", 6, 0)
    made = build(network, KITES, 64)
    return feed(
        read(labels, labels.parent),
        made,
        64,
        torch.device("cpu"),
        teacher=teacher,
        settings=COVERED,
    )


def teacher_of(
    skeleton: Skeleton, shown: list[np.ndarray], crop=(96, 72), stride: int = 4
) -> Backend:
    def said(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each keypoint's number in its map, a tenth."""
        shown.append(images)
        count, cells = len(skeleton.keypoints), (crop[0] // stride, crop[1] // stride)
        maps = np.arange(count, dtype=np.float32)[None, :, None, None] / 10
        return np.broadcast_to(maps, (len(images), count, *cells)), np.zeros((len(images), 0, 1, 1))

    description = Description(
        "lite-hrnet", skeleton, stride, crop=crop, prior=False, sigma=8.0, offset=-0.5
    )
    return Backend(description, "teacher", said)


@pytest.mark.parametrize("network", ["lite-hrnet", "limbwise-person"])
@pytest.mark.parametrize("crop", [(96, 72), (32, 24)])
def test_a_teacher_sees_the_same_crops_at_its_own_size(tmp_path: Path, crop, network: str) -> None:
    shown: list[np.ndarray] = []
    teacher = teacher_of(KITES, shown, crop)
    batch = crops_of(tmp_path, teacher, network)(0, 8, (0, 1))
    assert batch.teacher_maps is not None
    assert batch.teacher_maps.shape == batch.heatmaps.shape
    (detail,) = shown[:1]
    assert detail.shape == (8, *crop, 3)
    assert batch.detail is None
    images = batch.images.permute(0, 2, 3, 1).numpy()
    for seen, image in zip(detail, images, strict=True):
        alike = cv2.resize(seen, image.shape[1::-1], interpolation=cv2.INTER_AREA)
        away = np.abs(cv2.blur(alike, (7, 7)).astype(float) - cv2.blur(image, (7, 7)))
        aside = np.abs(
            cv2.blur(np.roll(alike, 4, 1), (7, 7)).astype(float) - cv2.blur(image, (7, 7))
        )
        assert away[8:-8, 8:-8].mean() < 5 < aside[8:-8, 8:-8].mean()


def test_a_network_with_the_teachers_crops_gets_no_others(tmp_path: Path) -> None:
    shown: list[np.ndarray] = []
    batch = crops_of(tmp_path, teacher_of(KITES, shown, (64, 48)))(0, 4, (0, 1))
    assert np.array_equal(shown[0], batch.images.permute(0, 2, 3, 1).numpy())


def test_maps_of_the_same_crops_in_other_cells_are_brought_into_ours(tmp_path: Path) -> None:
    teacher = teacher_of(KITES, [], (64, 48), stride=8)
    batch = crops_of(tmp_path, teacher)(0, 4, (0, 1))
    assert batch.teacher_maps is not None
    assert batch.teacher_maps.shape == batch.heatmaps.shape


def test_what_a_teacher_does_not_know_it_does_not_teach(tmp_path: Path) -> None:
    known = Skeleton(("head", "somebody", "tail"), (), (0.1,) * 3)
    batch = crops_of(tmp_path, teacher_of(known, []))(0, 4, (0, 1))
    said = batch.teacher_maps
    assert said is not None
    assert said[:, [1, 2]].isnan().all()  # the tips
    factor = said[0, 3].max()  # the head's map was 0, the tail's 0.2
    assert factor == 0
    assert (said[:, 0] > 0.1).all()
    outputs = [torch.rand_like(batch.heatmaps), batch.limbs.flatten(1, 2)]
    other = [outputs[0].clone(), outputs[1]]
    other[0][:, 1] += 0.5
    parts, others = map_loss(outputs, batch), map_loss(other, batch)
    assert parts["teacher_maps"] == others["teacher_maps"] > 0
    assert parts["total"].isfinite()
    other[0][:, 3] += 0.5
    assert map_loss(other, batch)["teacher_maps"] > parts["teacher_maps"]


def test_a_teacher_of_whole_pictures_is_refused(tmp_path: Path) -> None:
    teacher = teacher_of(KITES, [])
    whole = replace(teacher, description=replace(teacher.description, crop=None))
    prior = replace(teacher, description=replace(teacher.description, prior=True))
    strangers = teacher_of(Skeleton(("knee",), (), (0.1,)), [])
    for number, each in enumerate((whole, prior, strangers)):
        with pytest.raises(BadInput, match="teacher"):
            crops_of(tmp_path / str(number), each)
