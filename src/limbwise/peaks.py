"""Peaks of heatmaps, between their cells.

Nothing is upsampled: the position between cells comes from a parabola through the logarithms of the
heatmap, since the logarithm of the Gaussian that was drawn is one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

_FLOOR = 1e-6  # a heatmap's logarithm starts here


_BORDER = 2  # cells of minus infinity round a heatmap, so that every cell has its neighbours
_AROUND = np.arange(-_BORDER, _BORDER + 1)[:, None, None]  # steps along an axis: (5, axis, peak)


_USUAL_CURVATURE = (8 / 7) ** 2  # of the logarithm of a Gaussian of sigma 7 pixels, in cells of 8


@dataclass(frozen=True, eq=False)
class Peaks:
    """P peaks of all heatmaps, those of one kind side by side: kind (P,), xy (P, 2) in cells,
    height (P,)."""

    kind: Ints
    xy: Floats
    height: Floats


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
    lines = flat[cells + np.array([[1], [columns]]) * _AROUND]
    xy = np.stack([column, row], axis=1) - _BORDER + _offsets(lines)
    return Peaks(kind, xy.astype(np.float32), np.minimum(flat[cells], 1))


def argmax(heatmaps: Floats) -> tuple[Floats, Floats]:
    """(N, K, h, w), one person each, to the highest place of each: xy (N, K, 2) in cells, and its
    height (N, K)."""
    *several, rows, columns = heatmaps.shape
    flat = heatmaps.reshape(-1, rows * columns)
    highest = flat.argmax(axis=1)
    places = np.stack(np.divmod(highest, columns)[::-1])  # (axis, peak): column, row
    along = places + _AROUND
    inside = (along >= 0) & (along < [[columns], [rows]])
    cells = np.where(inside, highest + np.array([[1], [columns]]) * _AROUND, 0)
    lines = np.where(inside, flat[np.arange(len(flat)), cells], -np.inf)
    xy = places.T + _offsets(lines)
    return xy.reshape(*several, 2).astype(np.float32), lines[2, 0].reshape(several)


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


def _offsets(lines: Floats) -> NDArray[np.float64]:
    """(P, 2) from a peak's cell to the top of the parabola through the logs, within half a cell.

    As in DARK (Zhang et al. 2020, arXiv 1910.06278), one axis at a time. Where a neighbour is
    beyond the border, or belongs to another person's peak since the map rises again behind it, the
    slope on the other side is taken, with the curvature of the other axis (the Gaussian is round).

    Args:
        lines: (5, 2, P) heights two cells before each peak to two behind it, along x and along y;
            -inf beyond the border.
    """
    beside = lines[[1, 3]]
    before, here, after = _log(lines[1:4])
    curvature = 2 * here - before - after
    curvature = np.where(np.isneginf(beside.min(axis=0)), 0, curvature)
    roundest = curvature.max(axis=0)
    roundest = np.where(roundest > 0, roundest, _USUAL_CURVATURE)
    offset = (after - before) / (2 * np.maximum(curvature, 1e-6))
    shared_before, shared_after = lines[[0, 4]] >= beside
    offset = np.where(shared_after, (here - before) / roundest - 0.5, offset)
    offset = np.where(shared_before, (after - here) / roundest + 0.5, offset)
    offsets: NDArray[np.float64] = offset.clip(-0.5, 0.5).T
    return offsets


def _log(values: Floats) -> NDArray[np.float64]:
    return np.log(np.maximum(values, _FLOOR), dtype=np.float64)
