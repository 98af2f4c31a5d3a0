"""How well people keep their ids, how still a still person is, and how late a moving one.

    pip install '.[benchmarks]'
    python benchmarks/tracking.py [--seeds N] [--first SEED]
    python benchmarks/tracking.py --video VIDEO [--model MODEL] [--truth LABELS]

Walkers that cross, stop, leave and come back are drawn as fields, with noise, missed people and
lost pictures, and read back by `decode`. The same poses go to limbwise.Tracker, to ByteTrack and
OC-SORT (rivals.py) and to the rule of Lightweight OpenPose, written anew below. What is tried while
the tracker is changed is tried on other seeds than those that are reported, from 0. With a video
the ids are only counted: nobody knows there who is who, but an id that lasts less than half a
second is hardly a person. With labels of its people (labelled_film.py) the same is told as of the
walkers, of all its frames, of every second and of every third; a person is found where boxes
overlap by half.
"""

import argparse
import math
import sys
import time as clock
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import motmetrics
import numpy as np
from labelled_film import on_labels
from numpy.typing import NDArray
from rivals import byte_track, oc_sort
from trackers.eval import aggregate_hota_metrics, compute_hota_metrics

import limbwise
from limbwise.bench import machine
from limbwise.decode import decode
from limbwise.network_output import NetworkOutput
from limbwise.pose import Pose, oks
from limbwise.skeleton import BODY
from limbwise.track import Tracker

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import drawn, standing

Floats = NDArray[np.floating]
Update = Callable[[list[Pose], float], list[Pose]]
Rows = list[int] | slice  # of keypoints
Film = list[tuple[float, list[Pose], list[Pose]]]  # time, the people in the picture, those found
Picture = tuple[NDArray[np.int_], NDArray[np.int_], Floats]  # ids of both, and how alike they are
Judge = Callable[[list[Pose]], Picture]  # of those who are shown

ROWS, COLUMNS, STRIDE = 46, 82, 8  # the maps of a picture of 368x656 pixels
WIDTH, HEIGHT = COLUMNS * STRIDE, ROWS * STRIDE
SECONDS = 6.0
NOISE = 0.006  # of a keypoint's place, in heights of the person
HEATMAP_NOISE, LIMB_NOISE = 0.005, 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="films of each kind and frame rate")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--video")
    parser.add_argument("--model", default="accurate")
    parser.add_argument("--truth", type=Path, help="MOTChallenge's labels of the video")
    flags = parser.parse_args()
    print(machine())
    if flags.video:
        follow_video(flags.video, flags.model, flags.truth)
        return
    seeds = range(flags.first, flags.first + flags.seeds)
    print(f"\n{'film':10}{'fps':>4}  {'rule':11}{'switches':>9}{'fragments':>10}{'IDF1':>7}"
          f"{'HOTA':>7}{'ms':>7}")  # fmt: skip
    for name, scene in SCENES.items():
        for fps in 30, 10:
            films = [filmed(scene, fps, seed) for seed in seeds]
            for number, (title, rule) in enumerate(RULES.items()):
                film = f"{name:10}{fps:4}" if number == 0 else f"{'':14}"
                print(f"{film}  {title:11}{judged(films, rule)}", flush=True)
    print("\nByteTrack and OC-SORT leave keypoints as they are found")
    print(f"{'':48}{'found':>10}{'original':>10}{'limbwise':>10}")
    for fps in 30, 15:
        for height in 100, 250:
            stillness(fps, height)


# Who is who


def judged(films: list[Film], rule: Callable[[], Update]) -> str:
    """Switches and fragments summed, IDF1 (motmetrics) and HOTA (TrackEval's, as `trackers` has it)
    of all films, and the least milliseconds that a picture took on average."""
    return _figures([_tracked(film, rule()) for film in films])


