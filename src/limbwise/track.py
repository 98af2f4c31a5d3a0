"""Who is who from picture to picture, and steadier keypoints: poses and times in, poses out.

    poses -> _match, with the people moved on to now -> People.correct -> People.steady -> poses

motion.py has what is believed of each person. Everything runs on the true times of the pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .motion import Calm, Floats, Ints, Mask, People, sizes
from .pose import SIZE_AREA, Pose
from .skeleton import Skeleton

_STRAIGHT = 2.0  # seconds: from one picture straight to the next nobody is forgotten earlier
_DOUBLE = 0.3  # part of a perfect likeness from which a pose is a second one of the same person


class Tracker:
    """`update(poses, time)` gives the same poses, each with the `id` of its person.

    All state is in this object: each tracker counts its people from 1, never using an id again.

    Args:
        smooth: whether xy is smoothed, and a keypoint that flickers held.
        memory: seconds for which a person who is not found is remembered; from one picture straight
            to the next at least two, so that a camera that gives one in a second loses nobody.
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
        memory: float = 1.5,
        confident: float = 0.2,
        similar: float = 0.15,
        hold: float = 0.2,
        cutoff: float = 0.3,
        response: float = 50.0,
    ) -> None:
        self.smooth, self.memory, self.confident, self.similar = smooth, memory, confident, similar
        self.hold, self.cutoff, self.response = hold, cutoff, response
        self._people = People()
        self._skeleton: Skeleton | None = None  # of those who are remembered
        self._reach = np.zeros(0)  # (K,) OKS's variances of their keypoints, in sizes
        self._time = -math.inf
        self._last_id = 0

    def update(self, poses: Sequence[Pose], time: float) -> list[Pose]:
        """The same poses with the ids of the people they are.

        Args:
            poses: of one picture, of one skeleton.
            time: the picture's, in seconds. One before the last is another video: everybody is
                forgotten, the ids count on. The same again is the same moment, seen twice.

        Returns:
            The poses in their order; id None where nobody is known and the pose is too unsure, only
            a stray part of somebody, or a second pose of somebody, to begin a person.

        Raises:
            ValueError: the time is not a finite number, or a pose is of another skeleton than the
                people who are remembered.
        """
        if not math.isfinite(time):
            raise ValueError(f"the time of a picture is a number of seconds, not {time}")
        self._forget(time)
        self._check(poses)
        if len(self._people):
            self._people.predict(time - self._time)
        self._time = time
        if not poses:
            return []
        xy = np.array([pose.xy for pose in poses], np.float64)
        found = ~np.isnan(xy[..., 0])
        return self._named(poses, xy, found, self._match(poses, xy, found))

    def _forget(self, time: float) -> None:
        if not len(self._people):
            return
        seen = self._people.last_seen()
        memory = np.where(seen == self._time, max(self.memory, _STRAIGHT), self.memory)
        kept = (time - seen <= memory) & (time >= self._time)
        if not kept.all():
            self._people.keep(kept)

    def _check(self, poses: Sequence[Pose]) -> None:
        first = self._skeleton if len(self._people) else None
        for pose in poses:
            first = first or pose.skeleton
            if pose.skeleton is not first and pose.skeleton != first:
                raise ValueError(
                    "a tracker follows people of one skeleton: make one for each model"
                )
        if poses and not len(self._people):
            self._skeleton, self._people = poses[0].skeleton, People(len(poses[0].xy))
            self._reach = SIZE_AREA * np.square(2 * np.array(poses[0].skeleton.sigmas))

    def _match(self, poses: Sequence[Pose], xy: Floats, found: Mask) -> Ints:
        """(D,) the row of each pose's person, or -1: confident poses choose first, the rest among
        the people who are left; a confident one that got none begins a person, if it does not lie
        on somebody. All in an order of their own, so that the order in which the poses come is no
        matter."""
        order = _order(poses, xy, found)
        weights = _likeness(self._people, xy[order], self._reach, self.similar)
        whole = ~_parts(weights, found[order])
        sure = np.array([poses[n].score >= self.confident for n in order.tolist()], bool)
        rows = np.full(len(poses), -1)
        taken = np.zeros(len(self._people), bool)
        for some in np.flatnonzero(sure & whole), np.flatnonzero(~sure & whole):
            free = np.flatnonzero(~taken)
            for row, column in assign(weights[free][:, some]) if len(some) else ():
                rows[order[some[column]]] = free[row]
                taken[free[row]] = True
        self._begin(rows, order[sure & whole & (rows[order] < 0)], xy)
        return rows

    def _begin(self, rows: Ints, alone: Ints, xy: Floats) -> None:
        """Gives the poses that are `alone` a person, unless they are somebody's second."""
        new: list[int] = []
        for n in alone.tolist():
            others = np.append(np.flatnonzero(rows >= 0), new).astype(np.intp)
            if not _doubles(xy[n], xy[others], self._reach):
                new.append(n)
        if new:
            rows[new] = len(self._people) + np.arange(len(new))
            self._people.begin(self._last_id + 1 + np.arange(len(new)))
            self._last_id += len(new)

    def _named(self, poses: Sequence[Pose], xy: Floats, found: Mask, rows: Ints) -> list[Pose]:
        """The people take in what was found of them; poses with ids, as they are shown."""
        known = np.flatnonzero(rows >= 0)
        if not len(known):
            return [replace(pose, id=None) for pose in poses]
        its, people = rows[known], self._people
        xy, found, age = xy[known], found[known], self._time - people.seen[its]
        sure = np.array([poses[n].confidence for n in known.tolist()], np.float64)
        people.correct(its, xy, found, age, self.memory)
        calm = Calm(self.hold, self.cutoff, self.response)
        steady, fading = people.steady(its, xy, found, sure, age, calm)
        people.seen[its] = np.where(found, self._time, people.seen[its])
        shown = zip(steady.astype(np.float32), fading.astype(np.float32), strict=True)
        named = [
            replace(pose, id=None) if row < 0 else pose
            for pose, row in zip(poses, rows.tolist(), strict=True)
        ]
        for n, number, calmed in zip(known.tolist(), people.ids[its].tolist(), shown, strict=True):
            pose = poses[n]
            place, surely = calmed if self.smooth else (pose.xy, pose.confidence)
            named[n] = Pose(pose.skeleton, place, surely, pose.score, number)
        return named


