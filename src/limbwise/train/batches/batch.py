"""A batch: crops, what is known of the people in them, and what a network is to make of them.

Samples -> a plane for each sample and a crop of it (crop.py) -> its pixels (pixels.py), its people
and where they count (loss_masks.py) -> targets (targets.py) -> Batch
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...data.annotations import LABELLED
from ...skeleton import Skeleton
from ..boxes import BoxTargets
from . import targets
from .augmentation import Augment, Dice
from .crop import People, Plane, boxes_in, crop_of, people_on, plane_of, regions_on
from .loss_masks import boxes_in_sight, in_crop, keypoint_weights, limb_weights, region_weights
from .pixels import appearance_of, drawn
from .samples import Samples, Size


@dataclass(frozen=True, eq=False)
class Batch:
    """N crops, made whole on the device where the pictures are.

    Attributes:
        images: (N, 3, H, W) BGR, 0..255.
        heatmaps: (N, K, h, w), the target of a network's heatmaps.
        limbs: (N, L, 2, h, w), that of its part affinity fields.
        heatmap_weight: (N, K, h, w) in 0..1, where it counts: 0 in regions that nobody labelled and
            round unsure keypoints, 1 where something is labelled after all.
        limb_weight: (N, L, h, w), the same of limbs.
        keypoints: (N, P, K, 2) in pixels of the images, from which the targets are drawn.
        visible: (N, P, K), which of them are; they may lie outside the image.
        boxes: the people of a network that finds boxes.
        prior_keypoints: (N, K, 3), x and y in pixels of the crop and 1, or 0 where there is none,
            for a network that takes them.
        detail: (N, 3, H', W'), the same crops in more pixels or fewer, for a teacher that sees them
            so.
        teacher_maps: (N, K, h, w), a teacher's heatmaps of the same crops, nan where it does not
            know the keypoint.
    """

    images: Tensor
    heatmaps: Tensor
    limbs: Tensor
    heatmap_weight: Tensor
    limb_weight: Tensor
    keypoints: Tensor
    visible: Tensor
    boxes: BoxTargets | None = None
    prior_keypoints: Tensor | None = None
    detail: Tensor | None = None
    teacher_maps: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network is given."""
        return (self.images, *(() if self.prior_keypoints is None else (self.prior_keypoints,)))


# (step, how many pictures, which share of them: rank and of how many) -> batch
Sampler = Callable[[int, int, tuple[int, int]], Batch]


@dataclass(frozen=True)
class TargetOptions:
    """What a network finds, and how that is drawn.

    Attributes:
        skeleton: the keypoints and limbs that it finds; an empty one finds boxes only.
        stride: pixels of the input to a cell of the maps.
        offset: the input pixel of the heatmaps' first cell; None: the middle of what it covers.
        sigma: of the heatmaps' Gaussians, in pixels of the input.
        width: pixels of the input from a limb to where its field ends.
        boxes: the strides at which it finds people as boxes.
    """

    skeleton: Skeleton
    stride: int = 8
    offset: float | None = None
    sigma: float = 7.0
    width: float = 8.0
    boxes: tuple[int, ...] = ()


def batch_of(
    images: Tensor,
    keypoints: Tensor,
    visible: Tensor,
    heatmap_weight: Tensor,
    limb_weight: Tensor,
    options: TargetOptions,
) -> Batch:
    """The batch of crops with these labels, its targets drawn; shapes as in `Batch`."""
    size = heatmap_weight.shape[-2], heatmap_weight.shape[-1]
    stride, middle = options.stride, (options.stride - 1) / 2
    off = 0.0 if options.offset is None else middle - options.offset  # where cells lie
    return Batch(
        images,
        targets.heatmaps(keypoints + off, visible, size, stride, options.sigma),
        targets.part_affinity_fields(
            keypoints, visible, size, options.skeleton, stride, options.width
        ),
        heatmap_weight,
        limb_weight,
        keypoints,
        visible,
    )


def augmented(
    samples: Samples,
    indices: Tensor,
    size: Size,
    generator: torch.Generator,
    settings: Augment = Augment(),  # noqa: B008 - frozen
    options: TargetOptions | None = None,
) -> Batch:
    """Crops of whole pictures with everybody in them, changed at random.

    Args:
        samples: pictures and labels.
        indices: (N,), the pictures to take; the first of them become mosaics.
        size: height and width of the crops in pixels.
        generator: where chance comes from.
        settings: how far the crops are changed.
        options: how targets are drawn; if None, all of the samples' skeleton is.
    """
    options = options or TargetOptions(samples.skeleton)
    dice = Dice(generator, samples.keypoints.device)
    plane = plane_of(samples, indices.to(samples.keypoints.device), settings.mosaic, dice)
    people = people_on(samples, plane)
    crop = crop_of(plane, people, size, settings, dice)
    images = drawn(
        samples, plane, crop, size, appearance_of(len(indices), size, settings, dice), dice
    )
    return labelled(samples, plane, people, crop, images, options)


def labelled(
    samples: Samples,
    plane: Plane,
    people: People,
    crop: Tensor,
    images: Tensor,
    options: TargetOptions,
) -> Batch:
    """The images of crops with everybody who is in them."""
    size = images.shape[2], images.shape[3]
    people = in_crop(people, crop, size, samples.skeleton, 4 * options.sigma)
    skeleton = replace(samples.skeleton, limbs=options.skeleton.limbs)
    if not options.skeleton.keypoints:
        skeleton = options.skeleton
        people = replace(people, keypoints=people.keypoints[:, :, :0], state=people.state[:, :, :0])
    stride, cells = options.stride, (size[0] // options.stride, size[1] // options.stride)
    weights = region_weights(samples, plane, crop, cells, stride, options.sigma)
    batch = batch_of(
        images,
        people.keypoints,
        people.state == LABELLED,
        keypoint_weights(people, weights, skeleton, stride, options.sigma),
        limb_weights(people, weights, skeleton, stride, options.width),
        replace(options, skeleton=skeleton),
    )
    if not options.boxes:
        return batch
    seen = boxes_in_sight(people.boxes, boxes_in(regions_on(samples, plane), crop), size)
    return replace(batch, boxes=BoxTargets(*seen, options.boxes))