def _figures(runs: list[tuple[list[Picture], float]]) -> str:
    names = ["num_switches", "num_fragmentations", "idf1"]
    results = motmetrics.metrics.create().compute_many(
        [_accumulated(pictures) for pictures, _ in runs], metrics=names, generate_overall=True
    )
    switches, fragments, idf1 = results.loc["OVERALL", names]
    hota = aggregate_hota_metrics([_hota(pictures) for pictures, _ in runs])["HOTA"]
    taken = min(cost for _, cost in runs)
    return f"{int(switches):9}{int(fragments):10}{idf1:7.3f}{hota:7.3f}{taken:7.2f}"


def _tracked(film: Film, update: Update) -> tuple[list[Picture], float]:
    """Who is there and who is shown in each picture, and milliseconds of a picture."""
    pictures, taken = [], 0.0
    for time, people, poses in film:
        begin = clock.process_time()
        tracked = update(poses, time)
        taken += clock.process_time() - begin
        shown = [pose for pose in tracked if pose.id is not None]
        alike = np.array([oks(person, shown, _area(person) / 2) for person in people])
        ids = [np.array([pose.id for pose in side], int) for side in (people, shown)]
        pictures.append((ids[0], ids[1], alike.reshape(len(people), len(shown))))
    return pictures, 1000 * taken / len(film)


def _accumulated(pictures: list[Picture]) -> motmetrics.MOTAccumulator:
    """Found is who is shown with an OKS above 0.5."""
    events = motmetrics.MOTAccumulator(auto_id=True)
    for there, shown, alike in pictures:
        events.update(there, shown, np.where(alike > 0.5, 1 - alike, np.nan))
    return events


def _hota(pictures: list[Picture]) -> dict[str, Any]:
    """With OKS for the similarity. Ids begin at 0 in each film, as it wants them."""
    known = [sorted({int(n) for picture in pictures for n in picture[side]}) for side in (0, 1)]
    there, shown = (
        [np.array([known[side].index(n) for n in picture[side]], int) for picture in pictures]
        for side in (0, 1)
    )
    return compute_hota_metrics(there, shown, [alike for _, _, alike in pictures])


def follow_video(video: str, model: str, truth: Path | None) -> None:
    """Prints how well each rule follows the people of a video, or only how many ids it gives."""
    estimate = limbwise.load(model)
    found = [(frame.time, estimate(frame.image)) for frame in limbwise.frames(video)]
    if truth is None:
        count_ids(found)
        return
    people = on_labels(truth, len(found))
    print(
        f"\n{'frames':16}{'rule':11}{'switches':>9}{'fragments':>10}{'IDF1':>7}{'HOTA':>7}{'ms':>7}"
    )
    for step, which in (1, "all"), (2, "every second"), (3, "every third"):
        for title, rule in RULES.items():
            run = _on_boxes(found[::step], people[::step], rule())
            print(f"{which:16}{title:11}{_figures([run])}", flush=True)


def _on_boxes(
    found: list[tuple[float, list[Pose]]], people: list[Judge], update: Update
) -> tuple[list[Picture], float]:
    pictures, taken = [], 0.0
    for (time, poses), judge in zip(found, people, strict=True):
        begin = clock.process_time()
        tracked = update(poses, time)
        taken += clock.process_time() - begin
        pictures.append(judge([pose for pose in tracked if pose.id is not None]))
    return pictures, 1000 * taken / len(found)


def count_ids(found: list[tuple[float, list[Pose]]]) -> None:
    """Prints how many ids each rule gives to the people of a video, and what a picture costs."""
    for name, rule in RULES.items():
        update, seconds, begin = rule(), Counter[int](), clock.perf_counter()
        gap = found[-1][0] / (len(found) - 1)
        for time, poses in found:
            seconds.update({pose.id: gap for pose in update(poses, time) if pose.id is not None})
        cost = 1000 * (clock.perf_counter() - begin) / len(found)
        brief = sum(length < 0.5 for length in seconds.values())
        print(f"{name:10} {len(seconds)} ids, {brief} of under half a second, {cost:.1f} ms")


