"""Crops of one person each, as the second stage sees them (crops.py), and what a first stage may
have found of that person: keypoints beside their places, on the wrong side, of somebody else, or
not at all.

The crop is made round what was found; whoever else is in it does not count.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ...crops import BOX_MARGIN, MIN_EXTENT, box_fraction
from ...data.annotations import LABELLED, UNLABELLED
from .augmentation import Augment, Dice
from .batch import Batch, TargetOptions, batch_of
from .crop import People, Plane, finer, plane_of, times, turned
from .loss_masks import in_crop
from .pixels import Appearance, appearance_of, drawn
from .samples import Samples, Size

_WEIGHT_UNLABELLED = 0.1  # what a keypoint counts that nobody labelled: mostly it is out of sight
# Errors of the bundled model's first stage on held-out pictures, in OKS sigmas of the keypoint:
# half of them below 0.6, a tenth above 2.6, one in a hundred above 8.5 (docs/log.md).
_MEDIAN, _SPREAD = 0.6, 1.1
_SWAPPED = 0.03  # share found at the keypoint of the other side
_OTHERS = 0.15, 0.2  # share of people mixed up with others, and share of their keypoints that are
_REAL = 0.8  # share of people with what a first stage found, if that is known
_NOTHING = 0.5  # share of people of whom the network gets no prior keypoints


def person_crops(
    samples: Samples,
    pictures: Tensor,
    people: Tensor,
    size: Size,
    generator: torch.Generator,
    settings: Augment = Augment(),  # noqa: B008 - frozen
    options: TargetOptions | None = None,
    *,
    prior: Tensor | None = None,
    detail: Size | None = None,
) -> Batch:
    """Crops of one person each, changed at random, with prior keypoints.

    Args:
        samples: pictures and labels.
        pictures: (N,), the number of the picture of each crop.
        people: (N,), whom it shows: a row of the samples' people.
        size: height and width of the crops.
        generator: where chance comes from.
        settings: how far the crops are changed.
        options: how targets are drawn; limbs are left out.
        prior: (N, K, 2) what a first stage found, in pixels of the pictures as stored, nan where
            that is nothing. Mostly the prior keypoints are these; else they are made up.
        detail: height and width in which the same crops are made besides (`Batch.detail`).
    """
    dice = Dice(generator, samples.keypoints.device)
    plane = plane_of(samples, pictures, 0, dice)
    xy, seen = _made_up(samples, plane, people, dice)
    if prior is not None:
        real = ~prior[..., 0].isnan()
        real &= (real.sum(dim=1) > 1)[:, None] & dice.chance(_REAL, len(people), 1)
        seen = torch.where(real.any(dim=1)[:, None], real, seen)
        xy = torch.where(real[..., None], prior, xy)
    crop = _crop_round(*_found_extent(xy, seen, size), plane, size, settings, dice)
    appearance = appearance_of(len(people), size, settings, dice)
    images = drawn(samples, plane, crop, size, appearance, dice)
    found = _in_crop(samples, people, crop, size, xy, torch.where(seen, LABELLED, UNLABELLED))
    known = (found.state[:, 0] == LABELLED) & ~dice.chance(_NOTHING, len(people), 1)
    prior_keypoints = torch.cat([found.keypoints[:, 0], known[..., None]], 2)
    batch = replace(_batch(samples, people, crop, images, options), prior_keypoints=prior_keypoints)
    return _with_detail(batch, samples, plane, crop, detail, appearance, dice)


def box_crops(
    samples: Samples,
    pictures: Tensor,
    people: Tensor,
    size: Size,
    generator: torch.Generator,
    settings: Augment = Augment(),  # noqa: B008 - frozen
    options: TargetOptions | None = None,
    *,
    detail: Size | None = None,
) -> Batch:
    """The same round the people's boxes, with the errors of a detector, without prior keypoints."""
    dice = Dice(generator, samples.keypoints.device)
    plane = plane_of(samples, pictures, 0, dice)
    low, high = samples.boxes[people].view(-1, 2, 2).unbind(1)
    extent = ((high - low) / low.new_tensor(size[::-1])).amax(dim=1) * BOX_MARGIN
    crop = _crop_round((low + high) / 2, extent, plane, size, settings, dice)
    appearance = appearance_of(len(people), size, settings, dice)
    images = drawn(samples, plane, crop, size, appearance, dice)
    batch = _batch(samples, people, crop, images, options)
    return _with_detail(batch, samples, plane, crop, detail, appearance, dice)


