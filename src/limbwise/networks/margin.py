"""Inputs with a margin, right and below, that a network should not see: phones take inputs of one
size, which pictures seldom have. Made of what the converters for phones know.
"""

from torch import Tensor
from torch.nn import functional as F

Part = dict[int, Tensor]  # of maps of so many rows: (1, 1, rows, columns), 1 in the picture, else 0


def picture_part(beyond: Tensor, block: int) -> Part:
    """What of an input is picture.

    Args:
        beyond: (1, 3, H, W), 0 where a pixel is as grey as the margin.
        block: pixels of a side of the blocks that are picture or margin, as a whole.

    Returns:
        For the strides 1, 2, 4 ... `block` what of their maps is picture.
    """
    seen = F.max_pool2d(beyond.abs().amax(dim=1, keepdim=True), block)
    rows, columns = int(seen.shape[2]), int(seen.shape[3])  # numbers in a traced graph too
    # A row is picture where it or a later one has some: the largest from it on.
    down = F.max_pool2d(F.pad(seen, (0, 0, 0, rows - 1)), (rows, columns), stride=1)
    across = F.max_pool2d(F.pad(seen, (0, columns - 1)), (rows, columns), stride=1)
    masks = [down.clamp(max=1) * across.clamp(max=1)]
    while masks[-1].shape[2] < rows * block:
        masks.append(F.interpolate(masks[-1], scale_factor=2.0))
    return {int(mask.shape[2]): mask for mask in masks}


def within(x: Tensor, part: Part, beyond: float = 0.0) -> Tensor:
    """x (N, C, h, w) in the picture, `beyond` elsewhere."""
    mask = part[int(x.shape[2])]
    return x * mask + (mask - 1) * -beyond if beyond else x * mask


def mean(x: Tensor, part: Part | None = None) -> Tensor:
    """Means of the channels (N, C, 1, 1), of the picture if a part of the input is."""
    whole = x.mean(dim=(2, 3), keepdim=True)
    if part is None:
        return whole
    share = part[int(x.shape[2])].mean(dim=(2, 3), keepdim=True)
    return within(x, part).mean(dim=(2, 3), keepdim=True) / share.clamp(min=1e-6)
