"""What a network should say: heatmaps and limb fields drawn from keypoints, for a whole batch.

Closed forms on every cell at once, on the device the keypoints are on; the only loop is over the
people of a picture.
"""

import torch
from torch import Tensor

from ..skeleton import Skeleton


def heatmaps(
    keypoints: Tensor, visible: Tensor, size: tuple[int, int], stride: int = 8, sigma: float = 7.0
) -> Tensor:
    """keypoints (N, P, K, 2) in input pixels and visible (N, P, K) bool to (N, K, h, w) in 0..1.

    `size` is (h, w) in cells, `sigma` is in input pixels. Each keypoint is a Gaussian of height 1;
    where people overlap the higher value counts (Cao et al. 2017, arXiv 1611.08050, equation 6).
    """
    rows, columns = _centres(size, stride, keypoints)
    across = torch.exp(-((keypoints[..., 0:1] - columns) ** 2) / (2 * sigma**2))
    down = torch.exp(-((keypoints[..., 1:2] - rows) ** 2) / (2 * sigma**2))
    across = across * visible[..., None]
    maps = keypoints.new_zeros(*visible.shape[::2], *size)
    for person in range(keypoints.shape[1]):
        drawn = down[:, person, :, :, None] * across[:, person, :, None, :]
        maps = torch.maximum(maps, drawn)
    return maps


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
    rows, columns = _centres(size, stride, keypoints)
    start, end = (list(side) for side in zip(*skeleton.pairs, strict=True))
    shown = visible[:, :, start] & visible[:, :, end]
    total = keypoints.new_zeros(len(keypoints), len(start), 2, *size)
    count = keypoints.new_zeros(len(keypoints), len(start), *size)
    for person in range(keypoints.shape[1]):
        a, b = keypoints[:, person, start], keypoints[:, person, end]
        length = torch.linalg.vector_norm(b - a, dim=-1).clamp(min=1e-3)
        unit = ((b - a) / length[..., None])[..., None, None]
        x = columns[None, None, None, :] - a[..., 0, None, None]
        y = rows[None, None, :, None] - a[..., 1, None, None]
        along = x * unit[:, :, 0] + y * unit[:, :, 1]
        nearest = along.clamp(min=0).minimum(length[..., None, None])
        square = (x - nearest * unit[:, :, 0]) ** 2 + (y - nearest * unit[:, :, 1]) ** 2
        near = (square <= width**2) & shown[:, person, :, None, None]
        total += near[:, :, None] * unit
        count += near
    return total / count.clamp(min=1)[:, :, None]


def _centres(size: tuple[int, int], stride: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Input pixels of the rows (h,) and columns (w,) of cells; the convention of `Fields`."""
    rows, columns = (
        torch.arange(count, device=like.device, dtype=like.dtype) * stride + (stride - 1) / 2
        for count in size
    )
    return rows, columns