def _with_detail(
    batch: Batch, samples: Samples, plane: Plane, crop: Tensor, detail: Size | None,
    appearance: Appearance, dice: Dice,
) -> Batch:  # fmt: skip
    """The batch and its crops drawn in the size `detail`, if that is one: in the same light, with
    noise of their own."""
    if detail is None:
        return batch
    size = crop.new_tensor(batch.images.shape[:1:-1])
    larger = crop.new_tensor(detail[::-1]) / size
    patch = (appearance.patch + 0.5) * larger.repeat(2) - 0.5
    shown = drawn(
        samples, plane, finer(crop, larger), detail, appearance._replace(patch=patch), dice
    )
    return replace(batch, detail=shown)


def _batch(
    samples: Samples, people: Tensor, crop: Tensor, images: Tensor, options: TargetOptions | None
) -> Batch:
    """The images of the people (N,), one each, with their labels and targets."""
    skeleton = replace(samples.skeleton, limbs=())
    options = replace(options or TargetOptions(skeleton, 4, sigma=4.0), skeleton=skeleton)
    size = images.shape[2], images.shape[3]
    its = _in_crop(samples, people, crop, size, samples.keypoints[people], samples.state[people])
    counts = torch.where(its.state == LABELLED, 1.0, 0.0) + _WEIGHT_UNLABELLED * (
        its.state == UNLABELLED
    )
    cells = size[0] // options.stride, size[1] // options.stride
    weight = counts[:, 0, :, None, None].expand(-1, -1, *cells)
    visible = its.state == LABELLED
    return batch_of(images, its.keypoints, visible, weight, weight[:, :0], options)


def _in_crop(
    samples: Samples, people: Tensor, crop: Tensor, size: Size, xy: Tensor, state: Tensor
) -> People:
    """The people (N,), one in each crop, with places xy (N, K, 2) and state (N, K) on the plane."""
    boxes, scale = samples.boxes[people, None], samples.scale[people, None]
    return in_crop(
        People(xy[:, None], state[:, None], boxes, scale), crop, size, samples.skeleton, math.inf
    )


def _made_up(samples: Samples, plane: Plane, people: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Places (N, K, 2) on the plane, and which of them were found (N, K)."""
    keypoints, state = samples.keypoints[people], samples.state[people]
    count, kinds = state.shape
    sure = state == LABELLED
    first, after = (samples.people_from[plane.pictures[:, 0] + n] for n in (0, 1))
    other = first + (dice.uniform(0, 1, count) * (after - first)).long().minimum(after - first - 1)
    mixed = dice.chance(_OTHERS[0], count, 1) & dice.chance(_OTHERS[1], count, kinds)
    mixed &= samples.state[other] == LABELLED
    xy = torch.where(mixed[..., None], samples.keypoints[other], keypoints)
    mirror = list(samples.skeleton.mirror)
    turned_round = dice.chance(_SWAPPED, count, kinds) & sure[:, mirror]
    xy = torch.where(turned_round[..., None], keypoints[:, mirror], xy)
    sigmas = 2 * samples.scale[people, None] * xy.new_tensor(samples.skeleton.sigmas)
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
    extent = ((high - low) / low.new_tensor(size[::-1])).amax(dim=1).clamp(min=MIN_EXTENT)
    return (low + high) / 2, extent / share


def _crop_round(
    middle: Tensor, extent: Tensor, plane: Plane, size: Size, settings: Augment, dice: Dice
) -> Tensor:
    """(N, 2, 3) from output pixels to the picture: round `middle` (N, 2), `extent` (N,) pixels of
    the picture to one of the crop, but for chance."""
    output = plane.size.new_tensor(size[::-1])
    wobble = torch.exp(dice.uniform(-0.3, 0.3, len(middle)))
    zoom = (extent.clamp(min=MIN_EXTENT) * wobble)[:, None]
    middle = middle + 0.08 * output * zoom * dice.uniform(-1, 1, len(middle), 2)
    linear = zoom[:, :, None] * turned(plane, settings, dice)
    corner = middle - times(linear, (output - 1) / 2)
    return torch.cat([linear, corner[..., None]], dim=2)
