"""Augmented batches, made whole on the device where the pictures are.

Labels, Pictures -> Samples -> a plane for each sample: one picture, or four that meet in a point
-> a crop of it: ONE affine map from output pixels to the plane, used for picture, keypoints and
masks -> other light, noise, a patch cut out -> Batch

Every random number comes from the caller's generator, on its device: with a CPU generator a GPU
makes the batches that the CPU makes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..skeleton import Skeleton
from ..view import GREY
from .coco import ABSENT, SURE, UNSURE, Labels, Pictures
from .targets import heatmaps, limb_heatmaps

Size = tuple[int, int]  # height, width

_AT_ONCE = 2**17  # pixels that a CPU draws at a time: what its cache holds
_LUMA = (0.114, 0.587, 0.299)  # of B, G, R (ITU-R BT.601)


@dataclass(frozen=True)
class Augment:
    """How far the pictures are changed; shares are probabilities, 0 turns a change off."""

    person: tuple[float, float] = (0.1, 1.2)  # long side of a person over the height of the crop
    on_person: float = 0.9  # share of the crops that are made round a person
    shift: float = 0.3  # of the crop, the person's way from its centre at most
    enlarge: float = 2.0  # output pixels per pixel of the picture at most
    cover: float = 0.8  # of the crop's side, what the picture covers at least
    stretch: float = 0.15  # x and y, each for itself, up to this much longer or shorter
    squares: float = 1.0  # square pictures are widened up to so much: 1.5 where sets are squeezed
    turn: float = 20.0  # degrees, standard deviation
    turn_most: float = 45.0
    turn_any: float = 0.05  # share turned by any angle
    flip: float = 0.5
    mosaic: float = 0.25  # share of samples made of four pictures
    brightness: float = 0.1  # of white
    contrast: float = 0.25
    saturation: float = 0.4
    tint: float = 0.1  # each colour for itself
    gamma: float = 0.3  # at 1, middle tones would be a quarter of white lighter or darker
    grey: float = 0.05
    soften: float = 0.15
    noise: float = 0.2
    noise_most: float = 12.0  # standard deviation, of 255
    cut_out: float = 0.1
    cut_out_most: float = 0.4  # of the crop's side


@dataclass(frozen=True, eq=False)
class Samples:
    """N pictures and their labels on one device, places in pixels of the pictures as stored.

    keypoints (P, K, 2), state (P, K); boxes (P, 4) left top right bottom; spread (P,) is the root
    of the area, for OKS; regions (R, 4); people_from and regions_from (N + 1,) as in `Labels`.
    """

    skeleton: Skeleton
    pictures: Pictures
    keypoints: Tensor
    state: Tensor
    boxes: Tensor
    spread: Tensor
    people_from: Tensor
    regions: Tensor
    regions_from: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


def samples(labels: Labels, pictures: Pictures, device: str | torch.device = "cpu") -> Samples:
    """The labels and their pictures; those without a picture that could be read are left out."""
    good = (pictures.sizes[:, 0, 0] > 0).nonzero()[:, 0]
    labels, pictures = labels.subset(good.tolist()), pictures.subset(good).to(device)
    scales = pictures.scales
    count = len(labels)

    def on_device(values: object) -> Tensor:
        return torch.as_tensor(values, device=device)

    people_from, regions_from = on_device(labels.people_from), on_device(labels.regions_from)
    of = torch.arange(count, device=device)
    person, region = (of.repeat_interleave(begin.diff()) for begin in (people_from, regions_from))
    return Samples(
        labels.skeleton,
        pictures,
        _resized(on_device(labels.keypoints), scales[person, None]),
        on_device(labels.state),
        _resized(on_device(labels.boxes), scales[person].repeat(1, 2)),
        on_device(labels.areas).sqrt() * scales[person].prod(dim=1).sqrt(),
        people_from,
        _resized(on_device(labels.regions), scales[region].repeat(1, 2)),
        regions_from,
    )


def _resized(xy: Tensor, scale: Tensor) -> Tensor:
    return (xy + 0.5) * scale - 0.5


@dataclass(frozen=True, eq=False)
class Batch:
    """images (N, 3, H, W) uint8 BGR; keypoints (N, P, K, 2) in their pixels, of which only those
    `visible` (N, P, K) are to be drawn, also outside the image.

    Loss weights 0..1: weights (N, h, w) is 0 in regions that nobody labelled; keypoint_weights
    (N, K, h, w) and limb_weights (N, L, h, w) are that, 0 round unsure keypoints too, and 1 where
    something is labelled after all.
    """

    images: Tensor
    keypoints: Tensor
    visible: Tensor
    weights: Tensor
    keypoint_weights: Tensor
    limb_weights: Tensor


def augmented(
    samples: Samples,
    indices: Tensor,
    size: Size,
    generator: torch.Generator,
    settings: Augment = Augment(),
    *,
    stride: int = 8,
    sigma: float = 7.0,
    width: float = 8.0,
) -> Batch:
    """The samples indices (N,) in crops of `size`, changed at random; the first of them are the
    mosaics. `sigma` and `width`, in pixels, are those of the targets (targets.py)."""
    dice = _Dice(generator, samples.keypoints.device)
    plane = _plane(samples, indices.to(samples.keypoints.device), settings.mosaic, dice)
    people = _people(samples, plane)
    crop = _crop(plane, people, size, settings, dice)
    images = _drawn(samples, plane, crop, size, _look(len(indices), size, settings, dice), dice)
    return _batch(samples, plane, people, crop, images, (stride, sigma, width))


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
    dice = _Dice(torch.Generator(), samples.keypoints.device)
    plane = _plane(samples, indices.to(samples.keypoints.device), 0, dice)
    fit = (plane.size / plane.size.new_tensor(size[::-1])).amax(dim=1)
    linear = torch.diag_embed(fit[:, None].expand(-1, 2))
    crop = torch.cat([linear, (fit / 2 - 0.5)[:, None, None].expand(-1, 2, 1)], dim=2)
    images = _drawn(samples, plane, crop, size, None, dice)
    return _batch(samples, plane, _people(samples, plane), crop, images, (stride, sigma, width))


@dataclass(frozen=True)
class _Dice:
    generator: torch.Generator
    device: torch.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return low + (high - low) * drawn.to(self.device)

    def normal(self, *shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=self.generator, device=self.generator.device)
        return drawn.to(self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        return self.uniform(0, 1, *shape) < share


# The plane.


@dataclass(frozen=True, eq=False)
class _Plane:
    """For each of N samples a plane with T pictures, 1 or 4 (N, T), of which some are used (N, T).

    A point c of the plane is c * scale + offset (N, T), (N, T, 2) in stored pixels. Four pictures
    meet where x and y are `cut` (N,), infinite for one picture; from corner (N, 2) on the plane is
    as large as size (N, 2), width and height.
    """

    pictures: Tensor
    used: Tensor
    scale: Tensor
    offset: Tensor
    cut: Tensor
    corner: Tensor
    size: Tensor


def _plane(samples: Samples, indices: Tensor, mosaic: float, dice: _Dice) -> _Plane:
    count = len(indices)
    mosaics = math.floor(count * mosaic + float(dice.uniform(0, 1))) if mosaic else 0
    others = dice.uniform(0, len(samples), count, 3 if mosaics else 0).long()
    others = others.clamp(max=len(samples) - 1)  # float32 rounds up now and then
    pictures = torch.cat([indices[:, None], others], dim=1)
    sides = samples.pictures.sizes[pictures, 0].flip(2).float()
    divided = (torch.arange(count, device=indices.device) < mosaics)[:, None]
    first = torch.arange(pictures.shape[1], device=indices.device) == 0
    area = sides.prod(dim=2)
    scale = torch.where(divided, (area / area[:, :1]).sqrt(), 1)
    before = torch.tensor([[1, 1], [0, 1], [1, 0], [0, 0]], device=indices.device)
    before = before[: pictures.shape[1]] * divided[:, :, None]
    offset = before * sides - 0.5 * divided[:, :, None]
    seen = sides / scale[..., None]
    corner = -(before * seen).amax(dim=1) - 0.5 * ~divided
    after = ((1 - before) * seen * (divided | first)[..., None]).amax(dim=1)
    cut = torch.where(divided[:, 0], 0.0, math.inf)
    size = after - torch.where(divided, corner, 0)
    return _Plane(pictures, divided | first, scale, offset, cut, corner, size)


@dataclass(frozen=True, eq=False)
class _People:
    """keypoints (N, P, K, 2), state (N, P, K), ABSENT where a sample has fewer people, boxes
    (N, P, 4) and spread (N, P), all on the plane or all in the crop."""

    keypoints: Tensor
    state: Tensor
    boxes: Tensor
    spread: Tensor


def _people(samples: Samples, plane: _Plane) -> _People:
    """Those of all pictures on the plane."""
    rows, real = _rows(samples.people_from, plane)
    scale, offset = plane.scale[:, :, None], plane.offset[:, :, None]
    keypoints = (samples.keypoints[rows] - offset[:, :, :, None]) / scale[..., None, None]
    boxes = (samples.boxes[rows] - offset.repeat(1, 1, 1, 2)) / scale[..., None]
    return _People(
        keypoints.flatten(1, 2),
        (samples.state[rows] * real[..., None]).flatten(1, 2),
        boxes.flatten(1, 2),
        (samples.spread[rows] / scale).flatten(1, 2),
    )


def _rows(begin: Tensor, plane: _Plane) -> tuple[Tensor, Tensor]:
    """Rows (N, T, P) of what belongs to the pictures of a plane, and which of them are real."""
    first = begin[plane.pictures]
    counts = (begin[plane.pictures + 1] - first) * plane.used
    number = torch.arange(int(counts.max()), device=begin.device)
    real = number < counts[..., None]
    return torch.where(real, first[..., None] + number, 0), real


# The crop: a matrix (N, 2, 3) from output pixels to the plane.


def _crop(plane: _Plane, people: _People, size: Size, settings: Augment, dice: _Dice) -> Tensor:
    output = plane.size.new_tensor(size[::-1])
    middle, person = _looked_at(plane, people, settings.on_person, dice)
    zoom = _zoom(plane, person, output, settings, dice)
    linear = zoom[:, None, None] * _turned(plane, settings, dice)
    shift = settings.shift * output.min() * zoom[:, None]
    middle = middle + shift * dice.uniform(-1, 1, len(zoom), 2)
    half = _times(linear.abs(), output / 2).minimum(plane.size / 2)
    inner = plane.corner + 0.7 * half  # farther out, too much of the crop would be grey
    middle = middle.maximum(inner).minimum(inner + plane.size - 1.4 * half)
    corner = middle - _times(linear, (output - 1) / 2)
    return torch.cat([linear, corner[..., None]], dim=2)


def _times(matrix: Tensor, xy: Tensor) -> Tensor:
    """(..., 2, 2) times (..., 2), without the rounding that GPUs and autocast allow themselves in
    products of matrices."""
    return (matrix * xy[..., None, :]).sum(dim=-1)


def _area(crop: Tensor) -> Tensor:
    """(N,) plane pixels per output pixel, negative if it is a mirror image."""
    return crop[:, 0, 0] * crop[:, 1, 1] - crop[:, 0, 1] * crop[:, 1, 0]


def _looked_at(plane: _Plane, people: _People, share: float, dice: _Dice) -> tuple[Tensor, Tensor]:
    """A point of the plane (N, 2) and the size of what is there (N,): mostly a person, those with
    more keypoints more often."""
    count = len(plane.size)
    lot, on_person = dice.uniform(0, 1, count, 1), dice.chance(share, count)
    anywhere = plane.corner + plane.size * dice.uniform(0, 1, count, 2)
    half = plane.size.amax(dim=1) / 2
    if not people.state.shape[1]:
        return anywhere, half
    sure = (people.state == SURE).sum(dim=2).cumsum(dim=1)
    chosen = (sure <= lot * sure[:, -1:]).sum(dim=1).clamp(max=sure.shape[1] - 1)
    box = people.boxes[torch.arange(count, device=lot.device), chosen]
    on_person &= sure[:, -1] > 0
    middle = torch.where(on_person[:, None], (box[:, :2] + box[:, 2:]) / 2, anywhere)
    return middle, torch.where(on_person, (box[:, 2:] - box[:, :2]).amax(dim=1), half)


def _zoom(plane: _Plane, person: Tensor, output: Tensor, settings: Augment, dice: _Dice) -> Tensor:
    """(N,) plane pixels per output pixel: the person's size is spread evenly, on a logarithmic
    scale, over as much of its range as leaves neither coarse pixels nor much grey."""
    least = torch.full_like(person, 1 / settings.enlarge)
    most = ((plane.size / output).amax(dim=1) / settings.cover).maximum(least)
    small, large = settings.person
    low = (person / (large * output[1])).maximum(least).minimum(most)
    high = (person / (small * output[1])).maximum(least).minimum(most)
    return low * (high / low) ** dice.uniform(0, 1, len(person))


def _turned(plane: _Plane, settings: Augment, dice: _Dice) -> Tensor:
    """(N, 2, 2): the output mirrored, then turned, then stretched along the picture's sides."""
    count = len(plane.size)
    most = math.log(1 + settings.stretch)
    stretch = torch.exp(dice.uniform(-most, most, count, 2))
    square = torch.isclose(plane.size[:, 0], plane.size[:, 1])
    stretch[:, 0] /= torch.where(square, settings.squares ** dice.uniform(0, 1, count), 1)
    degrees = (settings.turn * dice.normal(count)).clamp(-settings.turn_most, settings.turn_most)
    by_any = dice.chance(settings.turn_any, count)
    angle = torch.where(by_any, dice.uniform(-180, 180, count), degrees).deg2rad()
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(count, 2, 2)
    turn[:, :, 0] *= torch.where(dice.chance(settings.flip, count), -1, 1)[:, None]
    return stretch[:, :, None] * turn


