"""Boxes to poses, with a network that sees three lights: places, scores, and who is kept."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import standing
from limbwise.backends.base import Backend
from limbwise.crops import box_of, box_view
from limbwise.description import Description
from limbwise.network_output import NetworkOutput
from limbwise.pose import Pose
from limbwise.refine import mirrored_maps, poses_in_boxes, refine
from limbwise.skeleton import BODY, COCO, Skeleton
from test_refine import LIGHTS, SIZE, lit, pose, seeing_lights


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
    with pytest.raises(ValueError, match="takes no boxes"):
        poses_in_boxes(image, BOX[None], seeing_lights())


def test_a_mirrored_look_changes_nothing_where_both_agree() -> None:
    image = lit((300, 300), LIT, 8)
    plain, both = (poses_in_boxes(image, BOX[None], seeing(), flip=flip)[0] for flip in (0, 1))
    assert np.abs(plain.xy - both.xy).max() < 0.1


# A network that says the same of every crop, so that places are known to a hundredth of a cell.


def saying(
    places: Sequence[tuple[float, float]], heights: Sequence[float] = (1.0, 1.0, 1.0),
    skeleton: Skeleton = LIGHTS,
) -> Backend:  # fmt: skip
    """Of every crop that its keypoints are at these pixels of it."""
    y, x = np.mgrid[: SIZE[0] // 4, : SIZE[1] // 4] * 4 + 1.5
    maps = [high * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 32)
            for (a, b), high in zip(places, heights, strict=True)]  # fmt: skip
    its = Description("same", skeleton, 4, 8, SIZE[0], crop=SIZE, prior=False)
    return Backend(its, "same", lambda crops: (np.array([maps] * len(crops), np.float32),))


MIDDLE = [(30.0, 40.0), (60.0, 60.0), (40.0, 90.0)]
DARK = np.zeros((400, 500, 3), np.uint8)


def test_keypoints_above_a_fifth_count_in_the_score() -> None:
    at = [(29.5, 41.5), (61.5, 61.5), (41.5, 89.5)]  # the middles of cells
    (pose,) = poses_in_boxes(DARK, BOX[None], saying(at, (0.9, 0.21, 0.19)))
    assert pose.found.all()
    assert pose.score == pytest.approx(((0.9 + 0.21) / 2) ** 2 * BOX[4], abs=1e-5)


def test_an_eye_at_the_knee_is_not_found_and_the_neck_is_between_the_shoulders() -> None:
    person = standing(110, SIZE[1] / 2, 25).as_skeleton(COCO)
    eye, knee = (COCO.index[name] for name in ("left_eye", "left_knee"))
    for place, lost in ((person.xy[eye], set()), (person.xy[knee], {"left_eye"})):
        person.xy[eye] = place
        heights = np.where(np.arange(17) == eye, 0.5, 0.9)
        (pose,) = poses_in_boxes(DARK, BOX[None], saying(person.xy, heights, COCO))
        assert pose.skeleton == BODY
        missing = np.flatnonzero(~pose.found)
        assert {BODY.keypoints[place] for place in missing} == lost
        assert not pose.confidence[missing].any()
        middle = (pose["left_shoulder"] + pose["right_shoulder"]) / 2
        assert np.allclose(pose["neck"], middle, atol=1e-3)


def test_two_who_are_alike_for_the_size_of_their_boxes_are_one() -> None:
    """OKS of people who fill 0.53 of their boxes; sigmas are 0.1, half of COCO's constants."""
    box = np.float32([100, 100, 200, 260, 1])
    far = 2 * 0.1 * np.sqrt(-2 * np.log(0.75) * 0.53 * 100 * 160)
    for share, count in ((0.97, 1), (1.03, 2)):
        both = np.stack([box, box + np.float32([share * far, 0, share * far, 0, -0.5])])
        assert len(poses_in_boxes(DARK, both, saying(MIDDLE))) == count
    far *= np.sqrt(np.log(0.5) / np.log(0.75))
    both = np.stack([box, box + np.float32([far - 1, 0, far - 1, 0, -0.5])])
    assert len(poses_in_boxes(DARK, both, saying(MIDDLE), nms_oks=0.5)) == 1


@pytest.mark.parametrize("beyond", [-0.2, 0.2])
def test_a_picture_ends_half_a_pixel_beyond_its_last_one(beyond: float) -> None:
    """A keypoint may lie on that edge, and on the one half a pixel before the first."""
    for edge, side in ((499.5, 0), (399.5, 1), (-0.5, 0), (-0.5, 1)):
        place = edge + (beyond if edge > 0 else -beyond)
        corner = np.float32([place - 50, place - 50])
        box = np.float32([*corner, *corner + 100, 1])
        box[1 - side], box[3 - side] = 150, 250
        at = box_view(box, SIZE).forward(np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]))
        found = poses_in_boxes(DARK, box[None], saying([tuple(at)] * 3))
        assert [each.found.all() for each in found] == [True] * (beyond < 0)


