"""Crops of one person each, as the second stage sees them (refine.py), and what a first stage may
have found of that person: keypoints beside their places, on the wrong side, of somebody else, or
not at all.

The crop is made round what was found; whoever else is in it does not count.
"""

import math

import torch
from torch import Tensor

from ...data.annotations import ABSENT, SURE
from ...refine import BOX_MARGIN, LEAST, box_fraction
from .augmentation import Augment, Dice
from .batch import Batch
from .crop import People, Plane, plane_of, times, turned
from .loss_masks import in_crop
from .pixels import drawn, look_of
from .samples import Samples, Size

_UNLABELLED = 0.1  # what a keypoint counts that nobody labelled: mostly it is out of sight
# Errors of the bundled model's first stage on held-out pictures, in OKS sigmas of the keypoint:
# half
# of them below 0.6, a tenth above 2.6, one in a hundred above 8.5 (docs/log.md).
_MEDIAN, _SPREAD = 0.6, 1.1
_TWIN = 0.03  # share found where the other side's twin is
_OTHERS = 0.15, 0.2  # share of people mixed up with others, and share of their keypoints that are
_REAL = 0.8  # share of people with what a first stage said, if that is known
_NOTHING = 0.5  # share of people of whom the network is told nothing


def person_crops(
    samples: Samples,
    pictures: Tensor,
    people: Tensor,
    size: Size,
    generator: torch.Generator,
    settings: Augment = Augment(),  # noqa: B008 - frozen
    *,
    told: Tensor | None = None,
    stride: int = 4,
) -> tuple[Batch, Tensor]:
    """The people (N,), rows of `samples`, each in the picture of that number in pictures (N,), in
    crops of `size`, changed at random. The batch has one person a picture and no limbs; besides
    it, what was found (N, K, 3): x, y in the crop's pixels and 1, or 0 where nothing was. That is
    mostly `told` (N, K, 2), what a first stage said in pixels of the pictures as stored, nan where
    it found nothing; else it is made up."""
    dice = Dice(generator, samples.keypoints.device)
    plane = plane_of(samples, pictures, 0, dice)
    xy, seen = _first_look(samples, plane, people, dice)
    if told is not None:
        real = ~told[..., 0].isnan()
        real &= (real.sum(dim=1) > 1)[:, None] & dice.chance(_REAL, len(people), 1)
        seen = torch.where(real.any(dim=1)[:, None], real, seen)
        xy = torch.where(real[..., None], told, xy)
    crop = _crop_round(*_found_extent(xy, seen, size), plane, size, settings, dice)
    batch, moved = _seen(samples, plane, people, crop, size, settings, dice, stride, xy, seen)
    known = (moved.state[:, 1] == SURE) & ~dice.chance(_NOTHING, len(people), 1)
    found = torch.cat([moved.keypoints[:, 1], known[..., None]], dim=2)
    return batch, found


def box_crops(
    samples: Samples,
    pictures: Tensor,
    people: Tensor,
    size: Size,
    generator: torch.Generator,
    settings: Augment = Augment(),  # noqa: B008 - frozen
    *,
    stride: int = 4,
) -> Batch:
    """The same round the people's boxes, with the errors of a detector, and nothing told."""
    dice = Dice(generator, samples.keypoints.device)
    plane = plane_of(samples, pictures, 0, dice)
    low, high = samples.boxes[people].view(-1, 2, 2).unbind(1)
    extent = ((high - low) / low.new_tensor(size[::-1])).amax(dim=1) * BOX_MARGIN
    crop = _crop_round((low + high) / 2, extent, plane, size, settings, dice)
    keypoints, state = samples.keypoints[people], samples.state[people]
    return _seen(
        samples, plane, people, crop, size, settings, dice, stride, keypoints, state == SURE
    )[0]


def _seen(
    samples: Samples, plane: Plane, people: Tensor, crop: Tensor, size: Size, settings: Augment,
    dice: Dice, stride: int, xy: Tensor, seen: Tensor,
) -> tuple[Batch, People]:  # fmt: skip
    """The crops' pixels and labels; and who they show: the people as labelled, and with the places
    xy (N, K, 2) of which some are seen (N, K)."""
    images = drawn(samples, plane, crop, size, look_of(len(people), size, settings, dice), dice)
    both = People(
        torch.stack([samples.keypoints[people], xy], dim=1),
        torch.stack(
            [samples.state[people], torch.where(seen, SURE, ABSENT).to(samples.state.dtype)], dim=1
        ),
        samples.boxes[people, None].expand(-1, 2, -1),
        samples.spread[people, None].expand(-1, 2),
    )
    moved = in_crop(both, crop, size, samples.skeleton, math.inf)
    state = moved.state[:, :1]
    counts = torch.where(state == SURE, 1.0, 0.0) + _UNLABELLED * (state == ABSENT)
    cells = size[0] // stride, size[1] // stride
    weights = counts[:, 0, :, None, None].expand(-1, -1, *cells)
    batch = Batch(
        images, moved.keypoints[:, :1], state == SURE, weights[:, 0], weights, weights[:, :0],
        moved.boxes[:, :1], moved.boxes[:, :0],
    )  # fmt: skip
    return batch, moved


