"""What the network drew, read back as people.

Peaks of each heatmap are keypoints; a limb field says which two keypoints of neighbouring kinds
belong together; the surest pairs are joined first, and every join makes, grows or merges a person
(greedy bottom-up parsing, Cao et al. 2017, arXiv 1611.08050). Nothing is upsampled: the position
between cells comes from a parabola through the logarithms of the heatmap, since the logarithm of
the Gaussian that was drawn is one.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from .network_output import Fields
from .pose import Pose
from .skeleton import Skeleton

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

_FLOOR = 1e-6  # a heatmap's logarithm starts here
_BORDER = 2  # cells of minus infinity round a heatmap, so that every cell has its neighbours
_USUAL_CURVATURE = (8 / 7) ** 2  # of the logarithm of a Gaussian of sigma 7 pixels, in cells of 8


def decode(
    fields: Fields,
    skeleton: Skeleton,
    *,
    threshold: float = 0.1,
    weak: float = 0.02,
    samples: int = 9,
    share: float = 0.8,
    least: float = 0.02,
    length_cost: float = 0.4,
    size_weight: float = 0.2,
) -> list[Pose]:
    """heatmaps (K, h, w) and limbs (L, 2, h, w) to poses in input pixels, best first.

    Two keypoints above `threshold` can begin a person; those above `weak` only join one. A pair
    is a limb if more than `share` of the `samples` read along it point its way, and by more than
    `least`, and the more the longer it is (`length_cost`). A person's score, 0 to about 1, grows
    with the limbs' and, to the power `size_weight`, with the person's size.
    """
    found = find_peaks(fields.heatmaps, min(weak, threshold))
    limbs = score_limbs(
        fields.limbs, found, skeleton, threshold, samples, share, least, length_cost
    )
    return _poses(join(limbs, found), found, fields, skeleton, size_weight)


@dataclass(frozen=True, eq=False)
class Peaks:
    """P peaks of all heatmaps, those of one kind side by side: kind (P,), xy (P, 2) in cells,
    height (P,)."""

    kind: Ints
    xy: Floats
    height: Floats


@dataclass(frozen=True, eq=False)
class Limbs:
    """C pairs of peaks that a limb field joins, the surest first: the peaks `start` and `end`
    (C,), `score` (C,) 0 to 1, and whether the pair may begin a person, `strong` (C,)."""

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


def find_peaks(heatmaps: Floats, threshold: float) -> Peaks:
    """(K, h, w) to the cells above `threshold` that none of their 8 neighbours exceeds."""
    kinds, rows, columns = heatmaps.shape
    rows, columns = rows + 2 * _BORDER, columns + 2 * _BORDER
    padded = np.full((kinds, rows, columns), -np.inf, np.float32)
    padded[:, _BORDER:-_BORDER, _BORDER:-_BORDER] = heatmaps
    flat = padded.reshape(-1)
    cells = np.flatnonzero(flat > threshold)
    for step in (1, -1, columns, -columns):
        cells = cells[flat[cells] >= flat[cells + step]]
    corners = np.array([columns + 1, columns - 1, 1 - columns, -columns - 1])
    cells = cells[(flat[cells, None] >= flat[cells[:, None] + corners]).all(axis=1)]
    cells = _one_per_plateau(cells, flat, columns)
    plane, column = np.divmod(cells, columns)
    kind, row = np.divmod(plane, rows)
    xy = np.stack([column, row], axis=1) - _BORDER + _offsets(flat, cells, columns)
    return Peaks(kind, xy.astype(np.float32), np.minimum(flat[cells], 1))


def tops(heatmaps: Floats) -> tuple[Floats, Floats]:
    """(N, K, h, w), one person each, to the highest place of each: xy (N, K, 2) in cells, and its
    height (N, K)."""
    *several, rows, columns = heatmaps.shape
    planes = heatmaps.reshape(-1, rows, columns)
    edge = ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER))
    padded = np.pad(planes, edge, constant_values=-np.inf)
    row, column = np.divmod(planes.reshape(len(planes), -1).argmax(axis=1), columns)
    wide = columns + 2 * _BORDER
    cells = (
        (np.arange(len(planes)) * (rows + 2 * _BORDER) + row + _BORDER) * wide + column + _BORDER
    )
    flat = padded.reshape(-1)
    xy = np.stack([column, row], axis=1) + _offsets(flat, cells, wide)
    return xy.reshape(*several, 2).astype(np.float32), flat[cells].reshape(several)


def _one_per_plateau(cells: Ints, flat: Floats, columns: int) -> Ints:
    """Of maxima that touch, and so are equal, the first is kept."""
    steps = (1, columns - 1, columns, columns + 1)
    if not (flat[cells, None] == flat[cells[:, None] + np.array(steps)]).any():
        return cells
    kept: set[int] = set()
    for cell in cells.tolist():
        if not any(cell - step in kept for step in steps):
            kept.add(cell)
    return np.array(sorted(kept), np.intp)


def _offsets(flat: Floats, cells: Ints, columns: int) -> NDArray[np.float64]:
    """(P, 2) from a peak's cell to the top of the parabola through the logs, within half a cell.

    As in DARK (Zhang et al. 2020, arXiv 1910.06278), one axis at a time. Where a neighbour is
    beyond the border, or belongs to another person's peak since the map rises again behind it, the
    slope on the other side is taken, with the curvature of the other axis (the Gaussian is round).
    """
    steps = np.array([[1], [columns]])  # (axis, peak)
    here = _log(flat[cells])
    before, after = _log(flat[cells - steps]), _log(flat[cells + steps])
    curvature = 2 * here - before - after
    outside = np.isneginf(np.minimum(flat[cells - steps], flat[cells + steps]))
    curvature = np.where(outside, 0, curvature)
    roundest = curvature.max(axis=0)
    roundest = np.where(roundest > 0, roundest, _USUAL_CURVATURE)
    offset = (after - before) / (2 * np.maximum(curvature, 1e-6))
    shared_before = flat[cells - 2 * steps] >= flat[cells - steps]
    shared_after = flat[cells + 2 * steps] >= flat[cells + steps]
    offset = np.where(shared_after, (here - before) / roundest - 0.5, offset)
    offset = np.where(shared_before, (after - here) / roundest + 0.5, offset)
    offsets: NDArray[np.float64] = offset.clip(-0.5, 0.5).T
    return offsets


def _log(values: Floats) -> NDArray[np.float64]:
    return np.log(np.maximum(values, _FLOOR), dtype=np.float64)


def score_limbs(
    limbs: Floats,
    peaks: Peaks,
    skeleton: Skeleton,
    threshold: float,
    samples: int,
    share: float,
    least: float,
    length_cost: float,
) -> Limbs:
    """Pairs of peaks that more than `share` of the samples of their limb's field join.

    The score is the mean, over the samples that point the limb's way, of the field along it: the
    line integral of Cao et al. (2017), equation 10. It has to exceed `least`, and `length_cost`
    more for a limb as long as the map is high: across a crowd something always points the way.
    """
    limb, start, end = _pairs(peaks, skeleton)
    way = peaks.xy[end] - peaks.xy[start]
    needed = least + length_cost * np.hypot(way[:, 0], way[:, 1]) / limbs.shape[2]
    hopeful = _at_middle(limbs, limb, peaks.xy[start], way) > needed / 2
    limb, start, end, way = limb[hopeful], start[hopeful], end[hopeful], way[hopeful]
    along = _along(limbs, limb, peaks.xy[start], way, samples)
    agree = (along > 0).sum(axis=1)
    score = np.maximum(along, 0).sum(axis=1) / np.maximum(agree, 1)
    good = (agree > share * samples) & (score > needed[hopeful])
    start, end, score = start[good], end[good], score[good]
    strong = (peaks.height[start] > threshold) & (peaks.height[end] > threshold)
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


def join(limbs: Limbs, peaks: Peaks) -> list[_Person]:
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
    people: list[_Person], peaks: Peaks, fields: Fields, skeleton: Skeleton, size_weight: float
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