# How still and how late


def stillness(fps: float, height: float) -> None:
    """Prints jitter (mean second difference of a still person's keypoints, in pixels) and lag (by
    how many ms a step, in heights, or a walk is shown later than it is found)."""
    title = f"{fps} fps, {height} pixels tall: "
    still = _seen(lambda time: standing(height, 300, 80), fps)
    row = [f"{_jitter(_shown(still, update)):10.2f}" for update in _rules()]
    print(f"{title + 'jitter, px':48}{''.join(row)}")
    hand = [BODY.index["right_wrist"], BODY.index["right_elbow"]]
    for name, rows, share in (
        ("hand", hand, 0.1),
        ("body", slice(None), 0.1),
        ("body", slice(None), 0.03),
    ):

        def stepping(time: float, rows: Rows = rows, share: float = share) -> Pose:
            pose = standing(height, 300, 80)
            pose.xy[rows, 0] += share * height * (time >= 2)
            return pose

        late = _late(_seen(stepping, fps), fps, share * height, rows)
        print(f"{title + f'lag, {name} steps {share:.0%}, ms':48}{late}")
    speed = 0.5 * height
    walk = _seen(lambda time: standing(height, 60 + speed * time, 80), fps)
    found, *rules = (_shown(walk, update)[walk[0] >= 1] for update in _rules())
    behind = [1000 * float(np.nanmean((found - shown)[..., 0])) / speed for shown in rules]
    print(f"{title + 'lag, a walk, ms':48}{0:10}{behind[0]:10.0f}{behind[1]:10.0f}")


def _seen(scene: Callable[[float], Pose], fps: float) -> tuple[Floats, list[Pose]]:
    """times and the pose at each, noisy, drawn and decoded."""
    rng = np.random.default_rng(0)
    times = np.arange(0, 3, 1 / fps)
    return times, [_read([_noisy(scene(time), rng, 0)], rng)[0] for time in times]


def _rules() -> list[Update]:
    smooth = ("original", "limbwise")
    return [lambda poses, time: poses, *(RULES[name]() for name in smooth)]


def _shown(seen: tuple[Floats, list[Pose]], update: Update) -> Floats:
    """(frames, K, 2)"""
    return np.stack([update([pose], time)[0].xy for time, pose in zip(*seen, strict=True)])


