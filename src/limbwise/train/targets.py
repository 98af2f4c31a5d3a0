"""What a network should say: heatmaps and limb fields drawn from keypoints, for a whole batch.

Closed forms, on the device the keypoints are on. Nothing loops and nothing is computed in vain: the
cells that a keypoint or limb can reach are listed for all of them at once, then filled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..skeleton import Skeleton

_REACH = 32**0.5  # in sigmas; farther away a Gaussian is below the precision of float32


def heatmaps(
    keypoints: Tensor,
    visible: Tensor,
    size: tuple[int, int],
    stride: int = 8,
    sigma: float | Tensor = 7.0,
) -> Tensor:
    """keypoints (N, P, K, 2) in input pixels and visible (N, P, K) bool to (N, K, h, w) in 0..1.

    `size` is (h, w) in cells; `sigma` is in input pixels, one for all or (N, P, K). Each keypoint
    is a Gaussian of height 1; where people overlap the higher value counts (Cao et al. 2017,
    arXiv 1611.08050, equation 6).
    """
    n, p, k = visible.nonzero(as_tuple=True)
    xy = keypoints[n, p, k]
    return _gaussians(xy, xy, _chosen(sigma, visible), visible, size, stride)


def limb_heatmaps(
    keypoints: Tensor,
    shown: Tensor,
    size: tuple[int, int],
    skeleton: Skeleton,
    stride: int = 8,
    sigma: float | Tensor = 7.0,
) -> Tensor:
    """The same for the limbs shown (N, P, L): (N, L, h, w), Gaussians of the distance to them."""
    a, b = _ends(keypoints, shown, skeleton)
    return _gaussians(a, b, _chosen(sigma, shown), shown, size, stride)


def limb_fields(
    keypoints: Tensor,
    visible: Tensor,
    size: tuple[int, int],
    skeleton: Skeleton,
    stride: int = 8,
    width: float = 8.0,
) -> Tensor:
    """keypoints (N, P, K, 2) in input pixels and visible (N, P, K) bool to (N, L, 2, h, w).

    Within `width` input pixels of a limb the field is the unit vector (x, y) along it, elsewhere 0;
    where people overlap, the mean (Cao et al. 2017, equations 8 and 9).
    """
    start, end = (list(side) for side in zip(*skeleton.pairs, strict=True))
    shown = visible[:, :, start] & visible[:, :, end]
    a, b = _ends(keypoints, shown, skeleton)
    cells, square = _near(a, b, a.new_full((len(a),), width), size, stride)
    inside = square <= width**2
    limb, place = cells.of[inside], cells.place[inside]
    channel = _channels(shown)[limb]
    maps, area = shown.shape[0] * shown.shape[2], size[0] * size[1]
    count = a.new_zeros(maps * area)
    count.index_put_((channel * area + place,), a.new_ones(()), accumulate=True)
    unit = _unit(a, b)[0][limb] / count[channel * area + place, None]
    total = a.new_zeros(maps * 2 * area)
    total.index_add_(0, channel * 2 * area + place, unit[:, 0])
    total.index_add_(0, (channel * 2 + 1) * area + place, unit[:, 1])
    return total.view(shown.shape[0], shown.shape[2], 2, *size)


def _gaussians(
    a: Tensor, b: Tensor, sigma: Tensor, shown: Tensor, size: tuple[int, int], stride: int
) -> Tensor:
    """The highest of Gaussians round the lines from a to b (M, 2): the M True of shown (N, P, C)
    to (N, C, h, w)."""
    sigma = sigma.to(a.dtype)
    cells, square = _near(a, b, sigma * _REACH, size, stride)
    height = torch.exp(-square / (2 * sigma[cells.of] ** 2))
    maps, area = shown.shape[0] * shown.shape[2], size[0] * size[1]
    place = _channels(shown)[cells.of] * area + cells.place
    drawn = a.new_zeros(maps * area).scatter_reduce_(0, place, height, "amax")
    return drawn.view(shown.shape[0], shown.shape[2], *size)


@dataclass(frozen=True, eq=False)
class _Cells:
    """C cells, each in reach of one of M things: `of` (C,) which one, `xy` (C, 2) the cell's centre
    in input pixels, `place` (C,) its row * w + column."""

    of: Tensor
    xy: Tensor
    place: Tensor


def _near(
    a: Tensor, b: Tensor, reach: Tensor, size: tuple[int, int], stride: int
) -> tuple[_Cells, Tensor]:
    """The cells within `reach` (M,) of the lines from a to b (M, 2), some more, and the squares
    (C,) of their distances."""
    low, high = torch.minimum(a, b) - reach[:, None], torch.maximum(a, b) + reach[:, None]
    cells = _cells(low, high, size, stride)
    unit, length = _unit(a, b)
    away, unit = cells.xy - a[cells.of], unit[cells.of]
    along = (away * unit).sum(dim=1).clamp(min=0).minimum(length[cells.of])
    return cells, (away - along[:, None] * unit).square().sum(dim=1)


def _cells(low: Tensor, high: Tensor, size: tuple[int, int], stride: int) -> _Cells:
    """The cells whose centres lie in the boxes low..high (M, 2) in input pixels; the centre of
    cell m is at m * stride + (stride - 1) / 2, the convention of `Fields`."""
    middle = (stride - 1) / 2
    most = torch.tensor(size[::-1], device=low.device)
    first = torch.ceil((low - middle) / stride).clamp(min=0).minimum(most).long()
    after = torch.floor((high - middle) / stride + 1).clamp(min=0).minimum(most).long()
    columns, rows = (after - first).clamp(min=0).unbind(1)
    counts = rows * columns
    of = torch.repeat_interleave(counts)
    number = torch.arange(len(of), device=of.device) - (counts.cumsum(0) - counts)[of]
    row = first[of, 1] + number // columns[of]
    column = first[of, 0] + number % columns[of]
    xy = torch.stack([column, row], dim=1).to(low.dtype) * stride + middle
    return _Cells(of, xy, row * size[1] + column)


def _ends(keypoints: Tensor, shown: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Where the M limbs that are shown (N, P, L) begin and end, (M, 2) each."""
    pairs = torch.tensor(skeleton.pairs, device=keypoints.device)
    n, p, limb = shown.nonzero(as_tuple=True)
    return keypoints[n, p, pairs[limb, 0]], keypoints[n, p, pairs[limb, 1]]


def _unit(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (M, 2) from a to b and lengths (M,)."""
    length = torch.linalg.vector_norm(b - a, dim=1).clamp(min=1e-3)
    return (b - a) / length[:, None], length


def _channels(shown: Tensor) -> Tensor:
    """For each True of shown (N, P, C) the number n * C + c of its map."""
    n, _, c = shown.nonzero(as_tuple=True)
    return n * shown.shape[2] + c


def _chosen(value: float | Tensor, shown: Tensor) -> Tensor:
    """(M,) of a value for all or (N, P, C) of them."""
    chosen: Tensor = torch.as_tensor(value, device=shown.device).expand(shown.shape)[shown]
    return chosen
