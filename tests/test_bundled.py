"""The model in the package finds people, in every form it comes in."""

import numpy as np
import pytest

from limbwise.estimator import BUNDLED, BUNDLED_CHECKPOINT, BUNDLED_INT8, load
from limbwise.pose import oks
from limbwise.train.run import TRAINED, begin

FORMS = [("openvino", "f32"), ("openvino", "bf16"), ("openvino", "int8"), ("onnx", "f32"),
         ("torch", "f32")]  # fmt: skip


HEIGHT = 160  # the sample's people fill it


@pytest.fixture(scope="module")
def two_people(picture: np.ndarray) -> list:
    return load(precision="f32", height=HEIGHT)(picture)[:2]


@pytest.mark.parametrize(("runtime", "precision"), FORMS)
def test_the_two_people_of_the_sample_are_found_alike(runtime, precision, two_people, picture):
    found = load(runtime=runtime, precision=precision, height=HEIGHT)(picture)[:2]
    middles = sorted(np.nanmean(pose.xy[:, 0]) for pose in two_people)
    assert middles[0] < picture.shape[1] / 2 < middles[1]
    for pose in two_people:
        assert pose.found.sum() >= 9
        left, top, right, bottom = pose.box
        assert max(oks(pose, found, (right - left) * (bottom - top) / 2)) > 0.8


def test_its_files_are_small_enough_for_every_wheel() -> None:
    for path in (BUNDLED, BUNDLED_INT8, BUNDLED_INT8.with_suffix(".bin"), BUNDLED_CHECKPOINT):
        assert path.stat().st_size < 10e6, path.name


def test_training_goes_on_from_it() -> None:
    made = begin("limbwise", "bundled", TRAINED, 64, {})
    assert made.description.skeleton == TRAINED
