"""Laws of the tracker, on people who walk about without a network."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.optimize import linear_sum_assignment

from conftest import drawn, standing
from limbwise.decode import decode
from limbwise.pose import Pose
from limbwise.skeleton import BODY, BODY_25, COCO, Skeleton
from limbwise.track import Tracker, assign

HEIGHT = 200.0
WRIST = BODY.index["right_wrist"]

Scene = Callable[[float], list[Pose]]


def walker(
    time: float, x: float, speed: float, y: float = 100, height: float = HEIGHT, phase: float = 0
) -> Pose:
    """Starts with the neck at (x, y); `speed` in heights a second; the legs and arms swing."""
    pose = standing(height, x + speed * height * time, y)
    swing = height * min(abs(speed), 1) * math.sin(2 * math.pi * time + phase)
    for part, share in ("knee", 0.1), ("ankle", 0.2), ("wrist", 0.12):
        pose.xy[BODY.index[f"left_{part}"], 0] += share * swing
        pose.xy[BODY.index[f"right_{part}"], 0] -= share * swing
    return pose


def noisy(pose: Pose, rng: np.random.Generator, pixels: float) -> Pose:
    return replace(pose, xy=(pose.xy + rng.normal(0, pixels, pose.xy.shape)).astype(np.float32))


def without(pose: Pose, *names: str) -> Pose:
    xy, confidence = pose.xy.copy(), pose.confidence.copy()
    rows = [pose.skeleton.index[name] for name in names]
    xy[rows], confidence[rows] = np.nan, 0
    return replace(pose, xy=xy, confidence=confidence)


def only(pose: Pose, *names: str) -> Pose:
    return without(pose, *(name for name in pose.skeleton.keypoints if name not in names))


def ids(tracker: Tracker, scene: Scene, times: Iterable[float]) -> list[list[int | None]]:
    return [[pose.id for pose in tracker.update(scene(time), time)] for time in times]


def places(scene: Scene, times: np.ndarray, **options: float) -> np.ndarray:
    """(len(times), K, 2): where a tracker shows the only person of the scene."""
    tracker = Tracker(**options)
    return np.stack([tracker.update(scene(time), time)[0].xy for time in times])


weights_of_any_kind = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7).flatmap(
    lambda shape: arrays(
        np.float64, shape, elements=st.one_of(st.floats(0, 1), st.integers(0, 3).map(float))
    )
)


@given(weights_of_any_kind)
@settings(deadline=None)
def test_the_assignment_is_as_good_as_scipys(weights: np.ndarray) -> None:
    pairs = assign(weights)
    best = weights[linear_sum_assignment(weights, maximize=True)].sum()
    assert sum(weights[pair] for pair in pairs) == pytest.approx(best)
    assert all(weights[pair] > 0 for pair in pairs)
    for side in zip(*pairs, strict=True):
        assert len(set(side)) == len(side)


def test_two_trackers_do_not_share_ids() -> None:
    one, other = Tracker(), Tracker()
    scene = [standing(HEIGHT, 100, 100), standing(HEIGHT, 400, 100)]
    assert [pose.id for pose in one.update(scene, 0)] == [1, 2]
    assert [pose.id for pose in other.update(scene, 0)] == [1, 2]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_an_id_is_never_used_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracker, time, last_seen = Tracker(), 0.0, {}
    for _ in range(40):
        time += rng.choice([0.0, 0.05, 0.5, 3.0, -2.0], p=[0.1, 0.6, 0.1, 0.1, 0.1])
        people = [standing(HEIGHT, x, 100) for x in (100, 300, 500) if rng.random() < 0.6]
        if last_seen and time < max(last_seen.values()):
            gone, last_seen = set(last_seen), {}
            fresh = {pose.id for pose in tracker.update(people, time)}
            assert not fresh & gone
        for pose in (shown := tracker.update(people, time)):
            assert pose.id is not None
            assert time - last_seen.get(pose.id, time) <= 2
            last_seen[pose.id] = time
        assert len({pose.id for pose in shown}) == len(people)


@pytest.mark.parametrize("fps", [5, 12.5, 30, 120])
def test_people_that_cross_keep_their_ids(fps: float) -> None:
    def scene(time: float) -> list[Pose]:
        return [walker(time, 100, 0.8), walker(time, 580, -0.7, y=115, height=180, phase=2)]

    assert set(map(tuple, ids(Tracker(), scene, np.arange(0, 3, 1 / fps)))) == {(1, 2)}


def test_somebody_hidden_while_crossing_keeps_the_id() -> None:
    def scene(time: float) -> list[Pose]:
        front, behind = walker(time, 100, 0.8), walker(time, 500, -0.8, y=90, height=180)
        hidden = abs(front["neck"][0] - behind["neck"][0]) < 0.4 * HEIGHT
        return [front] if hidden else [front, behind]

    seen = ids(Tracker(), scene, np.arange(0, 2.5, 1 / 25))
    assert [1] in seen
    assert seen[-1] == [1, 2]
    assert set(map(tuple, seen)) == {(1, 2), (1,)}


@pytest.mark.parametrize("fps", [1, 2, 5, 10, 24, 60, 120])
def test_a_walker_keeps_the_id_at_any_frame_rate(fps: float) -> None:
    def scene(time: float) -> list[Pose]:
        return [walker(time, 50, 0.8), walker(time, 50, 0.5, y=500)]

    assert set(map(tuple, ids(Tracker(), scene, np.arange(0, 4, 1 / fps)))) == {(1, 2)}


def test_a_slow_camera_that_stutters_loses_nobody() -> None:
    times = [0, 1.02, 1.99, 3.04, 4.01]
    assert ids(Tracker(), lambda time: [walker(time, 50, 0.5)], times) == [[1]] * 5


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_missed_people_and_lost_pictures_change_no_id(seed: int) -> None:
    """Each is missed in 1 of 3 pictures, 1 of 3 pictures is lost, 1 of 5 keypoints is missing."""
    rng = np.random.default_rng(seed)
    tracker = Tracker()
    for time in np.arange(0, 4, 1 / 25):
        people = [walker(time, 80, 0.7), standing(150, 400, 450), walker(time, 700, -0.6, y=180)]
        shown = [n for n in range(3) if time == 0 or rng.random() > 1 / 3]
        missing = [rng.choice(BODY.keypoints, 4, replace=False) for _ in shown]
        poses = [without(people[n], *some) for n, some in zip(shown, missing, strict=True)]
        if time == 0 or rng.random() > 1 / 3:
            named = tracker.update([noisy(pose, rng, 1.5) for pose in poses], time)
            assert [pose.id for pose in named] == [n + 1 for n in sorted(shown)]


def test_who_comes_back_within_the_memory_keeps_the_id_and_later_gets_a_new_one() -> None:
    """Walks, stops, is gone for a while, and is back at a step's distance."""
    for gone, back in (0.9, 1), (1.2, 2):
        tracker = Tracker(memory=1.0)
        walk = np.arange(0, 2, 1 / 30)
        ids(tracker, lambda time: [walker(min(time, 1.5), 100, 0.8)], walk)
        ids(tracker, lambda time: [], np.arange(2, 1.96 + gone, 1 / 30))
        there = walker(1.5, 100, 0.8).moved(lambda xy: xy + (0.15 * HEIGHT, 0))
        assert [pose.id for pose in tracker.update([there], walk[-1] + gone)] == [back]


