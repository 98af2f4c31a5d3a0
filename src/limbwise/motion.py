"""Where the people who are followed are believed to be: bodies move on, keypoints are calmed.

    predict, when time has passed -> correct, by the keypoints found -> steady, what is shown

A person is keypoints that ride on a body, which keeps its velocity until it is seen to change it (a
Kalman filter in sizes of the person, so that near and far are alike), and a One-Euro filter on each
keypoint. All people are moved at once: row t of every array is one of them.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

# Lengths are in sizes of the person, see `sizes`.
_NOISE = 0.03  # standard deviation of where a body is found whose keypoints agree
_APART = 1.48  # and as many median distances of its keypoints' steps from its own
_SPEED = 1.5  # standard deviation of a newcomer's velocity, per second: a walk is 0.8, a run 3
_UNREST = 1.0  # spectral density of the acceleration: a walk begins and ends within half a second
_TIRES = 3.0  # seconds in which an unseen velocity falls to 1/e: nobody flies on for ever
_SLOPE_CUTOFF = (
    2.0  # Hz, how One-Euro smooths its own estimate of the speed; 1 turns round too late
)
_INSTANT = 1e-3  # seconds; no filter takes pictures to be closer than this


class Calm(NamedTuple):
    """How keypoints are smoothed, as `Tracker` explains."""

    hold: float
    cutoff: float
    response: float


class People:
    """T people of K keypoints.

    Attributes:
        ids: (T,)
        xy: (T, K, 2) where the keypoints are believed to be, nan where unknown.
        size: (T,) pixels.
        velocity: (T, 2) pixels a second.
        spread: (T, 3) variance of the position, its covariance with the velocity, variance of the
            velocity, in sizes, the same along x and y.
        seen: (T, K) when a keypoint was found last.
        confidence: (T, K) how surely then.
        shown: (T, K, 2) what One-Euro says of the keypoints.
        slope: (T, K, 2) the speed that it sees, pixels a second.
        behind: (T, K, 2) from xy to shown.
    """

    def __init__(self, keypoints: int = 0) -> None:
        places = (0, keypoints, 2)
        self.ids = np.zeros(0, np.intp)
        self.xy, self.size, self.velocity = np.zeros(places), np.zeros(0), np.zeros((0, 2))
        self.spread = np.zeros((0, 3))
        self.seen, self.confidence = np.zeros(places[:2]), np.zeros(places[:2])
        self.shown, self.slope, self.behind = np.zeros(places), np.zeros(places), np.zeros(places)
        self.gap = 0.0  # seconds between the last two pictures

    def __len__(self) -> int:
        return len(self.ids)

    def last_seen(self) -> Floats:
        """(T,)"""
        times: Floats = self.seen.max(axis=1, initial=-np.inf)
        return times

    def keep(self, which: Mask) -> None:
        """Forgets the others."""
        for name, rows in self._arrays():
            setattr(self, name, rows[which])

    def begin(self, ids: Ints) -> None:
        """New rows for people of whom nothing is known yet."""
        count, keypoints = len(ids), self.xy.shape[1]
        empty = {
            "ids": ids,
            "xy": np.full((count, keypoints, 2), np.nan),
            "size": np.ones(count),
            "spread": np.tile([1.0, 0.0, _SPEED**2], (count, 1)),
            "seen": np.full((count, keypoints), -np.inf),
            "shown": np.full((count, keypoints, 2), np.nan),
        }
        for name, rows in self._arrays():
            more = empty.get(name, np.zeros((count, *rows.shape[1:])))
            setattr(self, name, np.concatenate([rows, more]))

    def _arrays(self) -> list[tuple[str, NDArray[np.generic]]]:
        return [(name, rows) for name, rows in vars(self).items() if isinstance(rows, np.ndarray)]

    def predict(self, dt: float) -> None:
        """Moves on by `dt` seconds; the longer, the less sure. White-noise acceleration
        (Bar-Shalom, Li and Kirubarajan 2001, section 6.2.2) on a velocity that dies away while
        nobody looks."""
        decay = math.exp(-dt / _TIRES)
        reach = _TIRES * (1 - decay)
        self.gap = dt
        self.xy += reach * self.velocity[:, None]
        self.velocity *= decay
        place, both, speed = self.spread.T
        self.spread = np.array(
            [
                place + 2 * reach * both + reach**2 * speed + _UNREST * dt**3 / 3,
                decay * (both + reach * speed) + _UNREST * dt**2 / 2,
                decay**2 * speed + _UNREST * dt,
            ]
        ).T

    def correct(self, rows: Ints, xy: Floats, found: Mask, age: Floats, memory: float) -> None:
        """The Kalman update of some people, found at xy (R, K, 2), nan where not found (R, K);
        their keypoints were seen `age` (R, K) ago.

        A body's step is the median of its keypoints' steps, which neither a swinging leg nor a
        keypoint on somebody else changes; the less these agree, the less it is believed. Its shape
        is the one just found.
        """
        known = self.xy[rows]
        steps = xy - known
        middles = _middles(steps[..., 0])
        step = _medians(steps, middles)
        apart = _APART * _medians(_lengths(steps - step[:, None]), middles) / self.size[rows]
        new = np.isnan(apart)
        step[new] = apart[new] = 0
        place, both, speed = self.spread[rows].T
        sure = 1 / (place + _NOISE**2 + apart**2)
        gain, push = (sure * place)[:, None], sure * both
        self.velocity[rows] += push[:, None] * step
        self.spread[rows] = np.array(
            [place - sure * place**2, both - push * place, speed - push * both]
        ).T
        shape = np.where(found[..., None], xy, known + step[:, None])
        shape -= ((1 - gain) * step)[:, None]
        shape[~found & (age > memory)] = np.nan
        self.xy[rows], self.size[rows] = shape, sizes(shape)

    def steady(
        self, rows: Ints, xy: Floats, found: Mask, confidence: Floats, age: Floats, calm: Calm
    ) -> tuple[Floats, Floats]:
        """What is shown of some people, xy (R, K, 2) and confidence (R, K): keypoints smoothed; one
        not found for less than `hold` seconds rides on the body, less and less sure; one that was
        away for longer begins afresh."""
        fresh = found & (age > max(calm.hold, self.gap))
        body = self.xy[rows]
        before = np.where(fresh[..., None], xy, self.shown[rows])
        after, slope = _one_euro(xy, before, self.slope[rows], age, self.size[rows], calm)
        shown = np.where(found[..., None], after, body + self.behind[rows])
        self.shown[rows], self.behind[rows] = shown, shown - body
        self.slope[rows] = np.where(found[..., None], slope, self.slope[rows])
        sure = np.where(found, confidence, self.confidence[rows])
        self.confidence[rows] = sure
        held = ~found & (age < calm.hold)
        fading = sure * np.clip(1 - age / max(calm.hold, _INSTANT), 0, 1)
        return (
            np.where((found | held)[..., None], shown, np.nan),
            np.where(held, fading, confidence),
        )


def _one_euro(
    xy: Floats, before: Floats, slope: Floats, age: Floats, size: Floats, calm: Calm
) -> tuple[Floats, Floats]:
    """(R, K, 2) what is shown now, and the slope: a low-pass filter that opens with speed (Casiez,
    Roussel and Vogel 2012, doi 10.1145/2207676.2208639), on x and y together.

    The cutoff grows with the square of the speed, not with the speed: so noise, a small speed,
    opens it less and motion more, and nothing at a constant speed is shown more than
    1 / (4 pi sqrt(cutoff * response)) sizes behind.
    """
    dt = np.maximum(age, _INSTANT)[..., None]
    gone = xy - before
    slope = slope + _share(dt, _SLOPE_CUTOFF) * (gone / dt - slope)
    square = np.square(slope / size[:, None, None]).sum(axis=2, keepdims=True)
    return before + _share(dt, calm.cutoff + calm.response * square) * gone, slope


def sizes(xy: Floats) -> Floats:
    """(R,) in pixels, at least one: four times the median way from the middle of the keypoints
    (R, K, 2) to one, as much as the diagonal of a standing person's box; one on somebody else is no
    matter."""
    middles = _middles(xy[..., 0])
    ways = _lengths(xy - _medians(xy, middles)[:, None])
    return np.maximum(4 * _medians(ways, middles), 1.0)


def _lengths(ways: Floats) -> Floats:
    length: Floats = np.hypot(ways[..., 0], ways[..., 1])
    return length


def _middles(values: Floats) -> tuple[Ints, Ints, Ints]:
    """Rows of (R, K) values, and where in each of them, sorted, the two in the middle are; nan
    comes last and does not count."""
    counts = values.shape[1] - np.isnan(values).sum(axis=1)
    return np.arange(len(values)), (counts - 1) >> 1, counts >> 1


def _medians(values: Floats, middles: tuple[Ints, Ints, Ints]) -> Floats:
    """Over the second axis; nan of nothing. numpy's own takes thirty times as long."""
    ordered = np.sort(values, axis=1)
    rows, low, high = middles
    middle: Floats = (ordered[rows, low] + ordered[rows, high]) / 2
    return middle


def _share(dt: Floats, cutoff: Floats | float) -> Floats:
    """How much of a change a low-pass filter of `cutoff` Hz takes on in dt seconds."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * dt))