# The picture.


class _Look(NamedTuple):
    """Of N samples: colours are mixed (N, 3, 3) and lit (N, 3, 1), middle tones bent (N, 1, 1),
    grain (N, 1, 1) is the strength of noise; blur (N, 1) lowers the level; what lies in patch
    (N, 4), left top right bottom, is painted (N, 3, 1)."""

    mix: Tensor
    light: Tensor
    bend: Tensor
    grain: Tensor
    blur: Tensor
    patch: Tensor
    paint: Tensor

    def of(self, part: slice) -> "_Look":
        return _Look(*(value[part] for value in self))


def _look(count: int, size: Size, settings: Augment, dice: _Dice) -> _Look:
    def around(middle: float, most: float, *shape: int) -> Tensor:
        return dice.uniform(middle - most, middle + most, count, *shape)

    contrast, colour = around(1, settings.contrast, 1, 1), around(1, settings.saturation, 1, 1)
    colour = colour * ~dice.chance(settings.grey, count, 1, 1)
    eye = torch.eye(3, device=dice.device)
    mix = torch.lerp(eye.new_tensor(_LUMA).expand(3, 3), eye, colour) * contrast
    light = 255 * around(0, settings.brightness, 1, 1) + 128 * (1 - contrast)
    grain = dice.uniform(0, settings.noise_most, count, 1, 1)
    half = dice.uniform(0.03, settings.cut_out_most / 2, count, 2) * dice.chance(
        settings.cut_out, count, 1
    )
    output = half.new_tensor(size[::-1])
    middle = output * dice.uniform(0, 1, count, 2)
    return _Look(
        mix * around(1, settings.tint, 1, 3),
        light.expand(count, 3, 1),
        around(0, settings.gamma, 1, 1) / 255,
        grain * dice.chance(settings.noise, count, 1, 1),
        dice.chance(settings.soften, count, 1).long(),
        torch.cat([middle - half * output, middle + half * output], dim=1),
        dice.uniform(0, 255, count, 3, 1),
    )


