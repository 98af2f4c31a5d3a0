"""Limbs that cannot belong to one body are cut off; real bodies, however they stand, stay whole."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import standing
from limbwise.proportions import MAX_RATIO, without_impossible
from limbwise.skeleton import BODY, Skeleton


@settings(max_examples=40, deadline=None)
@given(
    st.floats(20, 900), st.floats(-180, 180), st.floats(0.35, 1), st.sampled_from(BODY.keypoints)
)
def test_a_body_stays_whole_at_any_size_turned_and_foreshortened(height, turn, narrow, hidden):
    pose = standing(height, 300, 200)
    angle = np.radians(turn)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    xy = ((pose.xy - (300, 200)) * (narrow, 1)) @ matrix.T + (300, 200)
    xy[BODY.index[hidden]] = np.nan
    confidence = np.where(np.isnan(xy[:, 0]), 0, 0.9).astype(np.float32)
    pose = replace(pose, xy=xy.astype(np.float32), confidence=confidence)
    assert without_impossible(pose) is pose


@settings(max_examples=40, deadline=None)
@given(
    st.floats(50, 900), st.sampled_from(["left_wrist", "right_ankle", "left_ear", "right_elbow"]),
    st.floats(0, 6.28),
)  # fmt: skip
def test_a_keypoint_far_away_is_lost_and_no_other(height: float, name: str, angle: float) -> None:
    pose, place = standing(height, 500, 500), BODY.index[name]
    xy, confidence = pose.xy.copy(), np.full(len(pose.xy), 0.9, np.float32)
    xy[place] += 2 * height * np.array([np.cos(angle), np.sin(angle)])
    confidence[place] = 0.5
    found = without_impossible(replace(pose, xy=xy, confidence=confidence))
    assert np.isnan(found[name]).all()
    assert found.confidence[place] == 0
    kept = np.arange(len(xy)) != place
    if name == "right_elbow":  # the wrist beyond it hangs on it
        kept[BODY.index["right_wrist"]] = False
    assert np.array_equal(found.xy[kept], xy[kept])


def test_what_is_just_short_enough_stays() -> None:
    pose = standing(200, 300, 300)
    wrist, elbow = BODY.index["left_wrist"], BODY.index["left_elbow"]
    way = (pose.xy[wrist] - pose.xy[elbow]) / np.hypot(*(pose.xy[wrist] - pose.xy[elbow]))
    for times, stays in ((0.6, True), (2.0, False)):
        xy = pose.xy.copy()
        xy[wrist] = xy[elbow] + way * MAX_RATIO * times * 0.15 * 200
        assert bool(np.isfinite(without_impossible(replace(pose, xy=xy)).xy[wrist, 0])) is stays


@pytest.mark.parametrize("names", [("tip", "tail"), ("left_knee", "left_ankle")])
def test_other_skeletons_and_people_of_whom_little_is_seen_stay_as_they_are(names) -> None:
    kite = Skeleton(names, (names,), (0.1, 0.1))
    pose = replace(standing(100, 0, 0), skeleton=BODY)
    two = type(pose)(kite, np.float32([[0, 0], [500, 0]]), np.float32([1, 1]), 1.0)
    assert without_impossible(two) is two
