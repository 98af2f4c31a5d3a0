"""What a network should say: heatmaps and part affinity fields drawn from keypoints, for a whole
batch.

Closed forms, on the device the keypoints are on. Nothing loops and little is computed in vain: of
all keypoints or limbs at once the cells they reach, which are then put in their places.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...skeleton import Skeleton

REACH = 32**0.5  # in sigmas; farther away a Gaussian is below the precision of float32


def heatmaps(
    keypoints: Tensor,
    visible: Tensor,
    size: tuple[int, int],
    stride: int = 8,
    sigma: float | Tensor = 7.0,
    reach: float = REACH,
) -> Tensor:
    """Keypoints drawn as Gaussians of height 1 (Cao et al. 2017, arXiv 1611.08050, equation 6).

    Where people overlap the higher value counts.

    Args:
        keypoints: (N, P, K, 2) in pixels of the input.
        visible: (N, P, K) bool, which are drawn.
        size: (h, w) in cells.
        stride: pixels of the input to a cell.
        sigma: in pixels of the input, one for all or (N, P, K).
        reach: sigmas after which a Gaussian is cut off.

    Returns:
        (N, K, h, w) in 0..1.
    """
    n, p, k = visible.nonzero(as_tuple=True)
    maps = keypoints.new_zeros(visible.shape[0] * visible.shape[2], *size)
    if len(n):
        x, y = keypoints[n, p, k].unbind(1)
        sigma_of_each = _chosen(sigma, visible).to(x.dtype)
        rows, down = _profiles(y, sigma_of_each, size[0], stride, reach)
        columns, across = _profiles(x, sigma_of_each, size[1], stride, reach)
        first = (n * visible.shape[2] + k) * size[0]
        place = ((first[:, None] + rows) * size[1])[:, :, None] + columns[:, None]
        drawn = down[:, :, None] * across[:, None]
        maps.view(-1).scatter_reduce_(0, place.flatten(), drawn.flatten(), "amax")
    return maps.view(visible.shape[0], visible.shape[2], *size)


def limb_heatmaps(
    keypoints: Tensor,
    shown: Tensor,
    size: tuple[int, int],
    skeleton: Skeleton,
    stride: int = 8,
    sigma: float | Tensor = 7.0,
    reach: float = REACH,
) -> Tensor:
    """The same for the limbs shown (N, P, L): (N, L, h, w), Gaussians of the distance to them."""
    maps = keypoints.new_zeros(shown.shape[0] * shown.shape[2] * size[0] * size[1])
    sigma_of_each = _chosen(sigma, shown).to(keypoints.dtype)
    limbs = _limbs(keypoints, shown, skeleton)
    of, cell, square = _near(limbs, sigma_of_each * reach, size, stride)
    height = torch.exp(-square / (2 * sigma_of_each[of] ** 2))
    maps.scatter_reduce_(0, limbs.map[of] * (size[0] * size[1]) + cell, height, "amax")
    return maps.view(shown.shape[0], shown.shape[2], *size)


def part_affinity_fields(
    keypoints: Tensor,
    visible: Tensor,
    size: tuple[int, int],
    skeleton: Skeleton,
    stride: int = 8,
    width: float = 8.0,
) -> Tensor:
    """Limbs drawn as unit vectors (Cao et al. 2017, equations 8 and 9).

    Args:
        keypoints: (N, P, K, 2) in pixels of the input.
        visible: (N, P, K) bool; a limb is drawn where both ends are.
        size: (h, w) in cells.
        skeleton: which limbs.
        stride: pixels of the input to a cell.
        width: pixels of the input from a limb to where its field ends.

    Returns:
        (N, L, 2, h, w): x and y of the vector along the limb, elsewhere 0; where people overlap,
        the mean.
    """
    if not skeleton.limbs:
        return keypoints.new_zeros(len(keypoints), 0, 2, *size)
    start, end = (list(side) for side in zip(*skeleton.pairs, strict=True))
    shown = visible[:, :, start] & visible[:, :, end]
    limbs = _limbs(keypoints, shown, skeleton)
    of, cell, square = _near(limbs, torch.full_like(limbs.length, width), size, stride)
    inside = (square <= width**2).nonzero()[:, 0]
    of, cell = of[inside], cell[inside]
    area = size[0] * size[1]
    count = limbs.length.new_zeros(shown.shape[0] * shown.shape[2] * area)
    place = limbs.map[of] * area + cell
    count.index_add_(0, place, torch.ones_like(square[: len(of)]))
    share = 1 / count[place]
    total = limbs.length.new_zeros(2 * len(count))
    place = place + limbs.map[of] * area
    total.index_add_(0, place, limbs.way_x[of] * share)
    total.index_add_(0, place + area, limbs.way_y[of] * share)
    return total.view(shown.shape[0], shown.shape[2], 2, *size)


def _profiles(
    x: Tensor, sigma: Tensor, count: int, stride: int, reach: float
) -> tuple[Tensor, Tensor]:
    """For each of M places x the cells (M, C) of a row of `count` that it reaches, and the Gaussian
    there; places beyond the row's end are its last cell and 0."""
    first, after = _span(x - sigma * reach, x + sigma * reach, count, stride)
    cells = first[:, None] + torch.arange(int((after - first).max()), device=x.device)
    away = _centre(cells, stride) - x[:, None]
    height = torch.exp(-(away**2) / (2 * sigma[:, None] ** 2)) * (cells < count)
    return cells.clamp(max=count - 1), height


