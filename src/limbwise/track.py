"""Who is who from picture to picture, and steadier keypoints: poses and times in, poses out.

    poses -> _match, with the tracks moved on to now -> _Track.correct -> _Track.steady -> poses

A track is one person: keypoints that ride on a body, which keeps its velocity until it is seen to
change it (a Kalman filter in sizes of the person, so that near and far are alike), and a One-Euro
filter on each keypoint. Everything runs on the true times of the pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .pose import SIZE_AREA, Pose
from .skeleton import Skeleton

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

# Lengths are in sizes of the person, see `_size`.
_NOISE = 0.03  # standard deviation of where a body is found
_SPEED = 2.0  # standard deviation of a newcomer's velocity, per second: a walk is 0.8, a run 3
_UNREST = 1.0  # spectral density of the acceleration: a walk begins and ends within half a second
_TIRES = 1.0  # seconds in which an unseen velocity falls to 1/e: nobody flies on for ever
_SLOPE_CUTOFF = (
    2.0  # Hz, how One-Euro smooths its own estimate of the speed; 1 turns round too late
)
_INSTANT = 1e-3  # seconds; no filter takes pictures to be closer than this


class Tracker:
    """`update(poses, time)` gives the same poses, each with the `id` of its person.

    All state is in this object: each tracker counts its people from 1, never using an id again.

    Args:
        smooth: whether xy is smoothed, and a keypoint that flickers held.
        memory: seconds for which a person who is not found is remembered; from one picture straight
            to the next twice as long, so that a camera that gives one in a second loses nobody.
        confident: the score from which a pose can begin a person; one below can only continue one.
        similar: how near a pose must be to where its person is expected, 0 to 1 for a perfect hit.
        hold: seconds for which a keypoint that flickers is held, with falling confidence.
        cutoff: Hz, rules a keypoint at rest: lower is stiller.
        response: Hz per squared size per second, gives way to motion: higher lags less.
    """

    def __init__(
        self,
        *,
        smooth: bool = True,
        memory: float = 1.0,
        confident: float = 0.2,
        similar: float = 0.15,
        hold: float = 0.2,
        cutoff: float = 0.3,
        response: float = 50.0,
    ) -> None:
        self.smooth, self.memory, self.confident, self.similar = smooth, memory, confident, similar
        self.hold, self.cutoff, self.response = hold, cutoff, response
        self._tracks: list[_Track] = []
        self._time = -math.inf
        self._last_id = 0

    def update(self, poses: Sequence[Pose], time: float) -> list[Pose]:
        """The poses found at `time` (seconds), in their order; id None where nobody is known and
        the pose is too unsure, or only a stray part of somebody, to begin a person.

        A time before the last one is another video: everybody is forgotten, the ids count on. The
        same time again is the same moment, seen twice. ValueError if the time is not a finite
        number, or a pose is of another skeleton than the people who are remembered.
        """
        if not math.isfinite(time):
            raise ValueError(f"the time of a picture is a number of seconds, not {time}")
        if time < self._time:
            self._tracks = []
        self._tracks = [track for track in self._tracks if not self._forgotten(track, time)]
        self._check(poses)
        self._time = time
        for track in self._tracks:
            track.predict(time)
        who = self._match(poses)
        return [self._named(pose, who.get(n)) for n, pose in enumerate(poses)]

    def _forgotten(self, track: "_Track", time: float) -> bool:
        just_seen = track.last_seen == self._time
        return time - track.last_seen > self.memory * (2 if just_seen else 1)

    def _check(self, poses: Sequence[Pose]) -> None:
        skeletons = [track.skeleton for track in self._tracks] + [pose.skeleton for pose in poses]
        if any(skeleton != skeletons[0] for skeleton in skeletons):
            raise ValueError("a tracker follows people of one skeleton: make one for each model")

    def _match(self, poses: Sequence[Pose]) -> dict[int, "_Track"]:
        """The track of a pose, by the pose's position: confident poses choose first, the rest
        among the tracks that are left; a confident one that got none begins a track. All in an
        order of their own, so that the order in which the poses come is no matter."""
        order = [n for n, pose in enumerate(poses) if pose.found.any()]
        order.sort(key=lambda n: (-poses[n].score, poses[n].box, poses[n].xy.tobytes()))
        weights = _likeness(self._tracks, [poses[n] for n in order], self.similar)
        whole = ~_parts(weights, [poses[n].found for n in order])
        sure = np.array([poses[n].score >= self.confident for n in order], bool)
        who: dict[int, _Track] = {}
        free = np.arange(len(self._tracks))
        for some in np.flatnonzero(sure & whole), np.flatnonzero(~sure & whole):
            pairs = assign(weights[np.ix_(free, some)])
            who |= {order[some[column]]: self._tracks[free[row]] for row, column in pairs}
            free = np.delete(free, [row for row, _ in pairs])
        for place in np.flatnonzero(sure & whole):
            if order[place] not in who:
                who[order[place]] = self._begin(poses[order[place]])
        return who

    def _begin(self, pose: Pose) -> "_Track":
        self._last_id += 1
        self._tracks.append(_Track(self._last_id, pose.skeleton, self._time))
        return self._tracks[-1]

    def _named(self, pose: Pose, track: "_Track | None") -> Pose:
        if track is None:
            return replace(pose, id=None)
        track.correct(pose, self.memory)
        steady = track.steady(pose, self.hold, self.cutoff, self.response)
        track.seen[pose.found] = self._time
        return replace(steady if self.smooth else pose, id=track.id)


class _Track:
    """One person. xy (K, 2): where the keypoints are believed to be, nan where unknown; size in
    pixels; velocity (2,) pixels a second; spread (2, 2): covariance of position and velocity, in
    sizes, the same along x and y; seen (K,): when a keypoint was found last, confidence (K,): how
    surely then; shown, slope (K, 2): what One-Euro says of it, and the speed that it sees, pixels a
    second; behind (K, 2): from xy to shown."""

    def __init__(self, number: int, skeleton: Skeleton, time: float) -> None:
        count = len(skeleton.keypoints)
        self.id, self.skeleton, self.time = number, skeleton, time
        self.gap = 0.0  # seconds between the last two pictures
        self.xy = np.full((count, 2), np.nan)
        self.size = 1.0
        self.velocity = np.zeros(2)
        self.spread = np.diag([1.0, _SPEED**2])
        self.seen = np.full(count, -np.inf)
        self.confidence = np.zeros(count)
        self.shown = np.full((count, 2), np.nan)
        self.behind = np.zeros((count, 2))
        self.slope = np.zeros((count, 2))

    @property
    def last_seen(self) -> float:
        return float(self.seen.max())

    def predict(self, time: float) -> None:
        """Moves on to `time`; the longer, the less sure. White-noise acceleration (Bar-Shalom, Li
        and Kirubarajan 2001, section 6.2.2) on a velocity that dies away while nobody looks."""
        dt = self.gap = time - self.time
        decay = math.exp(-dt / _TIRES)
        reach = _TIRES * (1 - decay)
        self.time = time
        self.xy = self.xy + reach * self.velocity
        self.velocity = decay * self.velocity
        (place, both), (_, speed) = self.spread.tolist()  # the numbers, since two by two is small
        place += 2 * reach * both + reach**2 * speed + _UNREST * dt**3 / 3
        both = decay * (both + reach * speed) + _UNREST * dt**2 / 2
        self.spread = np.array([[place, both], [both, decay**2 * speed + _UNREST * dt]])

    def correct(self, pose: Pose, memory: float) -> None:
        """The Kalman update. A body's step is the median of its keypoints' steps, which neither a
        swinging leg nor a keypoint on somebody else changes; its shape is the one just found."""
        found = pose.found
        steps = (pose.xy - self.xy)[found & ~np.isnan(self.xy[:, 0])]
        step = _median(steps) if len(steps) else np.zeros(2)
        gain = self.spread[:, 0] / (self.spread[0, 0] + _NOISE**2)
        self.velocity = self.velocity + gain[1] * step
        self.spread = self.spread - np.outer(gain, self.spread[0])
        shape = np.where(found[:, None], pose.xy, self.xy + step)
        self.xy = shape - (1 - gain[0]) * step
        self.xy[~found & (self.time - self.seen > memory)] = np.nan
        self.size = _size(self.xy)

    def steady(self, pose: Pose, hold: float, cutoff: float, response: float) -> Pose:
        """The pose with smoothed keypoints; one not found for less than `hold` seconds rides on the
        body, less and less sure; one that was away for longer begins afresh."""
        found, age = pose.found, self.time - self.seen
        fresh = found & (age > max(hold, self.gap))
        self.shown[fresh] = pose.xy[fresh]
        self._one_euro(pose.xy[found].astype(np.float64), found, age[found], cutoff, response)
        self.shown[~found] = (self.xy + self.behind)[~found]
        self.behind = self.shown - self.xy
        self.confidence[found] = pose.confidence[found]
        held = ~found & (age < hold)
        fading = self.confidence * np.clip(1 - age / max(hold, _INSTANT), 0, 1)
        return replace(
            pose,
            xy=np.where((found | held)[:, None], self.shown, np.nan).astype(np.float32),
            confidence=np.where(held, fading, pose.confidence).astype(np.float32),
        )

    def _one_euro(
        self, xy: Floats, which: Mask, age: Floats, cutoff: float, response: float
    ) -> None:
        """A low-pass filter that opens with speed (Casiez, Roussel and Vogel 2012, doi
        10.1145/2207676.2208639), on x and y together; (F, 2) keypoints, last seen `age` (F,) ago.

        The cutoff grows with the square of the speed, not with the speed: so noise, a small speed,
        opens it less and motion more, and nothing at a constant speed is shown more than
        1 / (4 pi sqrt(cutoff * response)) sizes behind.
        """
        dt = np.maximum(age, _INSTANT)[:, None]
        gone = xy - self.shown[which]
        slope = self.slope[which]
        slope = slope + _share(dt, _SLOPE_CUTOFF) * (gone / dt - slope)
        square = np.square(slope / self.size).sum(axis=1, keepdims=True)
        self.slope[which] = slope
        self.shown[which] += _share(dt, cutoff + response * square) * gone


def _size(xy: Floats) -> float:
    """In pixels, at least one: four times the median way from the middle of the keypoints (K, 2) to
    one, as much as the diagonal of a standing person's box; one on somebody else is no matter."""
    known = xy[~np.isnan(xy[:, 0])]
    ways = known - _median(known)
    return max(4 * float(_median(np.hypot(ways[:, 0], ways[:, 1]))), 1.0)