def _order(poses: Sequence[Pose], xy: Floats, found: Mask) -> Ints:
    """The poses with any keypoint, best first; of the same score, by place."""
    corner = np.fmin.reduce(xy, axis=1).tolist()
    keys = [(-p.score, at, p.xy.tobytes()) for p, at in zip(poses, corner, strict=True)]
    some = np.flatnonzero(found.any(axis=1)).tolist()
    return np.array(sorted(some, key=keys.__getitem__), np.intp)


def _likeness(people: People, xy: Floats, reach: Floats, similar: float) -> Floats:
    """(T, D): how many keypoints of a pose, xy (D, K, 2), lie where its person is expected; 0 if
    not similar.

    Each counts with its object keypoint similarity (cocodataset.org/#keypoints-eval), expected over
    all places where the body may be (the integral of two Gaussians): so the long lost find a pose
    that is a little off, yet do not take it from the one whose place it is.
    """
    if not len(people) or not len(xy):
        return np.zeros((len(people), len(xy)))
    square = np.square(xy[None] - people.xy[:, None]).sum(axis=3)
    area = (people.size**2)[:, None]
    own = area * reach
    total = own + area * people.spread[:, :1]
    both = ~np.isnan(square)
    perfect = both * (own / total)[:, None]
    near = np.exp(np.where(both, square, 0) / (-2 * total)[:, None])
    hits = np.einsum("tdk,tdk->td", perfect, near)
    likely: Floats = np.where(hits > similar * perfect.sum(axis=2), hits, 0)
    return likely


def _parts(weights: Floats, found: Mask) -> Mask:
    """(D,) True for poses that only complete another: weights (T, D), found (D, K).

    Where the person whom a pose fits best is fitted better by another pose, and the two have no
    keypoint in common, the decoder has torn one person into two.
    """
    if not len(weights) or len(found) < 2:
        return np.zeros(len(found), bool)
    better = weights.argmax(axis=1)[weights.argmax(axis=0)]
    shared = (found & found[better]).any(axis=1)
    part: Mask = ~shared & (weights.max(axis=0) > 0)
    return part


def _doubles(xy: Floats, others: Floats, reach: Floats) -> bool:
    """Whether a pose (K, 2) lies on one of others (N, K, 2): by their object keypoint similarity,
    over the keypoints that both have."""
    square = np.square(others - xy).sum(axis=2)
    both = ~np.isnan(square)
    near = np.exp(np.where(both, square, 0) / (-2 * sizes(others)[:, None] ** 2 * reach))
    alike = (near * both).sum(axis=1)
    return bool((alike > _DOUBLE * np.maximum(both.sum(axis=1), 1)).any())


def assign(weights: Floats) -> list[tuple[int, int]]:
    """Pairs (row, column) of the matching of greatest total weight; weights (R, C), 0 for no pair.

    Rows come one by one, each at the least extra cost, those before it giving way (shortest
    augmenting paths: Jonker and Volgenant 1987, doi 10.1007/BF02278710); O(n^3).
    """
    rows, columns = weights.shape
    if rows > columns:
        return sorted((row, column) for column, row in assign(weights.T))
    best = weights.argmax(axis=1).tolist() if rows else []
    if len(set(best)) == rows:  # each row its greatest: no matching can be greater
        return [(row, column) for row, column in enumerate(best) if weights[row, column] > 0]
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
