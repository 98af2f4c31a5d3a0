"""Boxes to poses, with a network that sees three lights: places, scores, and who is kept."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise import estimator, refine
from limbwise.boxes import find_boxes
from limbwise.outputs import draw
from limbwise.refine import poses_in_boxes
from test_refine import LIGHTS, SIZE, lit, seeing_lights


def seeing():
    """The network of test_refine, told nothing."""
    told = seeing_lights()
    no_prior = np.zeros((0, 3, 3), np.float32)
    return replace(
        told,
        description=replace(told.description, prior=False),
        run=lambda crops: told.run(crops, no_prior),
    )


LIT = np.array([[60.0, 50], [90, 120], [70, 190]])
BOX = np.float32([30, 20, 130, 220, 0.81])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.15, 0.85), st.floats(0.15, 0.85)), min_size=3, max_size=3),
    st.floats(0.5, 2.5), st.floats(0.3, 1), st.floats(0, 200),
)  # fmt: skip
def test_keypoints_lie_where_the_lights_are_at_any_size_of_box(places, scale, sure, left) -> None:
    box = np.float32([left, 40, left + 90 * scale, 40 + 120 * scale, sure])
    truth = box[:2] + np.array(places) * (box[2:4] - box[:2])
    image = lit((420, 480), truth, 5 * scale)
    (pose,) = poses_in_boxes(image, box[None], seeing())
    assert np.abs(pose.xy - truth).max() < 1.2 * max(scale, 1)
    assert pose.score == pytest.approx(pose.confidence.mean() ** 2 * sure, abs=1e-6)


def test_the_score_counts_sure_keypoints_only_and_faint_ones_are_not_found() -> None:
    image = lit((400, 400), LIT + 60, 8).astype(float)  # no grey of beyond the picture in the crop
    image[..., 1] *= 0.19  # found, but not sure
    image[..., 2] *= 0.05  # not found
    moved = BOX + np.float32([60, 60, 60, 60, 0])
    (pose,) = poses_in_boxes(image.astype(np.uint8), moved[None], seeing())
    assert pose.found.tolist() == [True, True, False]
    assert pose.score == pytest.approx(pose.confidence[0] ** 2 * BOX[4], abs=1e-4)


def test_what_lies_far_outside_the_box_or_the_picture_is_not_found() -> None:
    flat = np.float32([60, 180, 260, 220, 1])  # its crop is far higher than the box
    far = np.array([[100.0, 200], [160, 0], [220, 210]])
    for y, there in ((220 + 0.3 * 200, True), (220 + 0.4 * 200, False)):
        far[1, 1] = y
        (pose,) = poses_in_boxes(lit((420, 420), far, 6), flat[None], seeing())
        assert bool(pose.found[1]) is there
    boxes = np.stack([BOX, BOX + np.float32([150, 60, 150, 60, 0])])
    for pose in poses_in_boxes(lit((300, 300), LIT, 8), boxes, seeing()):
        assert (pose.xy[pose.found] >= -0.5).all()
        assert (pose.xy[pose.found] <= 299.5).all()


def test_one_person_in_two_boxes_is_kept_once_the_surer() -> None:
    boxes = np.stack([BOX - np.float32([2, 1, 2, 1, 0.3]), BOX])
    (pose,) = poses_in_boxes(lit((300, 300), LIT, 8), boxes, seeing())
    assert pose.score == pytest.approx(pose.confidence.mean() ** 2 * BOX[4], abs=1e-6)


def test_boxes_that_are_none_are_passed_over() -> None:
    image = lit((300, 300), LIT, 8)
    nothing = np.float32([[5, 5, 5, 9, 1], [9, 5, 3, 9, 1], [np.nan, 0, 9, 9, 1]])
    assert poses_in_boxes(image, nothing, seeing()) == []
    assert poses_in_boxes(image, np.zeros((0, 5), np.float32), seeing()) == []
    assert len(poses_in_boxes(image, np.vstack([nothing, BOX]), seeing())) == 1
    outside = BOX + np.float32([900, 900, 900, 900, 0])
    assert all(not pose.found.any() for pose in poses_in_boxes(image, outside[None], seeing()))
    many = np.tile(BOX, (500, 1))
    assert len(poses_in_boxes(image, many, seeing())) == 1
    with pytest.raises(ValueError, match="does not look into boxes"):
        poses_in_boxes(image, BOX[None], seeing_lights())


def test_a_mirrored_look_changes_nothing_where_both_agree() -> None:
    image = lit((300, 300), LIT, 8)
    plain, both = (poses_in_boxes(image, BOX[None], seeing(), flip=flip)[0] for flip in (0, 1))
    assert np.abs(plain.xy - both.xy).max() < 0.1


def test_defaults_that_figures_depend_on_are_pinned() -> None:
    """docs/model-card.md and benchmarks/RESULTS.md were measured with these."""

    def of(function, *names: str) -> list:
        return [inspect.signature(function).parameters[name].default for name in names]

    assert (estimator.MIN_SCORE, estimator.MIN_BOX, refine.MAX_PEOPLE) == (0.15, 0.3, 30)
    assert of(poses_in_boxes, "least", "same", "flip") == [0.1, 0.75, False]
    assert of(find_boxes, "max_iou", "max_boxes") == [0.6, 16]
    assert of(estimator.Estimator, "min_score", "min_box", "max_people") == [0.15, 0.3, None]
    assert (refine.BOX_MARGIN, draw.MIN_CONFIDENCE) == (1.25, 0.2)
    assert SIZE == (128, 96)
    assert len(LIGHTS.keypoints) == 3
