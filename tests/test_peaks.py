"""Peaks between cells, against definitions that are slow and plain."""

import numpy as np
import pytest

from limbwise.peaks import argmax, find_peaks

ROUND = np.arange(-1, 2)


def gaussian(x: float, y: float, size: tuple[int, int] = (12, 15), sigma: float = 1.2):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)).astype(np.float32)


def plain_peaks(heatmap: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    """(row, column) of cells above the threshold and above all eight neighbours."""
    padded = np.pad(heatmap, 1, constant_values=-np.inf)
    found = set()
    for row, column in np.argwhere(heatmap > threshold):
        others = padded[np.ix_(row + 1 + ROUND, column + 1 + ROUND)].copy()
        others[1, 1] = -np.inf
        if heatmap[row, column] > others.max():
            found.add((int(row), int(column)))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_peak_is_above_the_threshold_and_all_eight_neighbours(seed: int) -> None:
    maps = np.random.default_rng(seed).random((3, 9, 11), np.float32)
    peaks = find_peaks(maps, 0.4)
    for kind, heatmap in enumerate(maps):
        cells = np.rint(peaks.xy[peaks.kind == kind]).astype(int)
        near = {(int(row), int(column)) for column, row in cells}
        plain = plain_peaks(heatmap, 0.4)
        assert len(cells) == len(plain)  # between cells two may round to the same side
        assert all(min(abs(r - y) + abs(c - x) for y, x in near) <= 2 for r, c in plain)
        heights = sorted(peaks.height[peaks.kind == kind].tolist())
        assert heights == sorted(float(heatmap[cell]) for cell in plain)


@pytest.mark.parametrize("shape", ["row", "column", "falling", "rising", "square", "apart"])
def test_equal_cells_that_touch_are_one_peak_and_others_are_two(shape: str) -> None:
    cells = {
        "row": [(4, 5), (4, 6)], "column": [(4, 5), (5, 5)], "falling": [(4, 5), (5, 6)],
        "rising": [(5, 5), (4, 6)], "square": [(4, 5), (4, 6), (5, 5), (5, 6)],
        "apart": [(4, 5), (4, 7)],
    }[shape]  # fmt: skip
    heatmap = np.zeros((1, 9, 11), np.float32)
    for cell in cells:
        heatmap[0][cell] = 0.5
    assert len(find_peaks(heatmap, 0.1).kind) == (2 if shape == "apart" else 1)


def test_a_height_is_no_more_than_one() -> None:
    heights = find_peaks(np.stack([1.3 * gaussian(5, 5), 0.7 * gaussian(5, 5)]), 0.1).height
    assert heights.tolist() == pytest.approx([1, 0.7])


@pytest.mark.parametrize("x", [0.0, 0.3, 6.0, 6.26, 6.45, 13.7, 14.0])
@pytest.mark.parametrize("y", [0.0, 0.4, 5.0, 5.49, 10.6, 11.0])
def test_the_top_of_a_gaussian_is_found_between_cells_and_at_every_edge(x: float, y: float) -> None:
    heatmap = gaussian(x, y, sigma=7 / 8)  # what is assumed in a corner, where nothing tells it
    others = [gaussian(3, 8), gaussian(9, 2)]
    found, heights = argmax(np.stack([others[0], heatmap, others[1]])[None])
    assert found[0, 1] == pytest.approx((x, y), abs=0.02)
    assert heights[0, 1] == heatmap.max()
    assert find_peaks(heatmap[None], 0.1).xy[0] == pytest.approx((x, y), abs=0.02)


def test_a_top_moves_half_a_cell_at_most() -> None:
    maps = np.full((1, 9, 11), 1e-9, np.float32)
    maps[0, 4, 5:7] = 0.5, 0.5 - 1e-7
    maps[0, 4, 4] = 0.4
    assert abs(find_peaks(maps, 0.1).xy[0, 0] - 5) <= 0.5


def test_beside_another_persons_peak_a_narrow_one_keeps_its_place() -> None:
    """Two round peaks three cells apart: what lies between them belongs to neither alone."""
    for x in (5.0, 5.2, 4.8):
        both = np.maximum(gaussian(x, 6), gaussian(x + 3, 6, sigma=1.2))
        turned = both.T
        for heatmap, axis in ((both, 0), (turned, 1)):
            xy = find_peaks(heatmap[None], 0.1).xy
            assert sorted(xy[:, axis].tolist()) == pytest.approx([x, x + 3], abs=0.06)


def test_each_peak_takes_the_curvature_of_its_own_neighbours() -> None:
    """A narrow peak elsewhere must not change what a wide one at the edge says."""
    wide = gaussian(0.3, 6, sigma=2.0)
    with_narrow = np.maximum(wide, gaussian(11, 3, sigma=0.6))
    alone, beside = (find_peaks(each[None], 0.1).xy for each in (wide, with_narrow))
    nearest = beside[np.abs(beside - alone[0]).sum(axis=1).argmin()]
    assert nearest == pytest.approx(alone[0], abs=1e-5)