def _median(values: Floats) -> Floats:
    """Of the rows; of so few, numpy's own takes four times as long."""
    ordered, count = np.sort(values, axis=0), len(values)
    middle: Floats = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return middle


def _share(dt: Floats, cutoff: Floats | float) -> Floats:
    """How much of a change a low-pass filter of `cutoff` Hz takes on in dt seconds."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * dt))


def _likeness(tracks: Sequence[_Track], poses: Sequence[Pose], similar: float) -> Floats:
    """(T, D): how many keypoints of a pose lie where its person is expected; 0 if not similar.

    Each counts with its object keypoint similarity (cocodataset.org/#keypoints-eval), expected over
    all places where the body may be (the integral of two Gaussians): so the long lost find a pose
    that is a little off, yet do not take it from the one whose place it is.
    """
    if not tracks or not poses:
        return np.zeros((len(tracks), len(poses)))
    known, found = np.stack([t.xy for t in tracks]), np.stack([pose.xy for pose in poses])
    square = np.square(found[None] - known[:, None]).sum(axis=3)  # (T, D, K)
    area = np.array([t.size**2 for t in tracks])[:, None, None]
    own = SIZE_AREA * area * np.square(2 * np.array(tracks[0].skeleton.sigmas))
    total = own + area * np.array([t.spread[0, 0] for t in tracks])[:, None, None]
    missing = np.isnan(square)
    square[missing] = 0
    perfect = np.where(missing, 0, own / total)
    hits = (perfect * np.exp(-square / (2 * total))).sum(axis=2)
    near: Floats = np.where(hits > similar * perfect.sum(axis=2), hits, 0)
    return near


def _parts(weights: Floats, found: Sequence[Mask]) -> Mask:
    """(D,) True for poses that only complete another: weights (T, D), found D times (K,).

    Where the person whom a pose fits best is fitted better by another pose, and the two have no
    keypoint in common, the decoder has torn one person into two.
    """
    if not weights.size:
        return np.zeros(len(found), bool)
    better = weights.argmax(axis=1)[weights.argmax(axis=0)]
    shared = np.array([(found[n] & found[other]).any() for n, other in enumerate(better)])
    part: Mask = ~shared & (weights.max(axis=0) > 0)
    return part


def assign(weights: Floats) -> list[tuple[int, int]]:
    """Pairs (row, column) of the matching of greatest total weight; weights (R, C), 0 for no pair.

    Rows come one by one, each at the least extra cost, those before it giving way (shortest
    augmenting paths: Jonker and Volgenant 1987, doi 10.1007/BF02278710); O(n^3).
    """
    rows, columns = weights.shape
    if rows > columns:
        return sorted((row, column) for column, row in assign(weights.T))
    row_price, price = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1)
    for row in range(rows):
        _settle(row, -weights, row_price, price, owner)
    pairs = [(int(row), column) for column, row in enumerate(owner) if row >= 0]
    return [pair for pair in pairs if weights[pair] > 0]


def _settle(row: int, cost: Floats, row_price: Floats, price: Floats, owner: Ints) -> None:
    """Gives `row` a column; `owner` (C,) is the row that has each column, or -1. Dijkstra's search
    over the columns; the prices keep the cost of every step at 0 or more."""
    far, before = np.full(len(owner), np.inf), np.full(len(owner), -1)
    done = np.zeros(len(owner), bool)
    way, here, last = 0.0, row, -1
    while here >= 0:
        through = way + cost[here] - row_price[here] - price
        nearer = ~done & (through < far)
        far[nearer], before[nearer] = through[nearer], last
        last = int(np.where(done, np.inf, far).argmin())
        way, here = far[last], int(owner[last])
        done[last] = here >= 0
    saved = way - far[done]
    row_price[row] += way
    row_price[owner[done]] += saved
    price[done] -= saved
    while last >= 0:
        owner[last] = owner[before[last]] if before[last] >= 0 else row
        last = before[last]