def test_the_memory_is_in_seconds_whatever_the_frame_rate() -> None:
    for fps in 10, 100:
        for gone, back in (0.4, 1), (0.6, 2):
            tracker = Tracker(memory=0.5)
            tracker.update([standing(HEIGHT, 100, 100)], 0)
            ids(tracker, lambda time: [], np.arange(1 / fps, gone - 0.001, 1 / fps))
            assert tracker.update([standing(HEIGHT, 100, 100)], gone)[0].id == back


def test_from_one_picture_straight_to_the_next_nobody_is_forgotten_within_two_seconds() -> None:
    for memory, gone, back in (0.5, 1.95, 1), (0.5, 2.05, 2), (3, 2.95, 1), (3, 3.05, 2):
        tracker = Tracker(memory=memory)
        tracker.update([standing(HEIGHT, 100, 100)], 0)
        assert tracker.update([standing(HEIGHT, 100, 100)], gone)[0].id == back


def test_a_keypoint_is_forgotten_like_a_person() -> None:
    tracker = Tracker(memory=1.0)
    person = standing(HEIGHT, 100, 100)
    ids(tracker, lambda time: [person if time < 0.5 else without(person, "nose")], np.arange(0, 3))
    assert tracker.update([only(person, "nose")], 3)[0].id != 1
    assert tracker.update([only(person, "neck")], 3)[0].id == 1


