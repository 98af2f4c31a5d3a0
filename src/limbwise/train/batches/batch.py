"""Augmented batches, made whole on the device where the pictures are.

Samples -> a plane for each sample and a crop of it (crop.py) -> its pixels (pixels.py) and its
labels (loss_masks.py) -> Batch
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...data.annotations import SURE
from ...skeleton import Skeleton
from .augmentation import Augment, Dice
from .crop import People, Plane, boxes_in, crop_of, people_on, plane_of, regions_on
from .loss_masks import boxes_in_sight, in_crop, keypoint_weights, limb_weights, region_weights
from .pixels import drawn, look_of
from .samples import Samples, Size


@dataclass(frozen=True, eq=False)
class Batch:
    """images (N, 3, H, W) uint8 BGR; keypoints (N, P, K, 2) in their pixels, of which only those
    `visible` (N, P, K) are to be drawn, also outside the image.

    Loss weights 0..1: weights (N, h, w) is 0 in regions that nobody labelled; keypoint_weights
    (N, K, h, w) and limb_weights (N, L, h, w) are that, 0 round unsure keypoints too, and 1 where
    something is labelled after all.

    boxes (N, P, 4) of the people, as far as the crop shows them, and `ignored` (N, R, 4), regions
    that are neither people nor background; both left, top, right, bottom, nan for nobody.
    """

    images: Tensor
    keypoints: Tensor
    visible: Tensor
    weights: Tensor
    keypoint_weights: Tensor
    limb_weights: Tensor
    boxes: Tensor
    ignored: Tensor


def augmented(
    samples: Samples,
    indices: Tensor,
    size: Size,
    generator: torch.Generator,
    settings: Augment = Augment(),  # noqa: B008 - frozen
    *,
    stride: int = 8,
    sigma: float = 7.0,
    width: float = 8.0,
    maps: bool = True,
) -> Batch:
    """The samples indices (N,) in crops of `size`, changed at random; the first of them are the
    mosaics. `sigma` and `width`, in pixels, are those of the targets (targets.py). Without `maps`
    the batch has boxes only, and no keypoints or limbs."""
    dice = Dice(generator, samples.keypoints.device)
    plane = plane_of(samples, indices.to(samples.keypoints.device), settings.mosaic, dice)
    people = people_on(samples, plane)
    crop = crop_of(plane, people, size, settings, dice)
    images = drawn(samples, plane, crop, size, look_of(len(indices), size, settings, dice), dice)
    return labelled(samples, plane, people, crop, images, (stride, sigma, width), maps)


def letterboxed(
    samples: Samples,
    indices: Tensor,
    size: Size,
    *,
    stride: int = 8,
    sigma: float = 7.0,
    width: float = 8.0,
) -> Batch:
    """The samples indices (N,) unchanged, as large as fits into `size`, padded right and below."""
    dice = Dice(torch.Generator(), samples.keypoints.device)
    plane = plane_of(samples, indices.to(samples.keypoints.device), 0, dice)
    fit = (plane.size / plane.size.new_tensor(size[::-1])).amax(dim=1)
    linear = torch.diag_embed(fit[:, None].expand(-1, 2))
    crop = torch.cat([linear, (fit / 2 - 0.5)[:, None, None].expand(-1, 2, 1)], dim=2)
    images = drawn(samples, plane, crop, size, None, dice)
    return labelled(samples, plane, people_on(samples, plane), crop, images, (stride, sigma, width))


def labelled(
    samples: Samples,
    plane: Plane,
    people: People,
    crop: Tensor,
    images: Tensor,
    targets: tuple[int, float, float],
    maps: bool = True,
) -> Batch:
    stride, sigma, width = targets
    size = images.shape[2] // stride, images.shape[3] // stride
    people = in_crop(people, crop, images.shape[2:], samples.skeleton, 4 * sigma)
    skeleton = samples.skeleton if maps else Skeleton((), (), ())
    if not maps:
        people = replace(people, keypoints=people.keypoints[:, :, :0], state=people.state[:, :, :0])
    weights = region_weights(samples, plane, crop, size, stride, sigma)
    visible = people.state == SURE
    return Batch(
        images,
        people.keypoints,
        visible,
        weights,
        keypoint_weights(people, weights, skeleton, stride, sigma),
        limb_weights(people, weights, skeleton, stride, width),
        *boxes_in_sight(people.boxes, boxes_in(regions_on(samples, plane), crop), images.shape[2:]),
    )
