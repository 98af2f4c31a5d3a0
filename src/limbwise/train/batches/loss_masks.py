"""The labels of crops: where the people are in them, and where a loss would punish the innocent."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...data.annotations import LABELLED, UNCERTAIN, UNLABELLED
from ...skeleton import Skeleton
from .crop import People, Plane, area_of, boxes_in, grid, inverse_of, moved, regions_on, times
from .samples import Samples, Size
from .targets import heatmaps, limb_heatmaps

_HARDLY = 1 / 3  # of a person's box, less than which is no person to be found


def in_crop(
    people: People, crop: Tensor, size: Sequence[int], skeleton: Skeleton, margin: float
) -> People:
    """The people in output pixels, left and right swapped where the crop is a mirror image; only
    as many as are, at least in part, in sight."""
    area = area_of(crop)
    inverse = inverse_of(crop)[:, None, None]
    xy = times(inverse, people.keypoints - crop[:, None, None, :, 2])
    mirrored = (area < 0)[:, None, None]
    mirror = list(skeleton.mirror)
    xy = torch.where(mirrored[..., None], xy[:, :, mirror], xy)
    state = torch.where(mirrored, people.state[:, :, mirror], people.state)
    absent = (state == UNLABELLED)[..., None]
    boxes = boxes_in(people.boxes, crop)
    low, high = boxes[..., :2], boxes[..., 2:]
    if xy.shape[2]:
        low = low.fmin(xy.masked_fill(absent, math.inf).amin(dim=2))
        high = high.fmax(xy.masked_fill(absent, -math.inf).amax(dim=2))
    beyond = xy.new_tensor(tuple(size)[::-1]) - 1 + margin
    near = ((low < beyond) & (high > -margin)).all(dim=2)
    count = int(near.sum(dim=1).max()) if near.shape[1] else 0
    kept = torch.argsort(~near, dim=1, stable=True)[:, :count]
    rows = torch.arange(len(kept), device=kept.device)[:, None]
    scale = people.scale / area.abs().sqrt()[:, None]
    state = state * near[..., None]
    boxes = boxes.masked_fill(~near[..., None], math.nan)
    return People(xy[rows, kept], state[rows, kept], boxes[rows, kept], scale[rows, kept])


def boxes_in_sight(people: Tensor, regions: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Boxes (N, P, 4) of people in output pixels to what a crop of `size` shows of them; and the
    regions (N, R, 4) besides those of people of whom it shows less than a third."""
    edges = people.new_tensor(tuple(size)[::-1]).repeat(2) - 0.5
    shown = people.clamp(min=-0.5).minimum(edges)
    share = _areas(shown) / _areas(people).clamp(min=1e-6)
    hardly = (share < _HARDLY)[..., None]
    return shown.masked_fill(hardly, math.nan), torch.cat(
        [regions, shown.masked_fill(~hardly, math.nan)], dim=1
    )


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def region_weights(
    samples: Samples, plane: Plane, crop: Tensor, size: Size, stride: int, spill: float
) -> Tensor:
    """(N, h, w), 0 in regions and within `spill` output pixels of them."""
    regions = regions_on(samples, plane)
    margin = spill * area_of(crop).abs().sqrt()[:, None, None, None]
    x, y = (place[:, None] for place in moved(grid(size, stride, crop), crop))
    left, top, right, bottom = regions[..., None, None].unbind(2)
    across = (x > left - margin) & (x < right + margin)
    masked = across & (y > top - margin) & (y < bottom + margin)
    return torch.where(masked.any(dim=1), 0.0, 1.0)


def keypoint_weights(
    people: People, weights: Tensor, skeleton: Skeleton, stride: int, sigma: float
) -> Tensor:
    """(N, K, h, w): those of the regions, 0 where an unsure keypoint may be, 1 at sure ones."""

    size = weights.shape[1], weights.shape[2]

    def within(radius: Tensor, state: int) -> Tensor:
        shown = people.state == state
        return _plateau(heatmaps(people.keypoints, shown, size, stride, radius / _HALF, _FOOT))

    unsure = within(_doubt(people, skeleton).clamp(min=2.5 * sigma), UNCERTAIN)
    sure = within(weights.new_tensor(2 * sigma), LABELLED)
    return (1 - unsure).minimum(weights[:, None]).maximum(sure)


def limb_weights(
    people: People, weights: Tensor, skeleton: Skeleton, stride: int, width: float
) -> Tensor:
    """(N, L, h, w): the same for limbs, unsure if one of their ends is."""
    if not skeleton.limbs:
        return weights.new_zeros(len(weights), 0, *weights.shape[1:])
    start, end = (list(ends) for ends in zip(*skeleton.pairs, strict=True))
    states = people.state[:, :, start].minimum(people.state[:, :, end])

    size = weights.shape[1], weights.shape[2]

    def within(radius: Tensor, state: int) -> Tensor:
        shown, sigma = states == state, radius / _HALF
        return _plateau(
            limb_heatmaps(people.keypoints, shown, size, skeleton, stride, sigma, _FOOT)
        )

    doubt = _doubt(people, skeleton)
    doubt = doubt[:, :, start].maximum(doubt[:, :, end])
    unsure = within(doubt.clamp(min=1.5 * width), UNCERTAIN)
    sure = within(weights.new_tensor(1.5 * width), LABELLED)
    return (1 - unsure).minimum(weights[:, None]).maximum(sure)


def _doubt(people: People, skeleton: Skeleton) -> Tensor:
    """(N, P, K) pixels: two OKS sigmas, farther than which people who label seldom disagree."""
    return 2 * people.scale[..., None] * people.scale.new_tensor(skeleton.sigmas)


# A plateau has full height to 0.72, half at 1 and none beyond 1.32 of its radius.
_HALF = math.sqrt(2 * math.log(2))  # sigmas away a Gaussian has half its height
_FOOT = math.sqrt(2 * math.log(1 / 0.3))  # sigmas away it has 0.3


def _plateau(heat: Tensor) -> Tensor:
    """1 where a Gaussian is above 0.7, 0 where it is below 0.3."""
    return (2.5 * heat - 0.75).clamp(0, 1)