def _first_look(
    samples: Samples, plane: Plane, people: Tensor, dice: Dice
) -> tuple[Tensor, Tensor]:
    """Places (N, K, 2) on the plane, and which of them were found (N, K)."""
    keypoints, state = samples.keypoints[people], samples.state[people]
    count, kinds = state.shape
    sure = state == SURE
    first, after = (samples.people_from[plane.pictures[:, 0] + n] for n in (0, 1))
    other = first + (dice.uniform(0, 1, count) * (after - first)).long().minimum(after - first - 1)
    mixed = dice.chance(_OTHERS[0], count, 1) & dice.chance(_OTHERS[1], count, kinds)
    mixed &= samples.state[other] == SURE
    xy = torch.where(mixed[..., None], samples.keypoints[other], keypoints)
    mirror = list(samples.skeleton.mirror)
    turned_round = dice.chance(_TWIN, count, kinds) & sure[:, mirror]
    xy = torch.where(turned_round[..., None], keypoints[:, mirror], xy)
    sigmas = 2 * samples.spread[people, None] * xy.new_tensor(samples.skeleton.sigmas)
    away = sigmas * _MEDIAN * torch.exp(_SPREAD * dice.normal(count, kinds)).clamp(max=20)
    angle = dice.uniform(0, 2 * math.pi, count, kinds)
    xy = xy + away[..., None] * torch.stack([angle.cos(), angle.sin()], dim=2)
    return xy, _kept(keypoints, sure, dice)


def _kept(xy: Tensor, sure: Tensor, dice: Dice) -> Tensor:
    """(N, K): which of the sure keypoints a first stage finds: all, some, or only those on one side
    of a line; at least two of them."""
    count, kinds = sure.shape
    lost = dice.uniform(0, 1, count, kinds) < dice.uniform(-0.4, 0.4, count, 1)
    angle = dice.uniform(0, 2 * math.pi, count, 1)
    along = xy[..., 0] * torch.cos(angle) + xy[..., 1] * torch.sin(angle)
    low = along.masked_fill(~sure, math.inf).amin(dim=1, keepdim=True)
    high = along.masked_fill(~sure, -math.inf).amax(dim=1, keepdim=True)
    lost |= along < low + (high - low) * dice.uniform(-1.6, 0.6, count, 1)
    kept = sure & ~lost
    enough = (kept.sum(dim=1) > 1)[:, None]
    return torch.where(enough, kept, sure)


def _found_extent(xy: Tensor, seen: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """The middle (N, 2) of what was found, and how many pixels of the picture (N,) a pixel of its
    crop is."""
    low = xy.masked_fill(~seen[..., None], math.inf).amin(dim=1)
    high = xy.masked_fill(~seen[..., None], -math.inf).amax(dim=1)
    share = box_fraction(seen.sum(dim=1) / seen.shape[1])
    extent = ((high - low) / low.new_tensor(size[::-1])).amax(dim=1).clamp(min=LEAST)
    return (low + high) / 2, extent / share


def _crop_round(
    middle: Tensor, extent: Tensor, plane: Plane, size: Size, settings: Augment, dice: Dice
) -> Tensor:
    """(N, 2, 3) from output pixels to the picture: round `middle` (N, 2), `extent` (N,) pixels of
    the picture to one of the crop, but for chance."""
    output = plane.size.new_tensor(size[::-1])
    wobble = torch.exp(dice.uniform(-0.3, 0.3, len(middle)))
    zoom = (extent.clamp(min=LEAST) * wobble)[:, None]
    middle = middle + 0.08 * output * zoom * dice.uniform(-1, 1, len(middle), 2)
    linear = zoom[:, :, None] * turned(plane, settings, dice)
    corner = middle - times(linear, (output - 1) / 2)
    return torch.cat([linear, corner[..., None]], dim=2)
