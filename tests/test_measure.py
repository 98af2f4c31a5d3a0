"""What is measured of drawn people is what was drawn; the recipes of docs/recipes.md run."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import limbwise
from conftest import standing
from limbwise import measure
from limbwise.pose import Pose
from limbwise.poses import Poses
from limbwise.skeleton import BODY, COCO

RECIPES = Path(__file__).parents[1] / "docs" / "recipes.md"


def at(pose: Pose, **places: tuple[float, float]) -> Pose:
    """The pose with some keypoints elsewhere."""
    xy = pose.xy.copy()
    for name, place in places.items():
        xy[pose.skeleton.index[name]] = place
    return replace(pose, xy=xy)


def bent(degrees: float, turned: float = 0.0) -> Pose:
    """Somebody whose left knee is bent to an angle, in a picture turned by another."""
    one, other = math.radians(turned), math.radians(turned + degrees)
    return at(
        standing(100, 50, 20),
        left_knee=(200, 200),
        left_hip=(200 + 40 * math.cos(one), 200 + 40 * math.sin(one)),
        left_ankle=(200 + 30 * math.cos(other), 200 + 30 * math.sin(other)),
    )


def walker(x: float, y: float, id: int | None = 1) -> Pose:  # noqa: A002
    """Somebody who stands with both feet at (x, y)."""
    return replace(at(standing(80, x, y - 64), left_ankle=(x, y), right_ankle=(x, y)), id=id)


def leaning(degrees: float) -> Pose:
    """A standing person turned about the middle of the hips."""
    pose = standing(100, 150, 60)
    middle = (pose["left_hip"] + pose["right_hip"]) / 2
    turn = math.radians(degrees)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return pose.moved(lambda xy: (xy - middle) @ matrix.T + middle)


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 179), st.floats(0, 360))
def test_an_angle_is_the_one_drawn_however_the_picture_is_turned(degrees, turned) -> None:
    assert measure.angle(bent(degrees, turned), "left_knee") == pytest.approx(degrees, abs=0.05)
    assert measure.angle(bent(-degrees, turned), "left_knee") == pytest.approx(degrees, abs=0.05)


def test_an_angle_needs_its_three_keypoints() -> None:
    for names in measure.JOINTS.values():
        assert set(names) <= set(BODY.keypoints) & set(COCO.keypoints)
    assert math.isnan(measure.angle(at(bent(90), left_hip=(np.nan, np.nan)), "left_knee"))
    assert math.isnan(measure.angle(at(bent(90), left_hip=(200, 200)), "left_knee"))
    named = ("left_hip", "left_knee", "left_ankle")
    assert measure.angle(bent(70), named) == measure.angle(bent(70), "left_knee")
    with pytest.raises(KeyError):
        measure.angle(bent(70), "tail")


def test_speed_is_the_slope_over_what_is_known() -> None:
    speed = measure.Speed()
    assert math.isnan(speed(10, 0))
    assert speed(20, 0.5) == 20
    assert math.isnan(speed(math.nan, 0.75))
    assert speed(0, 1.5) == -20
    assert math.isnan(speed(5, 1.5))


def test_a_line_counts_each_way_who_crosses_between_its_ends() -> None:
    for flip in (1, -1):  # the line from left to right, and from right to left
        ends = [(100.0, 100.0), (200.0, 100.0)][::flip]
        counter = measure.LineCounter(*ends)
        for y in (80, 90, 110, 120):
            counter.update([walker(150, y, 1), walker(50, y, 2), walker(150, 200 - y, 3)])
            counter.update([])
        counter.update([walker(150, 90, None)])
        counter.update([walker(150, 110, None)])
        assert (counter.to_right, counter.to_left) == (1, 1)
        for _ in range(2):
            for y in (100, 90, 100, 110):  # to and fro; on the line nobody has crossed
                counter.update([walker(120, y, 7)])
        assert counter.to_right + counter.to_left == 2 + 3
        ahead = measure.LineCounter((0, 100), (0, 0))  # upwards: the right is at greater x
        for x in (-5, 5):
            ahead.update([walker(x, 50)])
        assert (ahead.to_right, ahead.to_left) == (1, 0)


def test_presence_adds_seconds_where_people_stand() -> None:
    presence = measure.Presence((320, 240), cell=16)
    for _ in range(4):
        presence.add([walker(40, 100), walker(40, 9999)], 0.5)
    presence.add([walker(300, 230)], 0.5)
    assert presence.seconds.sum() == 2.5
    assert presence.seconds[6, 2] == 2.0
    picture = np.full((240, 320, 3), 90, np.uint8)
    drawn = presence.draw(picture)
    assert drawn.shape == picture.shape
    brightness = np.abs(drawn.astype(int) - 90).sum(axis=2)
    y, x = np.unravel_index(brightness.argmax(), brightness.shape)
    assert abs(x - 40) <= 16
    assert abs(y - 104) <= 16
    assert (picture == 90).all()
    np.testing.assert_array_equal(measure.Presence((320, 240)).draw(picture), picture)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6), st.randoms())
def test_repetitions_are_counted_once_each_whatever_the_noise(times, random) -> None:
    squats = measure.Repetitions(low=100, high=150)
    for _ in range(times):
        for goal in (170, 120, 80, 98, 120, 80, 170):  # 98: noise round the lower end
            for _ in range(3):
                squats.update(goal + random.uniform(-15, 15))
                squats.update(math.nan)
    assert squats.count == times
    for _ in range(20):
        assert squats.update(random.uniform(101, 149)) == times


@pytest.mark.parametrize("degrees", [0, 30, -30, 90, -90, 150])
def test_tilt_is_the_angle_that_a_person_was_turned_by(degrees) -> None:
    assert measure.tilt(leaning(degrees)) == pytest.approx(abs(degrees), abs=0.01)
    nobody = at(leaning(0), left_hip=(np.nan, 0), right_hip=(np.nan, 0))
    assert math.isnan(measure.tilt(nobody))


def falls(*leans: float, step: float = 0.25) -> list[bool]:
    rule = measure.Falls()
    return [rule.update(leaning(lean), n * step) for n, lean in enumerate(leans)]


def test_a_fall_is_told_once_after_a_second_of_lying() -> None:
    told = falls(0, 0, 50, 85, 88, 90, 90, 90, 90, 90)
    assert [n for n, each in enumerate(told) if each] == [7]
    again = falls(0, 80, 80, 80, 80, 80, 0, 0, 80, 80, 80, 80, 80, 80)
    assert sum(again) == 2


def test_bending_lying_down_slowly_and_lying_from_the_start_are_no_falls() -> None:
    assert not any(falls(0, 0, 80, 80, 80, 0, 0, 0, 0))
    assert not any(falls(0, *[50] * 8, 80, 90, 90, 90, 90, 90, 90))
    assert not any(falls(*[90] * 12))


# The recipes.


class FiveFrames:
    """Stands for `limbwise`: a film in which one person walks down and squats."""

    def __getattr__(self, name):
        return getattr(limbwise, name)

    def run(self, *_args, **_how):
        image = np.full((240, 320, 3), 60, np.uint8)
        for n in range(40):
            pose = replace(walker(150, 80 + 3 * n), id=1)
            pose = at(pose, left_knee=(150, 60 + 3 * n), left_hip=(150 + 30 * (n % 2), 60 + 3 * n))
            yield Poses([pose], size=(320, 240), source="a.mp4", frame=n, time=n / 10, given=image)


RECIPE = re.findall(r"## (.*?)\n.*?```python\n(.*?)```", RECIPES.read_text(), re.DOTALL)


@pytest.mark.parametrize(("title", "code"), RECIPE, ids=[title for title, _ in RECIPE])
def test_every_recipe_runs(title, code, tmp_path, monkeypatch, capsys) -> None:
    if "supervision" in code:
        pytest.importorskip("supervision")
    monkeypatch.chdir(tmp_path)
    code = code.replace("import limbwise\n", "")
    exec(compile(code, title, "exec"), {"limbwise": FiveFrames()})
    assert capsys.readouterr().out or list(tmp_path.iterdir())


def test_there_is_a_recipe_for_everything_that_is_measured() -> None:
    text = RECIPES.read_text()
    for name in ("angle", "Speed", "LineCounter", "Presence", "Repetitions", "Falls"):
        assert f"measure.{name}(" in text
    assert len(RECIPE) >= 6