def _drawn(
    samples: Samples, plane: _Plane, crop: Tensor, size: Size, look: _Look | None, dice: _Dice
) -> Tensor:
    """images (N, 3, H, W) uint8."""
    images = torch.empty(len(crop), 3, *size, dtype=torch.uint8, device=crop.device)
    noise = dice.normal(3, size[0] * size[1]) if look else None
    maps, starts = _to_pixels(samples, plane, crop, look)
    at_once = len(crop) if crop.is_cuda else max(_AT_ONCE // (size[0] * size[1]), 1)
    for begin in range(0, len(crop), at_once):
        part = slice(begin, begin + at_once)
        xy = _moved(_grid(size, 1, crop), crop[part])
        place = _picture_at(xy, plane.used[part], plane.cut[part])
        drawn, inside = _sampled(samples.pictures.pixels, xy, maps[part], starts[part], place)
        if look and noise is not None:
            drawn = _changed(drawn, look.of(part), noise)
        drawn = torch.where(inside.flatten(1)[:, None], drawn, GREY[0])
        if look:
            drawn = _patched(drawn, look.of(part), size)
        images[part] = (drawn + 0.5).view(-1, 3, *size)
    return images


def _grid(size: Size, stride: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """x (1, w) and y (h, 1) of the centres of the cells of `stride` pixels."""
    y, x = (torch.arange(n, device=like.device) * stride + (stride - 1) / 2 for n in size)
    return x[None], y[:, None]


def _moved(grid: tuple[Tensor, Tensor], matrix: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (N, h, w) of the grid under the matrices (N, 2, 3)."""
    x, y = grid
    (a, b, c), (d, e, f) = (row.unbind(1) for row in matrix[..., None, None].unbind(1))
    return a * x + (b * y + c), d * x + (e * y + f)


def _picture_at(xy: tuple[Tensor, Tensor], used: Tensor, cut: Tensor) -> Tensor | None:
    """Which picture, as n * T + t, is at points of the plane (N, h, w); None if it is the first
    everywhere."""
    if not used[:, 1:].any():
        return None
    cut = cut[:, None, None]
    quarter = (xy[0] > cut) + 2 * (xy[1] > cut)
    return quarter + used.shape[1] * torch.arange(len(used), device=cut.device)[:, None, None]


def _to_pixels(
    samples: Samples, plane: _Plane, crop: Tensor, look: _Look | None
) -> tuple[Tensor, Tensor]:
    """From the plane to the level of each picture that has the crop's resolution: (N, T, 6) factors
    of x and y, what is added to them, width and height; and its first pixel (N, T)."""
    pictures = samples.pictures
    shrunk = plane.scale * _area(crop).abs().sqrt()[:, None]
    level = shrunk.log2().round().clamp(min=0).long() + (look.blur if look else 0)
    level = level.clamp(max=pictures.sizes.shape[1] - 1)
    side = pictures.sizes[plane.pictures, level].flip(2).float()
    ratio = side / pictures.sizes[plane.pictures, 0].flip(2)
    added = (plane.offset + 0.5) * ratio - 0.5
    maps = torch.cat([plane.scale[..., None] * ratio, added, side], dim=2)
    return maps, pictures.starts[plane.pictures, level]


def _sampled(
    pixels: Tensor, xy: tuple[Tensor, Tensor], maps: Tensor, start: Tensor, place: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Bilinear: (N, 3, H * W) in 0..255 and whether there is a picture, (N, H, W).

    On the last row and column the weight of what lies beyond, a pixel of the next row, is 0.
    """
    if place is None:
        maps, start = maps[:, 0, None, None], start[:, 0, None, None]
    else:
        maps = maps.flatten(0, 1).index_select(0, place.flatten()).view(*place.shape, 6)
        start = start.flatten().index_select(0, place.flatten()).view(place.shape)
    scale_x, scale_y, added_x, added_y, width, height = maps.unbind(3)
    x, y = xy[0] * scale_x + added_x, xy[1] * scale_y + added_y
    inside = (x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5)
    x, y = x.clamp(min=0).minimum(width - 1), y.clamp(min=0).minimum(height - 1)
    left, top = x.floor(), y.floor()
    row = width.long()
    first = start + top.long() * row + left.long()
    right, below = (x - left).flatten(1)[:, None], (y - top).flatten(1)[:, None]

    def at(places: Tensor) -> Tensor:
        found = pixels.index_select(0, places.flatten()).view(len(places), -1, 3)
        return found.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)

    upper = torch.lerp(at(first), at(first + 1), right)
    lower = torch.lerp(at(first + row), at(first + row + 1), right)
    return torch.lerp(upper, lower, below), inside


def _changed(drawn: Tensor, look: _Look, noise: Tensor) -> Tensor:
    """Other colours and grain for (N, 3, H * W) in 0..255."""
    drawn = torch.baddbmm(look.light, look.mix, drawn).clamp_(0, 255)
    drawn = drawn * (1 + look.bend * (255 - drawn))
    return drawn.add_(look.grain * noise).clamp_(0, 255)


def _patched(drawn: Tensor, look: _Look, size: Size) -> Tensor:
    x, y = _grid(size, 1, drawn)
    left, top, right, bottom = look.patch[..., None, None].unbind(1)
    patch = (x > left) & (x < right) & (y > top) & (y < bottom)
    return torch.where(patch.flatten(1)[:, None], look.paint, drawn)


# The labels.


def _batch(
    samples: Samples,
    plane: _Plane,
    people: _People,
    crop: Tensor,
    images: Tensor,
    targets: tuple[int, float, float],
) -> Batch:
    stride, sigma, width = targets
    size = images.shape[2] // stride, images.shape[3] // stride
    people = _in_crop(people, crop, images.shape[2:], samples.skeleton, 4 * sigma)
    weights = _weights(samples, plane, crop, size, stride, sigma)
    visible = people.state == SURE
    return Batch(
        images,
        people.keypoints,
        visible,
        weights,
        _keypoint_weights(people, weights, samples.skeleton, stride, sigma),
        _limb_weights(people, weights, samples.skeleton, stride, width),
    )


def _in_crop(
    people: _People, crop: Tensor, size: Sequence[int], skeleton: Skeleton, margin: float
) -> _People:
    """The people in output pixels, left and right swapped where the crop is a mirror image; only
    as many as are, at least in part, in sight."""
    area = _area(crop)
    (a, b), (c, d) = (row.unbind(1) for row in crop[:, :, :2].unbind(1))
    inverse = (
        torch.stack([d, -b, -c, a], dim=1).view(-1, 1, 1, 2, 2) / area[:, None, None, None, None]
    )
    xy = _times(inverse, people.keypoints - crop[:, None, None, :, 2])
    mirrored = (area < 0)[:, None, None]
    mirror = list(skeleton.mirror)
    xy = torch.where(mirrored[..., None], xy[:, :, mirror], xy)
    state = torch.where(mirrored, people.state[:, :, mirror], people.state)
    absent = (state == ABSENT)[..., None]
    low = xy.masked_fill(absent, math.inf).amin(dim=2)
    high = xy.masked_fill(absent, -math.inf).amax(dim=2)
    beyond = xy.new_tensor(tuple(size)[::-1]) - 1 + margin
    near = ((low < beyond) & (high > -margin)).all(dim=2)
    count = int(near.sum(dim=1).max()) if near.shape[1] else 0
    kept = torch.argsort(~near, dim=1, stable=True)[:, :count]
    rows = torch.arange(len(kept), device=kept.device)[:, None]
    spread = people.spread / area.abs().sqrt()[:, None]
    state = state * near[..., None]
    return _People(xy[rows, kept], state[rows, kept], people.boxes[rows, kept], spread[rows, kept])


def _weights(
    samples: Samples, plane: _Plane, crop: Tensor, size: Size, stride: int, spill: float
) -> Tensor:
    """(N, h, w), 0 in regions and within `spill` output pixels of them."""
    rows, real = _rows(samples.regions_from, plane)
    scale, offset = plane.scale[:, :, None], plane.offset[:, :, None]
    regions = (samples.regions[rows] - offset.repeat(1, 1, 1, 2)) / scale[..., None]
    regions = regions.masked_fill(~real[..., None], math.nan).flatten(1, 2)
    margin = spill * _area(crop).abs().sqrt()[:, None, None, None]
    x, y = (place[:, None] for place in _moved(_grid(size, stride, crop), crop))
    left, top, right, bottom = regions[..., None, None].unbind(2)
    across = (x > left - margin) & (x < right + margin)
    masked = across & (y > top - margin) & (y < bottom + margin)
    return torch.where(masked.any(dim=1), 0.0, 1.0)


def _keypoint_weights(
    people: _People, weights: Tensor, skeleton: Skeleton, stride: int, sigma: float
) -> Tensor:
    """(N, K, h, w): those of the regions, 0 where an unsure keypoint may be, 1 at sure ones."""

    size = weights.shape[1], weights.shape[2]

    def within(radius: Tensor, state: int) -> Tensor:
        shown = people.state == state
        return _plateau(heatmaps(people.keypoints, shown, size, stride, radius / _HALF, _FOOT))

    unsure = within(_doubt(people, skeleton).clamp(min=2.5 * sigma), UNSURE)
    sure = within(weights.new_tensor(2 * sigma), SURE)
    return (1 - unsure).minimum(weights[:, None]).maximum(sure)


def _limb_weights(
    people: _People, weights: Tensor, skeleton: Skeleton, stride: int, width: float
) -> Tensor:
    """(N, L, h, w): the same for limbs, unsure if one of their ends is."""
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
    unsure = within(doubt.clamp(min=1.5 * width), UNSURE)
    sure = within(weights.new_tensor(1.5 * width), SURE)
    return (1 - unsure).minimum(weights[:, None]).maximum(sure)


def _doubt(people: _People, skeleton: Skeleton) -> Tensor:
    """(N, P, K) pixels: two OKS sigmas, farther than which people who label seldom disagree."""
    return 2 * people.spread[..., None] * people.spread.new_tensor(skeleton.sigmas)


# A plateau has full height to 0.72, half at 1 and none beyond 1.32 of its radius.
_HALF = math.sqrt(2 * math.log(2))  # sigmas away a Gaussian has half its height
_FOOT = math.sqrt(2 * math.log(1 / 0.3))  # sigmas away it has 0.3


def _plateau(heat: Tensor) -> Tensor:
    """1 where a Gaussian is above 0.7, 0 where it is below 0.3."""
    return (2.5 * heat - 0.75).clamp(0, 1)