def _jitter(xy: Floats) -> float:
    return float(np.nanmean(np.linalg.norm(np.diff(xy[len(xy) // 4 :], 2, axis=0), axis=2)))


def _late(seen: tuple[Floats, list[Pose]], fps: float, step: float, rows: list[int] | slice) -> str:
    """The mean time until the step is shown, by the area between what is found and shown."""
    found, *rules = (_shown(seen, update)[:, rows, 0] for update in _rules())
    after = (seen[0] >= 2) & (seen[0] < 2.5)
    gone = [float(np.nanmean(found - shown, axis=1)[after].sum()) for shown in rules]
    return f"{0:10}" + "".join(f"{1000 / fps * way / step:10.0f}" for way in gone)


# People who walk


@dataclass(frozen=True)
class Walker:
    """`path` (rows of seconds, x, y) is where the neck is; `height` in pixels."""

    path: Floats
    height: float
    phase: float

    def at(self, time: float) -> Pose:
        """Legs and arms swing with the speed."""
        x, y = (float(np.interp(time, self.path[:, 0], self.path[:, k])) for k in (1, 2))
        speed = (np.interp(time + 0.05, self.path[:, 0], self.path[:, 1]) - x) / 0.05
        gait = min(abs(speed) / (0.5 * self.height), 1)
        swing = gait * math.sin(2 * math.pi * 0.9 * time + self.phase) * self.height
        pose = standing(self.height, x, y)
        for name, share in ("knee", 0.1), ("ankle", 0.2), ("elbow", -0.06), ("wrist", -0.14):
            pose.xy[BODY.index[f"left_{name}"], 0] += share * swing
            pose.xy[BODY.index[f"right_{name}"], 0] -= share * swing
        return pose


def crossing(rng: np.random.Generator) -> list[Walker]:
    """Six people, three each way, at half to one height a second."""
    people = []
    for n in range(6):
        height, start = rng.uniform(110, 200), rng.uniform(0, 250)
        way = height * rng.uniform(0.5, 1.0) * SECONDS
        first, last = (start, start + way) if n % 2 else (WIDTH - start, WIDTH - start - way)
        y = 40 + 0.35 * height + rng.uniform(0, 60)
        people.append(Walker(np.array([[0, first, y], [SECONDS, last, y]]), height, n))
    return people


def stopping(rng: np.random.Generator) -> list[Walker]:
    """Four people who walk, stop, and go on or turn back."""
    people = []
    for n in range(4):
        height, x, y = rng.uniform(110, 200), rng.uniform(80, WIDTH - 80), rng.uniform(60, 120)
        path, time = [(0.0, x, y)], 0.0
        while time < SECONDS:
            time += rng.uniform(0.8, 2)
            x = float(np.clip(x + height * rng.uniform(-1.6, 1.6), 40, WIDTH - 40))
            path.append((time, x, y))
            time += rng.uniform(0.5, 1.5)
            path.append((time, x, y))
        people.append(Walker(np.array(path), height, n))
    return people


def leaving(rng: np.random.Generator) -> list[Walker]:
    """One person on each side walks out of the picture and comes back, again and again."""
    people = []
    for n, (edge, way) in enumerate([(0, 1), (WIDTH, -1)]):
        height, y = rng.uniform(110, 200), rng.uniform(60, 120)
        path = []
        for time in np.arange(0, SECONDS, 3) + rng.uniform(0, 0.5):
            inside, outside = (
                edge + way * rng.uniform(0.4, 0.9) * height,
                edge - way * 0.15 * height,
            )
            path += [(time, inside, y), (time + 1.2, outside, y), (time + 1.5, outside, y)]
        people.append(Walker(np.array(path), height, n))
    return people


SCENES = {"cross": crossing, "stop": stopping, "leave": leaving}


def filmed(scene: Callable[..., list[Walker]], fps: float, seed: int) -> Film:
    """1 picture in 20 is lost; everybody is missed about once in 3 seconds for up to 0.6 s, and
    when behind somebody who is nearer."""
    rng = np.random.default_rng(seed)
    return list(_pictures(scene(rng), fps, rng))


def _pictures(
    walkers: list[Walker], fps: float, rng: np.random.Generator
) -> Iterator[tuple[float, list[Pose], list[Pose]]]:
    missed_until = np.zeros(len(walkers))
    for time in np.arange(0, SECONDS, 1 / fps):
        begins = rng.random(len(walkers)) < 0.33 / fps
        length = rng.uniform(0.05, 0.6, len(walkers))
        missed_until = np.where(begins, time + length, missed_until)
        if rng.random() < 0.05:
            continue
        people = [walker.at(time) for walker in walkers]
        inside = [n for n, pose in enumerate(people) if 0 < pose["neck"][0] < WIDTH]
        seen = [n for n in inside if missed_until[n] <= time and not _hidden(n, people)]
        found = _read([_noisy(people[n], rng) for n in seen], rng)
        yield time, [replace(people[n], id=n) for n in inside], found


def _hidden(n: int, people: list[Pose]) -> bool:
    """The nearer have their feet lower in the picture."""
    return any(
        other["right_ankle"][1] > people[n]["right_ankle"][1]
        and abs(other["neck"][0] - people[n]["neck"][0]) < 0.08 * np.ptp(other.xy[:, 1])
        for other in people
    )


def _noisy(pose: Pose, rng: np.random.Generator, missing: float = 0.05) -> Pose:
    """Keypoints a little off, a share of them missing, and all that lie beyond the picture."""
    xy = pose.xy + rng.normal(0, NOISE * float(np.ptp(pose.xy[:, 1])), pose.xy.shape)
    out = ((xy < 0) | (xy > (WIDTH, HEIGHT))).any(axis=1)
    xy[out | (rng.random(len(xy)) < missing)] = np.nan
    return replace(pose, xy=xy.astype(np.float32))


def _read(people: list[Pose], rng: np.random.Generator) -> list[Pose]:
    """Drawn as fields with noise, and decoded."""
    if not people:
        return []
    clean = drawn(people, (ROWS, COLUMNS), STRIDE)
    heatmaps = clean.heatmaps + rng.normal(0, HEATMAP_NOISE, clean.heatmaps.shape)
    limbs = clean.limbs + rng.normal(0, LIMB_NOISE, clean.limbs.shape)
    return decode(
        NetworkOutput(heatmaps.astype(np.float32), limbs.astype(np.float32), STRIDE), BODY
    )


# The original


class Ancestor:
    """The rule of Lightweight OpenPose's demo: the best pose first, each takes the id of the pose
    of the last picture with which it has the most similar keypoints, three at least. Poses of less
    than three keypoints its decoder drops. Kinder than the original: nothing is rounded to pixels.
    """

    def __init__(self) -> None:
        self.last: list[tuple[Pose, dict[int, OneEuro15]]] = []
        self.last_id = 0

    def update(self, poses: list[Pose], time: float) -> list[Pose]:
        free, self.last = self.last, []
        for pose in sorted(poses, key=lambda pose: -pose.score):
            if pose.found.sum() < 3:
                continue
            similar = [_similar(pose, other) for other, _ in free]
            best = max(similar, default=0)
            if best >= 3:
                before, old = free.pop(similar.index(best))
                number = before.id
            else:
                self.last_id, old = self.last_id + 1, {}
                number = self.last_id
            filters = {k: old.get(k) or OneEuro15() for k in np.flatnonzero(pose.found).tolist()}
            xy = pose.xy.copy()
            for k, smooth in filters.items():
                xy[k] = smooth(xy[k])
            self.last.append((replace(pose, xy=xy, id=number), filters))
        return [pose for pose, _ in self.last]


def _similar(pose: Pose, other: Pose) -> int:
    """How many keypoints have a similarity above 0.5, for the larger of the two boxes."""
    area = max(_area(pose), _area(other))
    square = np.square(pose.xy - other.xy).sum(axis=1)
    variance = np.square(2 * np.array(pose.skeleton.sigmas))
    return int((np.exp(-square / (2 * area * variance)) > 0.5).sum())


def _area(pose: Pose) -> float:
    left, top, right, bottom = pose.box
    return max((right - left) * (bottom - top), 1e-6)


class OneEuro15:
    """Casiez et al. 2012 on x and y alone, in pixels, as if every film had 15 pictures a second."""

    def __init__(self) -> None:
        self.value: Floats | None = None

    def __call__(self, xy: Floats) -> Floats:
        if self.value is None:
            self.before, self.value, self.speed = xy, xy, np.zeros(2)
        self.speed = self.speed + _share(1.0) * ((xy - self.before) * 15 - self.speed)
        self.value = self.value + _share(1 + 0.05 * np.abs(self.speed)) * (xy - self.value)
        self.before = xy.copy()
        return self.value


def _share(cutoff: Floats | float) -> Floats | float:
    return 1 / (1 + 15 / (2 * np.pi * cutoff))


RULES: dict[str, Callable[[], Update]] = {
    "original": lambda: Ancestor().update,
    "ByteTrack": byte_track,
    "OC-SORT": oc_sort,
    "limbwise": lambda: Tracker().update,
}

if __name__ == "__main__":
    main()
