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
    xy = np.stack([column, row], axis=1) - _BORDER + _offsets(flat, cells, columns)
    return Peaks(kind, xy.astype(np.float32), np.minimum(flat[cells], 1))


def argmax(heatmaps: Floats) -> tuple[Floats, Floats]:
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
