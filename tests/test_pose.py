import numpy as np
import pytest

from conftest import standing
from limbwise.pose import Pose, oks
from limbwise.skeleton import BODY, BODY_25, COCO


def test_keypoints_keep_their_names_in_another_skeleton() -> None:
    pose = standing(200, 100, 60)
    there = pose.as_skeleton(COCO)
    for name in COCO.keypoints:
        assert np.array_equal(there[name], pose[name])


def test_mid_points_are_made_of_both_sides_and_only_then() -> None:
    pose = standing(200, 100, 60, COCO)
    whole = pose.as_skeleton(BODY_25)
    assert whole["mid_hip"] == pytest.approx((pose["left_hip"] + pose["right_hip"]) / 2)
    pose.xy[COCO.index["left_hip"]] = np.nan
    assert np.isnan(pose.as_skeleton(BODY_25)["mid_hip"]).all()
    assert not whole.found[BODY_25.index["left_heel"]]
    assert whole.confidence[BODY_25.index["left_heel"]] == 0


def test_the_box_holds_exactly_the_found_keypoints() -> None:
    xy = np.full((18, 2), np.nan, np.float32)
    assert np.isnan(Pose(BODY, xy, np.zeros(18, np.float32), 0).box).all()
    xy[3], xy[7] = (10, 40), (30, 20)
    assert Pose(BODY, xy, np.zeros(18, np.float32), 0).box == (10, 20, 30, 40)


def test_oks_is_one_for_the_same_pose_and_falls_with_distance() -> None:
    pose = standing(200, 100, 60)
    shifted = [pose.moved(lambda xy, d=d: xy + d) for d in (0, 2, 5, 20)]
    values = oks(pose, shifted, area=200 * 80)
    assert values[0] == 1
    assert (np.diff(values) < 0).all()


def test_oks_of_one_keypoint_follows_the_formula() -> None:
    xy = np.full((18, 2), np.nan, np.float32)
    xy[0] = (50, 50)
    pose = Pose(BODY, xy, np.ones(18, np.float32), 1)
    there = oks(pose, [pose.moved(lambda xy: xy + (3, 4))], area=10000)
    assert there[0] == pytest.approx(np.exp(-25 / (2 * 10000 * (2 * 0.026) ** 2)))


def test_a_pose_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs xy \(18, 2\)"):
        Pose(BODY, np.zeros((17, 2), np.float32), np.zeros(18, np.float32), 0)
