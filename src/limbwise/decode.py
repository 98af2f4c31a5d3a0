"""What the network drew, read back as people.

Peaks of each heatmap are keypoints; a part affinity field says which two keypoints of neighbouring
kinds belong together; the surest pairs are joined first, and every join makes, grows or merges a
person (greedy bottom-up parsing, Cao et al. 2017, arXiv 1611.08050). Nothing is upsampled: the
position between cells comes from a parabola through the logarithms of the heatmap, since the
logarithm of the Gaussian that was drawn is one.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from .network_output import NetworkOutput
from .peaks import Floats, Ints, Peaks, find_peaks
from .pose import Pose
from .skeleton import Skeleton

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DecodeOptions:
    """How maps are read as people; the defaults were chosen in docs/log.md, 2026-11-22.

    Attributes:
        threshold: confidence above which two keypoints can begin a person, 0 to 1.
        weak: confidence above which a keypoint can join a person, 0 to 1.
        samples: places along a pair of keypoints where the part affinity field is read.
        min_fraction: a pair is a limb if more than this fraction of the samples point its way,
        min_alignment: each by more than this, as a part of a field drawn in full,
        length_cost: and by this much more for each limb length over the usual one.
        size_weight: a person's score grows with the person's size to this power.
    """

    threshold: float = 0.1
    weak: float = 0.02
    samples: int = 9
    min_fraction: float = 0.8
    min_alignment: float = 0.02
    length_cost: float = 0.4
    size_weight: float = 0.2


def decode(
    fields: NetworkOutput,
    skeleton: Skeleton,
    options: DecodeOptions = DecodeOptions(),
) -> list[Pose]:
    """A network's maps to people.

    Args:
        fields: heatmaps (K, h, w) and limbs (L, 2, h, w).
        skeleton: which keypoints and limbs these are.
        options: how they are read.

    Returns:
        Poses in pixels of the input, best first. A person's score, 0 to about 1, grows with the
        limbs' and with the person's size.
    """
    found = find_peaks(fields.heatmaps, min(options.weak, options.threshold))
    limbs = score_limbs(fields.limbs, found, skeleton, options)
    return _poses(group(limbs, found), found, fields, skeleton, options.size_weight)


@dataclass(frozen=True, eq=False)
class Limbs:
    """C pairs of peaks that a part affinity field joins, the surest first: the peaks `start` and
    `end` (C,), `score` (C,) 0 to 1, and whether the pair may begin a person, `strong` (C,)."""

    start: Ints
    end: Ints
    score: Floats
    strong: Mask


@dataclass(slots=True)
class _Person:
    kinds: int  # bit k is set once a peak of kind k is among the peaks
    peaks: list[int]
    score: float = 0.0
    limbs: int = 0


def score_limbs(
    limbs: Floats,
    peaks: Peaks,
    skeleton: Skeleton,
    options: DecodeOptions = DecodeOptions(),
) -> Limbs:
    """Pairs of peaks that more than `min_fraction` of the samples of their limb's field join.

    The score is the mean, over the samples that point the limb's way, of the field along it: the
    line integral of Cao et al. (2017), equation 10. It has to exceed `min_alignment`, and
    `length_cost` more for a limb as long as the map is high: across a crowd something always points
    the way.
    """
    limb, start, end = _pairs(peaks, skeleton)
    way = peaks.xy[end] - peaks.xy[start]
    cost = options.length_cost * np.hypot(way[:, 0], way[:, 1]) / limbs.shape[2]
    needed = options.min_alignment + cost
    hopeful = _at_middle(limbs, limb, peaks.xy[start], way) > needed / 2
    limb, start, end, way = limb[hopeful], start[hopeful], end[hopeful], way[hopeful]
    along = _along(limbs, limb, peaks.xy[start], way, options.samples)
    agree = (along > 0).sum(axis=1)
    score = np.maximum(along, 0).sum(axis=1) / np.maximum(agree, 1)
    good = (agree > options.min_fraction * options.samples) & (score > needed[hopeful])
    start, end, score = start[good], end[good], score[good]
    strong = np.minimum(peaks.height[start], peaks.height[end]) > options.threshold
    order = np.lexsort((-score, ~strong))
    return Limbs(start[order], end[order], score[order], strong[order])


def _pairs(peaks: Peaks, skeleton: Skeleton) -> tuple[Ints, Ints, Ints]:
    """Every pair of peaks that a limb could join: limb (Q,), start (Q,), end (Q,)."""
    ends = np.array(skeleton.pairs, np.intp).reshape(-1, 2)
    kinds = np.arange(len(skeleton.keypoints) + 1)
    first = np.searchsorted(peaks.kind, kinds)
    count = np.diff(first)[ends]
    pairs = count[:, 0] * count[:, 1]
    limb = np.repeat(np.arange(len(ends)), pairs)
    number = np.arange(len(limb)) - (np.cumsum(pairs) - pairs)[limb]
    start, end = np.divmod(number, count[limb, 1])
    return limb, start + first[ends[limb, 0]], end + first[ends[limb, 1]]


def _at_middle(limbs: Floats, limb: Ints, start: Floats, way: Floats) -> Floats:
    """(Q,): the field along each pair's limb in the cell at its middle. A glance that tells most of
    the pairs of a crowd apart before they are looked at closely."""
    _, _, rows, columns = limbs.shape
    x, y = np.rint(start + way / 2).astype(np.intp).T
    cell = (2 * limb * rows + y.clip(0, rows - 1)) * columns + x.clip(0, columns - 1)
    flat = limbs.reshape(-1)
    return _projected(flat[cell], flat[cell + rows * columns], way)


def _along(limbs: Floats, limb: Ints, start: Floats, way: Floats, samples: int) -> Floats:
    """(Q, samples): the field of each pair's limb along it, between cells, from end to end."""
    places = np.linspace(0, 1, samples, dtype=np.float32)[:, None, None]
    points = start + places * way
    return _projected(*_bilinear(limbs, limb, points[..., 0], points[..., 1]), way).T