@dataclass(frozen=True, eq=False)
class _Limbs:
    """M limbs: x, y (M,) where they begin, way_x, way_y the unit vector along them, length, all in
    input pixels, and map (M,), which of the N * L maps they are drawn on."""

    x: Tensor
    y: Tensor
    way_x: Tensor
    way_y: Tensor
    length: Tensor
    map: Tensor


def _limbs(keypoints: Tensor, shown: Tensor, skeleton: Skeleton) -> _Limbs:
    """The M limbs that are shown (N, P, L)."""
    pairs = torch.tensor(skeleton.pairs, device=keypoints.device)
    n, p, limb = shown.nonzero(as_tuple=True)
    start, end = keypoints[n, p, pairs[limb, 0]], keypoints[n, p, pairs[limb, 1]]
    length = torch.linalg.vector_norm(end - start, dim=1).clamp(min=1e-3)
    way = (end - start) / length[:, None]
    (x, y), (way_x, way_y) = start.unbind(1), way.unbind(1)
    return _Limbs(x, y, way_x, way_y, length, n * shown.shape[2] + limb)


def _near(
    limbs: _Limbs, reach: Tensor, size: tuple[int, int], stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The cells within `reach` (M,) pixels of the limbs, and some more: for each the limb's number,
    row * w + column, and the square of the distance, (C,) each."""
    left, right = _span(*_extent(limbs.x, limbs.way_x * limbs.length, reach), size[1], stride)
    top, bottom = _span(*_extent(limbs.y, limbs.way_y * limbs.length, reach), size[0], stride)
    columns, rows = right - left, bottom - top
    of = torch.repeat_interleave(columns * rows)
    last = (columns * rows).cumsum(0)
    number = torch.arange(len(of), device=of.device) - (last - columns * rows)[of]
    row = torch.div(number, columns[of], rounding_mode="floor")
    column = left[of] + number - row * columns[of]
    row = top[of] + row
    x, y = _centre(column, stride) - limbs.x[of], _centre(row, stride) - limbs.y[of]
    way_x, way_y = limbs.way_x[of], limbs.way_y[of]
    along = (x * way_x + y * way_y).clamp(min=0).minimum(limbs.length[of])
    square = (x - along * way_x) ** 2 + (y - along * way_y) ** 2
    return of, row * size[1] + column, square


def _extent(start: Tensor, way: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Where a limb, or what is within reach of it, begins and ends along one axis."""
    return start + way.clamp(max=0) - reach, start + way.clamp(min=0) + reach


def _span(low: Tensor, high: Tensor, count: int, stride: int) -> tuple[Tensor, Tensor]:
    """The first of `count` cells whose centre is in low..high (M,), and the one after the last."""
    middle = (stride - 1) / 2
    first = torch.ceil((low - middle) / stride).clamp(0, count).long()
    after = torch.floor((high - middle) / stride + 1).clamp(0, count).long()
    return first, after


def _centre(cells: Tensor, stride: int) -> Tensor:
    """In input pixels; the convention of `NetworkOutput`."""
    return cells * stride + (stride - 1) / 2


def _chosen(value: float | Tensor, shown: Tensor) -> Tensor:
    """(M,) of a value for all or (N, P, C) of them."""
    chosen: Tensor = torch.as_tensor(value, device=shown.device).expand(shown.shape)[shown]
    return chosen
