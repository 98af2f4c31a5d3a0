"""The model in the package finds people, in every form it comes in."""

import numpy as np
import pytest

from limbwise.estimator import (
    BUNDLED,
    BUNDLED_CHECKPOINT,
    BUNDLED_INT8,
    BUNDLED_PERSON,
    BUNDLED_PERSON_CHECKPOINT,
    BUNDLED_PERSON_INT8,
    load,
)
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
    for path in (BUNDLED, BUNDLED_INT8, BUNDLED_INT8.with_suffix(".bin"), BUNDLED_CHECKPOINT,
                 BUNDLED_PERSON, BUNDLED_PERSON_INT8, BUNDLED_PERSON_INT8.with_suffix(".bin"),
                 BUNDLED_PERSON_CHECKPOINT):  # fmt: skip
        assert path.stat().st_size < 10e6, path.name


def test_the_second_look_is_taken_unless_it_is_left_out(picture: np.ndarray) -> None:
    """It nudges the keypoints of the same two people, and gives them most of those they lacked."""
    twice, once = (
        load(precision="f32", height=HEIGHT),
        load(person=False, precision="f32", height=HEIGHT),
    )
    assert (twice.person is None, once.person is None) == (False, True)
    for again, first in zip(twice(picture)[:2], once(picture)[:2], strict=True):
        both = again.found & first.found
        away = np.linalg.norm(again.xy - first.xy, axis=1)[both]
        left, top, right, bottom = first.box
        assert 0 < np.median(away) < 0.05 * max(right - left, bottom - top)
        assert again.found.sum() >= first.found.sum()


def test_both_looks_are_taken_in_int8_where_that_is_asked_for() -> None:
    pair = load(precision="int8")
    assert all(each.label.startswith("openvino int8") for each in (pair.runtime, pair.person))


def test_training_goes_on_from_it() -> None:
    made = begin("limbwise", "bundled", TRAINED, 64, {})
    assert made.description.skeleton == TRAINED
    second = begin("limbwise-person", "bundled", TRAINED, None, {})
    assert (second.description.name, second.description.crop) == ("limbwise-person", (160, 120))
