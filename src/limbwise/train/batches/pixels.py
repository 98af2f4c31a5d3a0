"""The pixels of crops: read through the affine map, in other light, with noise, partly hidden."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...geometry import GREY, Image
from .augmentation import Augment, Dice
from .crop import Plane, area_of, grid, moved
from .samples import Samples, Size

_AT_ONCE = 2**17  # pixels that a CPU draws at a time: what its cache holds
_LUMA = (0.114, 0.587, 0.299)  # of B, G, R (ITU-R BT.601)


class Appearance(NamedTuple):
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

    def of(self, part: slice) -> "Appearance":
        return Appearance(*(value[part] for value in self))


def appearance_of(count: int, size: Size, settings: Augment, dice: Dice) -> Appearance:
    def around(middle: float, reach: float, *shape: int) -> Tensor:
        return dice.uniform(middle - reach, middle + reach, count, *shape)

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
    return Appearance(
        mix * around(1, settings.tint, 1, 3),
        light.expand(count, 3, 1),
        around(0, settings.gamma, 1, 1) / 255,
        grain * dice.chance(settings.noise, count, 1, 1),
        dice.chance(settings.soften, count, 1).long(),
        torch.cat([middle - half * output, middle + half * output], dim=1),
        dice.uniform(0, 255, count, 3, 1),
    )


def drawn(
    samples: Samples,
    plane: Plane,
    crop: Tensor,
    size: Size,
    appearance: Appearance | None,
    dice: Dice,
) -> Tensor:
    """images (N, 3, H, W) uint8."""
    images = torch.empty(len(crop), 3, *size, dtype=torch.uint8, device=crop.device)
    noise = dice.normal(3, size[0] * size[1]) if appearance else None
    maps, starts = _to_pixels(samples, plane, crop, appearance)
    at_once = len(crop) if crop.is_cuda else max(_AT_ONCE // (size[0] * size[1]), 1)
    for begin in range(0, len(crop), at_once):
        part = slice(begin, begin + at_once)
        xy = moved(grid(size, 1, crop), crop[part])
        place = _picture_at(xy, plane.used[part], plane.cut[part])
        pixels = samples.pictures.pixels
        if crop.is_cuda:
            drawn, inside = _sampled(pixels, xy, maps[part], starts[part], place)
        else:
            drawn, inside = _warped(pixels, crop[part], maps[part], starts[part], place, size)
        if appearance and noise is not None:
            drawn = _changed(drawn, appearance.of(part), noise)
        drawn = torch.where(inside.flatten(1)[:, None], drawn, GREY[0])
        if appearance:
            drawn = _patched(drawn, appearance.of(part), size)
        images[part] = (drawn + 0.5).view(-1, 3, *size)
    return images


def _picture_at(xy: tuple[Tensor, Tensor], used: Tensor, cut: Tensor) -> Tensor | None:
    """Which picture, as n * T + t, is at points of the plane (N, h, w); None if it is the first
    everywhere."""
    if not used[:, 1:].any():
        return None
    cut = cut[:, None, None]
    quarter = (xy[0] > cut) + 2 * (xy[1] > cut)
    return quarter + used.shape[1] * torch.arange(len(used), device=cut.device)[:, None, None]


def _to_pixels(
    samples: Samples, plane: Plane, crop: Tensor, appearance: Appearance | None
) -> tuple[Tensor, Tensor]:
    """From the plane to the level of each picture that has the crop's resolution: (N, T, 6) factors
    of x and y, what is added to them, width and height; and its first pixel (N, T)."""
    pictures = samples.pictures
    shrunk = plane.scale * area_of(crop).abs().sqrt()[:, None]
    level = shrunk.log2().round().clamp(min=0).long() + (appearance.blur if appearance else 0)
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


def _warped(
    pixels: Tensor, crop: Tensor, maps: Tensor, starts: Tensor, place: Tensor | None, size: Size
) -> tuple[Tensor, Tensor]:
    """The same by OpenCV, faster on a CPU; places between pixels are in steps of 1/32."""
    images = np.zeros((len(crop), *size, 3), np.uint8)
    inside = np.zeros((len(crop), *size), np.uint8)
    everywhere = np.ones(size, np.uint8)
    count = maps.shape[1]
    matrices = maps[..., :2, None] * crop[:, None]
    matrices[..., 2] += maps[..., 2:4]
    for n, t in np.ndindex(len(crop), 1 if place is None else count):
        here = everywhere if place is None else (place[n] % count == t).byte().numpy()
        if not here.any():
            continue
        width, height = maps[n, t, 4:].int().tolist()
        start = int(starts[n, t])
        source = pixels[start : start + width * height].numpy().reshape(height, width, 3)
        matrix = matrices[n, t].numpy()
        read = _read(source, matrix, size, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        cv2.copyTo(read, here, images[n])
        known = np.ones((height, width), np.uint8)
        read = _read(known, matrix, size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
        cv2.copyTo(read, here, inside[n])
    planes = torch.from_numpy(images).flatten(1, 2).transpose(1, 2)
    drawn = planes.to(torch.float32, memory_format=torch.contiguous_format)
    return drawn, torch.from_numpy(inside).bool()


def _read(
    source: Image, matrix: NDArray[np.float32], size: Size, between: int, border: int
) -> Image:
    """`source` under the matrix from output pixels to its own."""
    flags = between | cv2.WARP_INVERSE_MAP
    read = cv2.warpAffine(source, matrix, size[::-1], flags=flags, borderMode=border)
    return read.astype(np.uint8, copy=False)


def _changed(drawn: Tensor, appearance: Appearance, noise: Tensor) -> Tensor:
    """Other colours and grain for (N, 3, H * W) in 0..255."""
    drawn = torch.baddbmm(appearance.light, appearance.mix, drawn).clamp_(0, 255)
    drawn = drawn * (1 + appearance.bend * (255 - drawn))
    return drawn.add_(appearance.grain * noise).clamp_(0, 255)


def _patched(drawn: Tensor, appearance: Appearance, size: Size) -> Tensor:
    x, y = grid(size, 1, drawn)
    left, top, right, bottom = appearance.patch[..., None, None].unbind(1)
    patch = (x > left) & (x < right) & (y > top) & (y < bottom)
    return torch.where(patch.flatten(1)[:, None], appearance.paint, drawn)