def test_a_keypoint_may_lie_a_third_of_the_longer_side_outside_its_box() -> None:
    """0.35 of it, whichever side it leaves by."""
    for box in (np.float32([200, 190, 300, 220, 1]), np.float32([235, 150, 265, 250, 1])):
        view = box_view(box, SIZE)
        for direction in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            middle = (box[:2] + box[2:4]) / 2
            half = np.abs((box[2:4] - box[:2]) / 2 * direction).max()
            for share, there in ((0.33, True), (0.37, False)):
                far = np.array(direction) * (half + share * 100)
                at = view.forward(middle + far)
                if (at >= 4).all() and (at <= np.array(SIZE[::-1]) - 5).all():
                    places = [MIDDLE[0], tuple(at), MIDDLE[2]]
                    (found,) = poses_in_boxes(DARK, box[None], saying(places))
                    assert bool(found.found[1]) is there


def test_a_mirrored_look_is_half_of_what_is_said() -> None:
    box = np.float32([[100, 100, 200, 260, 1]])
    network, calls = saying(MIDDLE), []

    def once(crops: np.ndarray) -> tuple[np.ndarray]:
        calls.append(crops)
        (maps,) = network.run(crops)
        return (maps * (len(calls) == 1),)

    (plain,) = poses_in_boxes(DARK, box, network)
    (half,) = poses_in_boxes(DARK, box, replace(network, run=once), flip=True)
    assert half.confidence == pytest.approx(plain.confidence / 2)
    assert half.xy == pytest.approx(plain.xy, abs=0.01)


@pytest.mark.parametrize(("stride", "offset"), [(4, None), (4, -0.5), (8, None), (8, -4.5)])
def test_what_is_said_of_a_mirrored_crop_is_turned_back_wherever_cells_lie(stride, offset) -> None:
    """But for columns at the edge that the mirror image does not have."""
    pair = Skeleton(("left_hand", "right_hand"), (), (0.1, 0.1))
    width = 96
    plain = NetworkOutput(
        np.zeros((2, 8, width // stride), np.float32), np.zeros(0), stride, None, offset
    )
    x = plain.pixels(np.stack([np.arange(width // stride)] * 2, axis=1))[:, 0]

    def maps(*places: float) -> np.ndarray:
        rows = [np.exp(-((x - place) ** 2) / 200) for place in places]
        return np.repeat(np.array(rows, np.float32)[:, None], 8, axis=1)

    said = maps(width - 1 - 70, width - 1 - 30)  # the left hand is where the right one was
    turned = mirrored_maps([replace(plain, heatmaps=said)], pair)[0]
    assert np.abs(turned - maps(30, 70))[:, :, 2:-2].max() < 1e-4
    assert turned.shape == (2, 8, width // stride)


# Poses that become boxes.


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_poses_crop_is_two_fifths_larger_than_it_and_more_where_less_was_found(lost: int) -> None:
    """1.4 times its box, 0.7 of that more if nothing were found; a box is 1.25 times as small."""
    xy = np.array([[100.0, 100], [160, 140], [130, 300]])
    xy[[1, 2, 0][:lost]] = np.nan
    one = pose(xy, 0.6)
    *box, score = box_of(one)
    left, top, right, bottom = one.box
    times = 1.4 * (1 + 0.7 * lost / 3) / 1.25
    assert score == 0.6
    assert (box[0] + box[2], box[1] + box[3]) == pytest.approx((left + right, top + bottom))
    sides = max(right - left, 1), max(bottom - top, 1)
    assert (box[2] - box[0], box[3] - box[1]) == pytest.approx((sides[0] * times, sides[1] * times))


def test_a_network_that_is_told_nothing_looks_into_the_boxes_of_poses() -> None:
    """A keypoint is found from a confidence of 0.1, unless another is asked for; the people beyond
    the most stay as they are, and of two who are alike the better is kept."""
    people = [pose(np.array([[100.0, 100], [160, 140], [130, 300]]) + 90 * n, 1 - n * n / 5)
              for n in range(3)]  # fmt: skip
    network = saying(MIDDLE, heights=(1.0, 0.12, 0.08))
    seen = refine(DARK, people, network, max_people=2)
    assert [each.found.tolist() for each in seen] == [[True, True, False]] * 2 + [[True] * 3]
    assert seen[2] is people[2]
    assert not refine(DARK, people[:1], network, min_confidence=0.2)[0].found[1]
    assert refine(DARK, people[:1], network, min_confidence=0.05)[0].found[2]
    view = box_view(np.array(box_of(people[0])), SIZE)
    assert seen[0].xy[0] == pytest.approx(view.inverse(np.array(MIDDLE[0])), abs=0.1)
    twice = [people[0], replace(people[0], score=0.3)]
    assert len(refine(DARK, twice, network)) == 1


def test_nothing_is_enlarged_more_than_twenty_times() -> None:
    box = np.array([50.0, 50, 50.5, 50.5])
    assert box_view(box, SIZE).matrix[0, 0] == pytest.approx(20)
    assert box_view(box, SIZE, margin=2.0).matrix[0, 0] == pytest.approx(20)
    large = box_view(np.array([0.0, 0, 96, 10]), SIZE)
    assert large.matrix[0, 0] == pytest.approx(1 / 1.25)
    assert isinstance(pose(np.ones((3, 2))), Pose)
