"""From samples to crops: what lies on the plane that is cropped, and where the crop lies on it.

Samples -> a plane for each: one picture, or four that meet in a point -> a crop of it: ONE affine
map from output pixels to the plane, used for picture, keypoints and masks.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.annotations import LABELLED
from .augmentation import Augment, Dice
from .samples import Samples, Size


@dataclass(frozen=True, eq=False)
class Plane:
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


def plane_of(samples: Samples, indices: Tensor, mosaic: float, dice: Dice) -> Plane:
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
    return Plane(pictures, divided | first, scale, offset, cut, corner, size)


@dataclass(frozen=True, eq=False)
class People:
    """keypoints (N, P, K, 2), state (N, P, K), boxes (N, P, 4) and scale (N, P), all on the plane
    or all in the crop. Where a sample has fewer people state is UNLABELLED and boxes are nan."""

    keypoints: Tensor
    state: Tensor
    boxes: Tensor
    scale: Tensor


def people_on(samples: Samples, plane: Plane) -> People:
    """Those of all pictures on the plane."""
    rows, real = rows_of(samples.people_from, plane)
    scale, offset = plane.scale[:, :, None], plane.offset[:, :, None]
    keypoints = (samples.keypoints[rows] - offset[:, :, :, None]) / scale[..., None, None]
    boxes = (samples.boxes[rows] - offset.repeat(1, 1, 1, 2)) / scale[..., None]
    return People(
        keypoints.flatten(1, 2),
        (samples.state[rows] * real[..., None]).flatten(1, 2),
        boxes.masked_fill(~real[..., None], math.nan).flatten(1, 2),
        (samples.scale[rows] / scale).flatten(1, 2),
    )


def regions_on(samples: Samples, plane: Plane) -> Tensor:
    """The regions (N, R, 4) of all pictures on the plane, nan where a sample has fewer."""
    rows, real = rows_of(samples.regions_from, plane)
    scale, offset = plane.scale[:, :, None], plane.offset[:, :, None]
    regions = (samples.regions[rows] - offset.repeat(1, 1, 1, 2)) / scale[..., None]
    return regions.masked_fill(~real[..., None], math.nan).flatten(1, 2)


def rows_of(begin: Tensor, plane: Plane) -> tuple[Tensor, Tensor]:
    """Rows (N, T, P) of what belongs to the pictures of a plane, and which of them are real."""
    first = begin[plane.pictures]
    counts = (begin[plane.pictures + 1] - first) * plane.used
    number = torch.arange(int(counts.max()), device=begin.device)
    real = number < counts[..., None]
    return torch.where(real, first[..., None] + number, 0), real


# The crop: a matrix (N, 2, 3) from output pixels to the plane.


def crop_of(plane: Plane, people: People, size: Size, settings: Augment, dice: Dice) -> Tensor:
    output = plane.size.new_tensor(size[::-1])
    middle, person = _centred_on(plane, people, settings.on_person, dice)
    zoom = _zoom(plane, person, output, settings, dice)
    linear = zoom[:, None, None] * turned(plane, settings, dice)
    shift = settings.shift * output.min() * zoom[:, None]
    middle = middle + shift * dice.uniform(-1, 1, len(zoom), 2)
    half = times(linear.abs(), output / 2).minimum(plane.size / 2)
    inner = plane.corner + 0.7 * half  # farther out, too much of the crop would be grey
    middle = middle.maximum(inner).minimum(inner + plane.size - 1.4 * half)
    corner = middle - times(linear, (output - 1) / 2)
    return torch.cat([linear, corner[..., None]], dim=2)


def times(matrix: Tensor, xy: Tensor) -> Tensor:
    """(..., 2, 2) times (..., 2), without the rounding that GPUs and autocast allow themselves in
    products of matrices."""
    return (matrix * xy[..., None, :]).sum(dim=-1)


def finer(crop: Tensor, larger: Tensor) -> Tensor:
    """The same part of the plane in `larger` (2,) times as many pixels across and down."""
    linear = crop[:, :, :2]
    corner = crop[:, :, 2] + times(linear, 0.5 / larger - 0.5)
    return torch.cat([linear / larger, corner[..., None]], dim=2)


def inverse_of(crop: Tensor) -> Tensor:
    """(N, 2, 2): from the plane to output pixels, less what is added."""
    (a, b), (c, d) = (row.unbind(1) for row in crop[:, :, :2].unbind(1))
    return torch.stack([d, -b, -c, a], dim=1).view(-1, 2, 2) / area_of(crop)[:, None, None]


def boxes_in(boxes: Tensor, crop: Tensor) -> Tensor:
    """Boxes (N, P, 4) of the plane to the upright boxes round them in output pixels."""
    corners = boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]].view(*boxes.shape[:2], 4, 2)
    places = times(inverse_of(crop)[:, None, None], corners - crop[:, None, None, :, 2])
    return torch.cat([places.amin(dim=2), places.amax(dim=2)], dim=2)


def area_of(crop: Tensor) -> Tensor:
    """(N,) plane pixels per output pixel, negative if it is a mirror image."""
    return crop[:, 0, 0] * crop[:, 1, 1] - crop[:, 0, 1] * crop[:, 1, 0]


def _centred_on(plane: Plane, people: People, share: float, dice: Dice) -> tuple[Tensor, Tensor]:
    """A point of the plane (N, 2) and the size of what is there (N,): mostly a person, those with
    more keypoints more often."""
    count = len(plane.size)
    lot, on_person = dice.uniform(0, 1, count, 1), dice.chance(share, count)
    anywhere = plane.corner + plane.size * dice.uniform(0, 1, count, 2)
    half = plane.size.amax(dim=1) / 2
    if not people.state.shape[1]:
        return anywhere, half
    sure = (people.state == LABELLED).sum(dim=2)
    if not people.state.shape[2]:  # boxes are all that is known
        sure = 1 - people.boxes[..., 0].isnan().int()
    sure = sure.cumsum(dim=1)
    chosen = (sure <= lot * sure[:, -1:]).sum(dim=1).clamp(max=sure.shape[1] - 1)
    box = people.boxes[torch.arange(count, device=lot.device), chosen]
    on_person &= sure[:, -1] > 0
    middle = torch.where(on_person[:, None], (box[:, :2] + box[:, 2:]) / 2, anywhere)
    return middle, torch.where(on_person, (box[:, 2:] - box[:, :2]).amax(dim=1), half)


def _zoom(plane: Plane, person: Tensor, output: Tensor, settings: Augment, dice: Dice) -> Tensor:
    """(N,) plane pixels per output pixel: the person's size is distributed evenly, on a logarithmic
    scale, over as much of its range as leaves neither coarse pixels nor much grey."""
    low_limit = torch.full_like(person, 1 / settings.enlarge)
    high_limit = ((plane.size / output).amax(dim=1) / settings.cover).maximum(low_limit)
    small, large = settings.person
    low = (person / (large * output[1])).maximum(low_limit).minimum(high_limit)
    high = (person / (small * output[1])).maximum(low_limit).minimum(high_limit)
    return low * (high / low) ** dice.uniform(0, 1, len(person))


def turned(plane: Plane, settings: Augment, dice: Dice) -> Tensor:
    """(N, 2, 2): the output mirrored, then turned, then stretched along the picture's sides."""
    count = len(plane.size)
    limit = math.log(1 + settings.stretch)
    stretch = torch.exp(dice.uniform(-limit, limit, count, 2))
    square = torch.isclose(plane.size[:, 0], plane.size[:, 1])
    stretch[:, 0] /= torch.where(square, settings.squares ** dice.uniform(0, 1, count), 1)
    degrees = (settings.turn * dice.normal(count)).clamp(-settings.turn_most, settings.turn_most)
    by_any = dice.chance(settings.turn_any, count)
    angle = torch.where(by_any, dice.uniform(-180, 180, count), degrees).deg2rad()
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(count, 2, 2)
    turn[:, :, 0] *= torch.where(dice.chance(settings.flip, count), -1, 1)[:, None]
    return stretch[:, :, None] * turn


def grid(size: Size, stride: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """x (1, w) and y (h, 1) of the centres of the cells of `stride` pixels."""
    y, x = (torch.arange(n, device=like.device) * stride + (stride - 1) / 2 for n in size)
    return x[None], y[:, None]


def moved(grid: tuple[Tensor, Tensor], matrix: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (N, h, w) of the grid under the matrices (N, 2, 3)."""
    x, y = grid
    (a, b, c), (d, e, f) = (row.unbind(1) for row in matrix[..., None, None].unbind(1))
    return a * x + (b * y + c), d * x + (e * y + f)
