"""How well people keep their ids, how still the keypoints of a still person are and how late.

    python benchmarks/tracking.py [--seeds 2]        needs: pip install motmetrics

Walkers that cross, stop, leave and come back are drawn as fields, with noise, missed people and
missed pictures, and read back by `decode`. The same poses go to limbwise.Tracker and to the rule
of Lightweight OpenPose, written here anew: greedy matching by the number of similar keypoints, one
picture of memory, a One-Euro filter that takes every video for one of 15 Hz.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import motmetrics
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import drawn, standing

from limbwise.decode import decode
from limbwise.fields import Fields
from limbwise.pose import Pose, oks
from limbwise.skeleton import BODY
from limbwise.track import Tracker

Array = NDArray[np.float64]
Update = Callable[[list[Pose], float], list[Pose]]

ROWS, COLUMNS, STRIDE = 46, 82, 8  # the maps of a picture of 368x656
WIDTH = COLUMNS * STRIDE
NOISE = 0.006  # of a keypoint's place, in heights of the person
HEAT_NOISE, LIMB_NOISE = 0.005, 0.05


class Ancestor:
    """The rule of Lightweight OpenPose (its floats are not rounded to pixels, as there)."""

    def __init__(self) -> None:
        self.last: list[tuple[Pose, dict[int, OneEuro15]]] = []
        self.last_id = 0

    def update(self, poses: list[Pose], time: float) -> list[Pose]:
        free, shown, people = list(self.last), [], []
        named = {}
        for n in sorted(range(len(poses)), key=lambda n: -poses[n].score):
            similar = [_similar(poses[n], other) for other, _ in free]
            best = int(np.argmax(similar)) if similar else -1
            if best >= 0 and similar[best] >= 3:
                other, filters = free.pop(best)
                pose = replace(poses[n], id=other.id)
            else:
                self.last_id += 1
                pose, filters = replace(poses[n], id=self.last_id), {}
            kept = {int(k): filters.get(int(k), OneEuro15()) for k in np.flatnonzero(pose.found)}
            xy = pose.xy.copy()
            for k, keep in kept.items():
                xy[k] = keep(pose.xy[k])
            people.append((pose, kept))
            named[n] = replace(pose, xy=xy)
        self.last = people
        shown = [named[n] for n in range(len(poses))]
        return shown


def _similar(pose: Pose, other: Pose) -> int:
    """How many keypoints have a similarity above 0.5, in the larger of the two boxes."""
    area = max(_box_area(pose), _box_area(other))
    square = np.square(pose.xy - other.xy).sum(axis=1)
    variance = np.square(2 * np.array(pose.skeleton.sigmas))
    return int((np.exp(-square / (2 * area * variance)) > 0.5).sum())


def _box_area(pose: Pose) -> float:
    left, top, right, bottom = pose.box
    return max((right - left) * (bottom - top), 1e-6)


class OneEuro15:
    """Casiez et al. 2012 on one keypoint, x and y alone, in pixels, at 15 Hz whatever the time."""

    def __init__(self) -> None:
        self.before: Array | None = None

    def __call__(self, xy: Array) -> Array:
        if self.before is None:
            self.before, self.value, self.speed = xy, xy, np.zeros(2)
        self.speed = self.speed + _share(1.0) * ((xy - self.before) * 15 - self.speed)
        self.value = self.value + _share(1 + 0.05 * np.abs(self.speed)) * (xy - self.value)
        self.before = xy
        return self.value


def _share(cutoff: Array | float) -> Array | float:
    return 1 / (1 + 15 / (2 * np.pi * cutoff))


@dataclass(frozen=True)
class Walker:
    """The neck goes from place to place: `path` holds rows of (seconds, x, y), `height` pixels."""

    path: Array
    height: float
    phase: float = 0.0

    def at(self, time: float) -> Pose:
        x, y = (np.interp(time, self.path[:, 0], self.path[:, k]) for k in (1, 2))
        later = np.interp(time + 0.05, self.path[:, 0], self.path[:, 1])
        gait = min(abs(later - x) / 0.05 / (0.5 * self.height), 1)
        swing = gait * math.sin(2 * math.pi * 0.9 * time + self.phase) * self.height
        pose = standing(self.height, float(x), float(y))
        for name, share in ("knee", 0.1), ("ankle", 0.2), ("elbow", -0.06), ("wrist", -0.14):
            pose.xy[BODY.index[f"left_{name}"], 0] += share * swing
            pose.xy[BODY.index[f"right_{name}"], 0] -= share * swing
        return pose


Scene = list[Walker]


def crossing(rng: np.random.Generator) -> Scene:
    """Six people walk across at half to one height a second, three each way."""
    people = []
    for n in range(6):
        height = rng.uniform(110, 200)
        y = 40 + 0.35 * height + rng.uniform(0, 60)
        speed = height * rng.uniform(0.5, 1.0)
        x, way = (rng.uniform(0, 250), 1) if n % 2 else (WIDTH - rng.uniform(0, 250), -1)
        people.append(Walker(np.array([[0, x, y], [9, x + way * speed * 9, y]]), height, n))
    return people


def stopping(rng: np.random.Generator) -> Scene:
    """Four people walk, stop at different times, and go on or back."""
    people = []
    for n in range(4):
        height, x, y = rng.uniform(110, 200), rng.uniform(80, WIDTH - 80), rng.uniform(60, 120)
        rows, time = [[0.0, x, y]], 0.0
        while time < 8:
            time, x = time + rng.uniform(0.8, 2), float(np.clip(x + height * rng.uniform(-1.6, 1.6), 40, WIDTH - 40))
            rows.append([time, x, y])
            time += rng.uniform(0.5, 1.5)
            rows.append([time, x, y])
        people.append(Walker(np.array(rows), height, n))
    return people


def leaving(rng: np.random.Generator) -> Scene:
    """Four people at the sides walk out of the picture and back in again and again."""
    people = []
    for n in range(4):
        height = rng.uniform(110, 200)
        y, edge, way = rng.uniform(60, 120), (0 if n % 2 else WIDTH), (1 if n % 2 else -1)
        rows = []
        for time in np.arange(0, 9, 3.0) + rng.uniform(0, 0.5):
            inside, outside = edge + way * rng.uniform(0.4, 0.9) * height, edge - way * 0.15 * height
            rows += [[time, inside, y], [time + 1.2, outside, y], [time + 1.5, outside, y]]
        people.append(Walker(np.array(rows), height, n))
    return people


SCENES = {"cross": crossing, "stop": stopping, "leave": leaving}


def filmed(scene: Scene, fps: float, rng: np.random.Generator) -> Iterator[tuple[float, list[Pose], list[Pose]]]:
    """time, the people who are in the picture, the poses found. 1 picture in 20 is lost; everybody
    is missed about once in 3 seconds for up to 0.6 s, and behind somebody nearer."""
    blind = np.zeros(len(scene))
    for frame in range(round(8 * fps)):
        time = frame / fps
        blind = np.where(rng.random(len(scene)) < 0.33 / fps, time + rng.uniform(0.05, 0.6, len(scene)), blind)
        if rng.random() < 0.05:
            continue
        people = [walker.at(time) for walker in scene]
        inside = [n for n, pose in enumerate(people) if _inside(pose)]
        seen = [n for n in inside if blind[n] <= time and not _hidden(n, people)]
        found = [_noisy(people[n], scene[n].height, rng) for n in seen]
        yield time, [replace(people[n], id=n) for n in inside], _read(found, rng)


def _inside(pose: Pose) -> bool:
    return 0 < pose["neck"][0] < WIDTH


def _hidden(n: int, people: list[Pose]) -> bool:
    return any(
        other["right_ankle"][1] > people[n]["right_ankle"][1]
        and abs(other["neck"][0] - people[n]["neck"][0]) < 0.08 * np.ptp(other.xy[:, 1])
        for other in people
    )


def _noisy(pose: Pose, height: float, rng: np.random.Generator) -> Pose:
    """Keypoints are a little off, 1 in 20 is missed, as is what lies beyond the picture."""
    xy = pose.xy + rng.normal(0, NOISE * height, pose.xy.shape)
    out = (xy < 0).any(axis=1) | (xy > (WIDTH, ROWS * STRIDE)).any(axis=1)
    xy[out | (rng.random(len(xy)) < 0.05)] = np.nan
    return replace(pose, xy=xy.astype(np.float32))


def _read(people: list[Pose], rng: np.random.Generator) -> list[Pose]:
    if not people:
        return []
    fields = drawn(people, (ROWS, COLUMNS), STRIDE)
    noises = (fields.heatmaps, HEAT_NOISE), (fields.limbs, LIMB_NOISE)
    noisy = [m + rng.normal(0, s, m.shape) for m, s in noises]
    return decode(Fields(*(m.astype(np.float32) for m in noisy), STRIDE), BODY)


def film(name, fps, seed):
    rng = np.random.default_rng(seed)
    return list(filmed(SCENES[name](rng), fps, rng))

def judge(film, update: Update):
    acc = motmetrics.MOTAccumulator(auto_id=True)
    for time, people, poses in film:
        shown = [p for p in update(poses, time) if p.id is not None]
        d = np.array([1 - oks(person, shown, _box_area(person) * 0.5) for person in people]).reshape(len(people), len(shown))
        acc.update([p.id for p in people], [p.id for p in shown], np.where(d > 0.5, np.nan, d))
    return acc