def test_a_long_lost_person_does_not_take_the_place_of_one_who_is_there() -> None:
    """The second goes to exactly where the first was lost."""
    tracker = Tracker()
    tracker.update([standing(HEIGHT, 100, 100), standing(HEIGHT, 125, 100)], 0)
    ids(tracker, lambda time: [standing(HEIGHT, 125, 100)], np.arange(0.1, 0.85, 0.1))
    assert tracker.update([standing(HEIGHT, 100, 100)], 0.9)[0].id == 2


@pytest.mark.parametrize("scale", [0.1, 1, 10])
def test_who_is_found_a_body_away_is_somebody_else(scale: float) -> None:
    for step, there in (0.1, 1), (0.8, 2):
        tracker = Tracker()
        for time, x in (0, 0), (0.1, 0), (0.2, step):
            pose = standing(HEIGHT * scale, x * HEIGHT * scale, 100)
            named = tracker.update([pose], time)
        assert named[0].id == there


def test_keypoints_on_somebody_else_do_not_move_the_body() -> None:
    tracker = Tracker()
    person, torn = standing(HEIGHT, 100, 100), standing(HEIGHT, 100, 100)
    for name in "left_wrist", "left_elbow", "left_knee", "left_ankle":
        torn.xy[BODY.index[name]] += 900
    ids(tracker, lambda time: [person], [0, 0.1])
    shown = tracker.update([without(torn, "nose")], 0.2)[0]
    assert shown.id == 1
    assert shown["nose"] == pytest.approx(person["nose"], abs=1)
    assert tracker.update([standing(HEIGHT, 230, 100)], 0.3)[0].id == 2


def test_no_poses_are_fine() -> None:
    tracker = Tracker()
    nobody = replace(only(standing(HEIGHT, 0, 0)), score=0.9)
    assert tracker.update([], 0) == []
    assert [pose.id for pose in tracker.update([nobody], 0.1)] == [None]
    assert [pose.id for pose in tracker.update([standing(HEIGHT, 0, 0)], 0.2)] == [1]
    assert tracker.update([], 0.3) == []