def _projected(x: Floats, y: Floats, way: Floats) -> Floats:
    """Vectors x, y (..., Q) on the directions of the ways (Q, 2)."""
    length = np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-6)
    return ((x * way[:, 0] + y * way[:, 1]) / length).astype(np.float32, copy=False)


def _bilinear(limbs: Floats, limb: Ints, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Field vectors between cells; beyond the border the border's."""
    _, _, rows, columns = limbs.shape
    x, y = x.clip(0, columns - 1), y.clip(0, rows - 1)
    left = np.minimum(x.astype(np.intp), max(columns - 2, 0))
    top = np.minimum(y.astype(np.intp), max(rows - 2, 0))
    right, below = (x - left).astype(np.float32), (y - top).astype(np.float32)
    across, down = int(columns > 1), columns * int(rows > 1)
    cell = (2 * limb * rows + top) * columns + left
    flat = limbs.reshape(-1)

    def read(cell: Ints) -> Floats:
        upper = flat[cell] * (1 - right) + flat[cell + across] * right
        lower = flat[cell + down] * (1 - right) + flat[cell + down + across] * right
        value: Floats = upper * (1 - below) + lower * below
        return value

    return read(cell), read(cell + rows * columns)


def group(limbs: Limbs, peaks: Peaks) -> list[_Person]:
    """People from pairs, the surest pair first; a person has at most one peak of each kind."""
    owner: list[_Person | None] = [None] * len(peaks.kind)
    bits = [1 << kind for kind in peaks.kind.tolist()]
    rows = zip(
        limbs.start.tolist(), limbs.end.tolist(), limbs.score.tolist(), limbs.strong.tolist(),
        strict=True,
    )  # fmt: skip
    for start, end, score, strong in rows:
        one, other = owner[start], owner[end]
        if one is None and other is None:
            if strong:
                person = _Person(bits[start] | bits[end], [start, end], score, 1)
                owner[start] = owner[end] = person
            continue
        if one is not None and other is not None:
            person = one
            if one is not other and not _merge(one, other, owner):
                continue
        else:
            person, peak = (one, end) if one is not None else (cast(_Person, other), start)
            if person.kinds & bits[peak]:
                continue
            person.kinds |= bits[peak]
            person.peaks.append(peak)
            owner[peak] = person
        person.limbs += 1
        person.score += score
    return list({id(person): person for person in owner if person is not None}.values())


def _merge(one: _Person, other: _Person, owner: list[_Person | None]) -> bool:
    """The other's peaks become one's; False, and nothing changes, if a kind is there twice."""
    if one.kinds & other.kinds:
        return False
    one.kinds |= other.kinds
    one.peaks += other.peaks
    one.limbs += other.limbs
    one.score += other.score
    for peak in other.peaks:
        owner[peak] = one
    return True


def _poses(
    people: list[_Person],
    peaks: Peaks,
    fields: NetworkOutput,
    skeleton: Skeleton,
    size_weight: float,
) -> list[Pose]:
    """Limb scores summed over the root of their number: many good limbs beat few. Large people are
    found more exactly than small ones, and rank higher (measured, docs/log.md)."""
    of = np.repeat(np.arange(len(people)), [len(person.peaks) for person in people])
    peak = np.array([peak for person in people for peak in person.peaks], np.intp)
    cells = peaks.xy[peak]
    xy = np.full((len(people), len(skeleton.keypoints), 2), np.nan, np.float32)
    confidence = np.zeros(xy.shape[:2], np.float32)
    xy[of, peaks.kind[peak]] = fields.pixels(cells)
    confidence[of, peaks.kind[peak]] = peaks.height[peak]
    first = np.flatnonzero(np.diff(of, prepend=-1))
    extent = (
        np.maximum.reduceat(cells, first) - np.minimum.reduceat(cells, first) if len(of) else cells
    )
    size = extent.max(axis=1, initial=0) / fields.heatmaps.shape[1]
    score = np.array([person.score / np.sqrt(person.limbs) for person in people])
    score = score / np.sqrt(len(skeleton.limbs)) * size**size_weight
    return [
        Pose(skeleton, xy[n], confidence[n], float(score[n]))
        for n in np.argsort(-score, kind="stable")
    ]
