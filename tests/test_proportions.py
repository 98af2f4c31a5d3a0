"""Limbs that cannot belong to one body are cut off; real bodies, however they stand, stay whole."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import standing
from limbwise.pose import Pose
from limbwise.proportions import _LENGTHS, MAX_RATIO, impossible
from limbwise.skeleton import BODY, Skeleton


def impossible_of(pose: Pose) -> np.ndarray:
    """(K,): the keypoints of one person that cannot be."""
    return impossible(pose.skeleton, pose.xy[None], pose.confidence[None])[0]


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
    assert not impossible_of(pose).any()


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
    lost = set(np.flatnonzero(impossible_of(replace(pose, xy=xy, confidence=confidence))))
    # Beyond the elbow hangs the wrist.
    assert place in lost
    assert lost <= {place, *[BODY.index["right_wrist"]] * (name == "right_elbow")}


def test_what_is_just_short_enough_stays() -> None:
    pose = standing(200, 300, 300)
    wrist, elbow = BODY.index["left_wrist"], BODY.index["left_elbow"]
    way = (pose.xy[wrist] - pose.xy[elbow]) / np.hypot(*(pose.xy[wrist] - pose.xy[elbow]))
    for times, stays in ((0.6, True), (2.0, False)):
        xy = pose.xy.copy()
        xy[wrist] = xy[elbow] + way * MAX_RATIO * times * 0.15 * 200
        assert impossible_of(replace(pose, xy=xy))[wrist] != stays


@pytest.mark.parametrize("names", [("tip", "tail"), ("left_knee", "left_ankle")])
def test_other_skeletons_and_people_of_whom_little_is_seen_stay_as_they_are(names) -> None:
    kite = Skeleton(names, (names,), (0.1, 0.1))
    pose = replace(standing(100, 0, 0), skeleton=BODY)
    two = type(pose)(kite, np.float32([[0, 0], [500, 0]]), np.float32([1, 1]), 1.0)
    assert not impossible_of(two).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1.0, 4.0))
def test_many_people_at_once_are_judged_as_each_alone_by_the_third_quartile(seed, ratio) -> None:
    rng = np.random.default_rng(seed)
    xy = np.stack([standing(200, 300, 300).xy + rng.normal(0, 40, (18, 2)) for _ in range(5)])
    xy[rng.random((5, 18)) < 0.3] = np.nan
    confidence = np.where(np.isnan(xy[..., 0]), 0, rng.random((5, 18))).astype(np.float32)
    together = impossible(BODY, xy.astype(np.float32), confidence, ratio)
    for person, sure, lost in zip(xy.astype(np.float32), confidence, together, strict=True):
        assert np.array_equal(lost, impossible_plainly(person, sure, ratio))


def impossible_plainly(xy: np.ndarray, confidence: np.ndarray, ratio: float) -> np.ndarray:
    """One person, limb by limb."""
    lost, sizes = np.zeros(len(xy), bool), {}
    for ends in BODY.limbs:
        kinds = tuple(name.split("_")[-1] for name in ends)
        length = _LENGTHS.get(kinds, _LENGTHS.get(kinds[::-1]))
        if length is None:
            continue
        a, b = (BODY.index[end] for end in ends)
        sizes[a, b] = np.hypot(*(xy[b] - xy[a])) / length
    sure = [size for (a, b), size in sizes.items() if min(confidence[a], confidence[b]) > 0.2]
    if len(sure) >= 4:
        for (a, b), size in sizes.items():
            if size > ratio * np.quantile(sure, 0.75):
                lost[a if confidence[a] < confidence[b] else b] = True
    return lost