@given(st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_poses_is_no_matter(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    one, other = Tracker(), Tracker()
    for time in np.arange(0, 1, 0.1):
        count = int(rng.integers(1, 6))
        people = [standing(HEIGHT, x, 100) for x in rng.uniform(0, 500, count)]
        people = [replace(pose, score=rng.choice([0.05, 0.3, 0.9])) for pose in people]
        order = data.draw(st.permutations(range(count)))
        straight = one.update(people, time)
        mixed = other.update([people[n] for n in order], time)
        for n, pose in zip(order, mixed, strict=True):
            assert pose.id == straight[n].id
            assert np.array_equal(pose.xy, straight[n].xy, equal_nan=True)


@given(st.floats(0.2, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_near_and_far_people_are_treated_alike(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = Tracker(), Tracker()
    for time in np.arange(0, 1, 1 / 15):
        pose = noisy(walker(time, 100, 0.5), rng, 2)
        if rng.random() < 0.8:
            near, far = (
                one.update([pose], time),
                other.update([pose.moved(lambda xy: xy * scale)], time),
            )
            assert near[0].id == far[0].id
            assert far[0].xy == pytest.approx(near[0].xy * scale, rel=1e-3)


def test_an_unsure_pose_continues_a_person_but_does_not_begin_one() -> None:
    tracker = Tracker(confident=0.5)
    sure, unsure = standing(HEIGHT, 100, 100), replace(standing(HEIGHT, 100, 100), score=0.4)
    assert tracker.update([replace(unsure, id=7)], 0)[0].id is None
    assert tracker.update([sure], 0.1)[0].id == 1
    assert tracker.update([unsure], 0.2)[0].id == 1


def test_confident_poses_choose_first() -> None:
    tracker = Tracker(confident=0.5)
    tracker.update([standing(HEIGHT, 100, 100)], 0)
    near = replace(standing(HEIGHT, 100, 100), score=0.4)
    named = tracker.update([near, standing(HEIGHT, 106, 100)], 0.1)
    assert [pose.id for pose in named] == [None, 1]


def test_a_part_torn_off_somebody_is_nobody_new() -> None:
    tracker = Tracker()
    person = standing(HEIGHT, 100, 100)
    leg = ("left_hip", "left_knee", "left_ankle")
    tracker.update([person], 0)
    named = tracker.update([only(person, *leg), without(person, *leg)], 0.1)
    assert [pose.id for pose in named] == [None, 1]
    beyond = standing(HEIGHT, 180, 100)
    named = tracker.update([without(person, *leg), beyond], 0.2)
    assert [pose.id for pose in named] == [1, 2]


@pytest.mark.parametrize("known", [True, False])
def test_a_second_pose_of_somebody_is_nobody_new_until_it_lies_elsewhere(known: bool) -> None:
    tracker = Tracker()
    person = standing(HEIGHT, 100, 100)
    if known:
        tracker.update([person], 0)
    second = replace(person, xy=person.xy + np.float32(0.03 * HEIGHT), score=0.5)
    assert [pose.id for pose in tracker.update([second, person], 0.1)] == [None, 1]
    beside = second.moved(lambda xy: xy + (0.3 * HEIGHT, 0))
    assert [pose.id for pose in tracker.update([beside, person], 0.2)] == [2, 1]


def test_a_pose_is_a_second_one_from_three_tenths_of_a_perfect_likeness() -> None:
    """Object keypoint similarity over the keypoints that both have, with a fifth of the squared
    size as area."""
    person = standing(HEIGHT, 300, 100)
    reach = 0.2 * diagonal(person) ** 2 * np.square(2 * np.array(BODY.sigmas))
    ways = np.linspace(0, HEIGHT, 100_000)
    alike = np.exp(-np.square(ways[:, None]) / (2 * reach))
    for left in alike, alike[:, :8]:
        most = ways[left.mean(axis=1) > 0.3].max()
        for share, number in ((0.99, None), (1.01, 2)):
            moved = person.moved(lambda xy, way=share * most: xy + (way, 0))
            moved = only(replace(moved, score=0.5), *BODY.keypoints[: left.shape[1]])
            assert [pose.id for pose in Tracker().update([person, moved], 0)] == [1, number]


def test_people_are_followed_as_if_each_were_alone() -> None:
    """Who goes, comes and is missed changes nothing of what is shown of the others."""
    rng, all_of_them = np.random.default_rng(0), Tracker()
    alone = [Tracker() for _ in range(4)]
    for time in np.arange(0, 3, 0.1):
        there = [n for n in range(4) if rng.random() < 0.6 and not (n == 1 and 0.5 < time < 2.5)]
        names = [rng.choice(BODY.keypoints, 5, replace=False) for _ in there]
        poses = [
            noisy(without(walker(time, 2000 * n, 0.5, phase=n), *some), rng, 2)
            for n, some in zip(there, names, strict=True)
        ]
        for n, pose, shown in zip(there, poses, all_of_them.update(poses, time), strict=True):
            (its,) = alone[n].update([pose], time)
            assert np.array_equal(shown.xy, its.xy, equal_nan=True)
            assert np.array_equal(shown.confidence, its.confidence)
        for n in set(range(4)) - set(there):
            alone[n].update([], time)


def test_a_time_before_the_last_is_another_video() -> None:
    tracker = Tracker()
    person = [standing(HEIGHT, 100, 100)]
    assert [tracker.update(person, time)[0].id for time in (5, 5.1, 0, 0.1)] == [1, 1, 2, 2]


def test_the_same_time_again_is_the_same_moment() -> None:
    tracker = Tracker()
    for _ in range(3):
        shown = tracker.update([standing(HEIGHT, 100, 100)], 1.0)
        assert [pose.id for pose in shown] == [1]
        assert np.isfinite(shown[0].xy).all()


@pytest.mark.parametrize("time", [math.nan, math.inf])
def test_a_time_that_is_none_is_refused(time: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        Tracker().update([], time)


@pytest.mark.parametrize("skeleton", [BODY, COCO, BODY_25, Skeleton(("tip",), (), (0.1,))])
def test_any_skeleton_can_be_followed(skeleton: Skeleton) -> None:
    names = [name for name in skeleton.keypoints if name in BODY.index]

    def scene(time: float) -> list[Pose]:
        if not names:
            xy = np.array([[100 + 2 * time, 50]], np.float32)
            return [Pose(skeleton, xy, np.ones(1, np.float32), 1)]
        return [standing(HEIGHT, x + 100 * time, 100).as_skeleton(skeleton) for x in (100, 400)]

    count = len(scene(0))
    assert ids(Tracker(), scene, np.arange(0, 1, 0.1)) == [[1, 2][:count]] * 10


def test_another_skeleton_in_the_same_video_is_refused() -> None:
    tracker = Tracker()
    tracker.update([standing(HEIGHT, 100, 100)], 1)
    with pytest.raises(ValueError, match="one skeleton"):
        tracker.update([standing(HEIGHT, 100, 100, COCO)], 1.1)
    assert tracker.update([standing(HEIGHT, 100, 100, COCO)], 0)[0].id == 2


def test_without_smoothing_only_the_id_is_new() -> None:
    tracker, rng = Tracker(smooth=False), np.random.default_rng(0)
    for time in np.arange(0, 1, 0.1):
        pose = noisy(without(walker(time, 100, 1), "nose"), rng, 2)
        before = pose.xy.copy()
        shown = tracker.update([pose], time)[0]
        assert np.array_equal(shown.xy, before, equal_nan=True)
        assert np.array_equal(shown.confidence, pose.confidence)
        assert (shown.id, pose.id) == (1, None)


def test_what_was_given_is_left_alone() -> None:
    tracker, rng = Tracker(), np.random.default_rng(0)
    for time in np.arange(0, 1, 0.1):
        pose = noisy(standing(HEIGHT, 100, 100), rng, 2)
        before = pose.xy.copy()
        tracker.update([pose], time)
        assert np.array_equal(pose.xy, before)


def jitter(xy: np.ndarray) -> float:
    """Mean length of the second difference, in pixels; (frames, K, 2)."""
    return float(np.linalg.norm(np.diff(xy, 2, axis=0), axis=2).mean())


@pytest.mark.parametrize("fps", [10, 30, 60])
@pytest.mark.parametrize("height", [60, 200, 400])
def test_a_still_person_jitters_less_than_half_as_much(fps: int, height: int) -> None:
    rng = np.random.default_rng(0)
    times = np.arange(0, 5, 1 / fps)
    poses = {time: [noisy(standing(height, 300, 100), rng, 0.01 * height)] for time in times}
    raw = np.stack([poses[time][0].xy for time in times])
    assert jitter(places(poses.__getitem__, times)) < 0.5 * jitter(raw)


def lag(fps: float, step: float, *keypoints: int) -> float:
    """Milliseconds that a step of so many heights is late: the mean time until it is shown."""
    rows = list(keypoints or range(len(BODY.keypoints)))

    def scene(time: float) -> list[Pose]:
        pose = standing(HEIGHT, 300, 100)
        pose.xy[rows, 0] += step * HEIGHT * (time >= 1)
        return [pose]

    times = np.arange(0, 3, 1 / fps)
    way = places(scene, times)[:, rows, 0] - scene(0)[0].xy[rows, 0]
    return float(1000 / fps * (1 - way[times >= 1] / (step * HEIGHT)).mean(axis=1).sum())


@pytest.mark.parametrize("fps", [15, 30, 60, 120])
def test_a_step_of_a_hand_is_at_most_3_ms_late_and_a_small_one_of_the_body_60(fps: int) -> None:
    assert lag(fps, 0.2, WRIST) < 3
    assert lag(fps, 0.05) < 60


@pytest.mark.parametrize("fps", [10, 30, 120])
@pytest.mark.parametrize("speed", [0.02, 0.05, 0.1, 0.3, 1, 3])
def test_what_moves_on_is_shown_at_most_a_fiftieth_of_the_size_behind(
    fps: int, speed: float
) -> None:
    """Docstring of `_one_euro`: 1 / (4 pi sqrt(0.3 * 50)) = 0.0205."""

    def scene(time: float) -> list[Pose]:
        return [standing(HEIGHT, 100 + speed * HEIGHT * time, 100)]

    tracker = Tracker()
    for time in np.arange(0, 3, 1 / fps):
        shown = tracker.update(scene(time), time)[0]
    assert shown.id == 1
    behind = (scene(time)[0].xy - shown.xy)[:, 0]
    assert (behind >= 0).all()
    assert behind.max() < 0.021 * HEIGHT


@pytest.mark.parametrize("fps", [10, 30, 120])
def test_a_filter_that_heeds_no_speed_takes_the_same_time_at_any_frame_rate(fps: int) -> None:
    """A low-pass filter of 0.3 Hz has gone half the way in ln 2 / (2 pi 0.3) = 0.37 s."""

    def scene(time: float) -> list[Pose]:
        return [standing(HEIGHT, 100 + 5 * (time >= 1), 100)]

    times = np.sort(np.concatenate([np.arange(0, 1.3, 1 / fps), [1.37]]))
    shown = places(scene, times, cutoff=0.3, response=1e-9)
    assert 0.45 < (shown[-1, :, 0] - shown[0, :, 0]).mean() / 5 < 0.55


def test_a_hand_seen_at_uneven_times_is_shown_where_it_is() -> None:
    """A hand goes up and down, seen evenly or in pairs of pictures that are 5 ms apart."""

    def scene(time: float) -> list[Pose]:
        pose = standing(HEIGHT, 300, 100)
        pose.xy[WRIST, 1] += 30 * math.sin(2 * math.pi * time)
        return [pose]

    even = np.arange(0, 4, 1 / 20)
    pairs = np.sort(np.concatenate([even, even[1:] + 0.005]))
    for times in even, pairs:
        true = np.stack([scene(time)[0].xy for time in times])
        assert np.abs(places(scene, times) - true).max() < 0.025 * HEIGHT


def test_a_keypoint_that_flickers_is_held_on_the_body_with_falling_confidence() -> None:
    tracker = Tracker(hold=0.2)
    shown = []
    for n in range(16):
        pose = walker(n / 30, 100, 0.8)
        shown.append(tracker.update([pose if n < 8 else without(pose, "nose")], n / 30)[0])
    sure = [float(pose.confidence[BODY.index["nose"]]) for pose in shown]
    assert sure[7] == 1
    assert sure[8:13] == sorted(sure[8:13], reverse=True)
    assert 0 < sure[12] < sure[8] < 1
    assert sure[14:] == [0, 0]
    assert np.isnan(shown[14]["nose"]).all()
    true = walker(12 / 30, 100, 0.8)
    assert shown[12]["nose"] == pytest.approx(true["nose"], abs=0.03 * HEIGHT)


def test_a_keypoint_that_was_long_away_begins_afresh() -> None:
    tracker = Tracker(hold=0.2)
    person = standing(HEIGHT, 100, 100)
    times = np.arange(0, 1, 1 / 30)
    for time in times:
        tracker.update([person if time < 0.3 else without(person, "right_wrist")], time)
    raised = person.moved(lambda xy: xy)
    raised.xy[WRIST] -= (0, 10)
    shown = tracker.update([raised], 1.0)[0]
    assert shown["right_wrist"] == pytest.approx(raised["right_wrist"], abs=1e-3)


def test_ids_hold_through_the_whole_pipeline() -> None:
    """Two people cross, drawn as fields, read back by the decoder."""
    tracker, who = Tracker(), {0: set(), 1: set()}
    for time in np.arange(0.7, 1.8, 0.1):
        people = [walker(time, 60, 0.7, 60), walker(time, 400, -0.8, 75, 180, 2)]
        poses = decode(drawn(people, (34, 60)), BODY)
        for pose in tracker.update(poses, time):
            off = [np.nanmean(np.abs(pose.xy - person.xy)) for person in people]
            if pose.id is not None and min(off) < 10:
                who[int(np.argmin(off))].add(pose.id)
    assert who in ({0: {1}, 1: {2}}, {0: {2}, 1: {1}})


# Short references of what the docstrings cite.


def kalman(
    times: np.ndarray, places: np.ndarray, seen: np.ndarray
) -> list[tuple[float, float, float]]:
    """Position and velocity of a body that a Kalman filter follows, and the variance of the
    position, in sizes of the person; noise 0.03 sizes, newcomers' speed 1.5 a second, acceleration
    of spectral density 1, a velocity that falls to 1/e in three seconds."""
    state, p, last, told = np.array([places[0], 0.0]), np.diag([1.0, 2.25]), times[0], []
    for time, place, there in zip(times, places, seen, strict=True):
        dt, last = time - last, time
        f = np.array([[1, 3 * (1 - np.exp(-dt / 3))], [0, np.exp(-dt / 3)]])
        state = f @ state
        p = f @ p @ f.T + [[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]
        if there:
            k = p[:, 0] / (p[0, 0] + 0.03**2)
            state = state + k * (place - state[0])
            p = (np.eye(2) - np.outer(k, [1, 0])) @ p
        told.append((state[0], state[1], p[0, 0]))
    return told


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_body_is_followed_by_a_kalman_filter_in_sizes_of_the_person(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.02, 0.2, 20))
    seen = np.append([True, True], rng.random(18) > 0.3)
    places = 100 + 60 * times + rng.normal(0, 2, 20)
    tracker = Tracker(smooth=False)
    for time, x, there, (place, speed, variance) in zip(
        times, places, seen, kalman(times, places, seen), strict=True
    ):
        tracker.update([standing(HEIGHT, x, 100)] if there else [], time)
        people = tracker._people
        assert people.xy[:, BODY.index["neck"]] == pytest.approx(np.array([[place, 100]]), abs=1e-3)
        assert people.velocity == pytest.approx(np.array([[speed, 0]]), abs=1e-2)
        assert people.spread[:, 0] == pytest.approx([variance], rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.1))
@settings(max_examples=10, deadline=None)
def test_a_body_is_believed_the_less_the_more_its_keypoints_disagree(
    seed: int, apart: float
) -> None:
    """To the noise's variance comes the square of 1.48 times the median distance of the keypoints'
    own steps from the body's, as of a standard deviation that a few far ones do not change."""
    rng = np.random.default_rng(seed)
    tracker, first = Tracker(smooth=False), standing(HEIGHT, 300, 100)
    size = diagonal(first)
    tracker.update([first], 0)
    second = noisy(first, rng, apart * HEIGHT)
    steps = second.xy - first.xy
    middle = np.median(steps, axis=0)
    noise = 0.03**2 + (1.48 * np.median(np.hypot(*(steps - middle).T)) / size) ** 2
    variance = kalman(np.array([0, 0.1]), np.zeros(2), np.array([True, False]))[1][2]
    tracker.update([second], 0.1)
    people = tracker._people
    assert people.spread[0, 0] == pytest.approx(variance * noise / (variance + noise), rel=1e-3)


def diagonal(pose: Pose) -> float:
    """A person's size: four times the median way from the middle of the keypoints to one."""
    return 4 * float(np.median(np.hypot(*(pose.xy - np.median(pose.xy, axis=0)).T)))


@pytest.mark.parametrize("similar", [0.15, 0.5])
@pytest.mark.parametrize("dt", [0.04, 0.5])
def test_a_pose_is_somebodys_if_enough_of_the_expected_likeness_is_left(similar, dt) -> None:
    """OKS of a body whose place is uncertain: the integral of two Gaussians, of COCO's sigmas with
    a fifth of the squared size as area, and of what the Kalman filter says."""
    first = standing(HEIGHT, 300, 100)
    size = diagonal(first)
    told = kalman(np.array([0, dt]), np.zeros(2), np.array([True, False]))
    own = 0.2 * size**2 * np.square(2 * np.array(BODY.sigmas))
    total = own + size**2 * told[1][2]
    ways = np.linspace(0, 3 * size, 100_000)
    left = (own / total * np.exp(-np.square(ways[:, None]) / (2 * total))).sum(axis=1)
    most = ways[left > similar * (own / total).sum()].max()
    for share, number in ((0.99, 1), (1.01, 2)):
        tracker = Tracker(similar=similar)
        tracker.update([first], 0)
        moved = first.moved(lambda xy, way=share * most: xy + (way, 0))
        assert tracker.update([moved], dt)[0].id == number


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_hand_is_smoothed_by_a_filter_that_opens_with_the_square_of_its_speed(seed: int) -> None:
    """One-Euro (Casiez et al. 2012): the slope's own cutoff 2 Hz, the hand's 0.3 Hz and 50 more for
    each squared size a second; both of x and y together."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.01, 0.1, 25))
    hands = np.cumsum(rng.normal(0, 3, (25, 2)), axis=0) + (250, 200)
    tracker = Tracker(cutoff=0.3, response=50.0)

    def part(cutoff: float, dt: float) -> float:
        return 2 * np.pi * cutoff * dt / (2 * np.pi * cutoff * dt + 1)

    shown, slope = hands[0], np.zeros(2)
    for n, (time, hand) in enumerate(zip(times, hands, strict=True)):
        pose = standing(HEIGHT, 300, 100)
        pose.xy[WRIST] = hand
        size = diagonal(pose)
        if n:
            dt = time - times[n - 1]
            slope = slope + part(2, dt) * ((hand - shown) / dt - slope)
            cutoff = 0.3 + 50 * ((slope / size) ** 2).sum()
            shown = shown + part(cutoff, dt) * (hand - shown)
        (found,) = tracker.update([pose], time)
        assert found["right_wrist"] == pytest.approx(shown, abs=0.01)


def test_a_keypoint_that_is_held_is_as_sure_as_the_time_left() -> None:
    tracker = Tracker(hold=0.2)
    person = standing(HEIGHT, 100, 100)
    tracker.update([replace(person, confidence=person.confidence * np.float32(0.8))], 0.0)
    for time, sure in ((0.05, 0.6), (0.1, 0.4), (0.15, 0.2), (0.2, 0), (0.25, 0)):
        (found,) = tracker.update([without(person, "nose")], time)
        assert found.confidence[BODY.index["nose"]] == pytest.approx(sure, abs=1e-6)
        assert bool(np.isfinite(found["nose"]).all()) is (sure > 0)


def test_a_keypoint_that_is_held_stays_where_it_was_shown_on_the_body() -> None:
    """Not where it was found: it would jump by what smoothing was behind."""
    tracker = Tracker(hold=0.3)
    person = standing(HEIGHT, 300, 100)
    for n in range(10):
        pose = person.moved(lambda xy: xy)
        pose.xy[WRIST] += (0, -8 * (n == 9))
        (shown,) = tracker.update([pose], n / 30)
    behind = shown["right_wrist"] - pose["right_wrist"]
    assert 1 < np.hypot(*behind) < 8
    for n in (10, 11, 12):
        (held,) = tracker.update([without(person, "right_wrist")], n / 30)
        assert held["right_wrist"] == pytest.approx(shown["right_wrist"], abs=0.05)


def test_a_keypoint_is_known_for_as_long_as_a_person_is() -> None:
    """Away for less than the memory, it alone tells whose it is."""
    person = standing(HEIGHT, 100, 100)
    for last, number in ((0.9, 1), (1.1, 2)):
        tracker = Tracker(memory=1.0)
        tracker.update([person], 0)
        ids(tracker, lambda time: [without(person, "nose")], np.arange(0.1, last - 0.05, 0.1))
        tracker.update([without(person, "nose")], last - 0.01)
        (found,) = tracker.update([only(person, "nose")], last)
        assert found.id == number


def test_whoever_fits_best_is_whole_and_a_torn_off_part_of_another_is_a_part() -> None:
    """Two people side by side: the part belongs to the second, the first is in one piece."""
    tracker = Tracker()
    one, other = standing(HEIGHT, 100, 100), standing(HEIGHT, 400, 100)
    leg = ("left_hip", "left_knee", "left_ankle")
    tracker.update([one, other], 0)
    named = tracker.update([without(other, *leg), one, only(other, *leg)], 0.1)
    assert [pose.id for pose in named] == [2, 1, None]
    stranger = standing(HEIGHT, 700, 100)
    named = tracker.update([stranger, one, other], 0.2)
    assert [pose.id for pose in named] == [3, 1, 2]
