"""Test-time augmentation: the mean of what a network says of a picture, its mirror image and other
sizes of it, on the cells of the plain one."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .backends.base import Backend
from .geometry import Image, View, letterbox
from .network_output import NetworkOutput
from .skeleton import Skeleton


def averaged(
    runtime: Backend, image: Image, height: int, flip: bool, scales: Sequence[float]
) -> tuple[NetworkOutput, View]:
    """What a network of whole pictures says of an image (H, W, 3), and where that is in it.

    Args:
        runtime: the network.
        image: (H, W, 3) uint8 BGR.
        height: of the input at scale 1, in pixels.
        flip: average with the mirrored picture.
        scales: average over inputs so many times as high.
    """
    its = runtime.description
    picture, view = letterbox(image, height, its.multiple, to=its.fit)
    cells = picture.shape[0] // its.stride, picture.shape[1] // its.stride
    several = []
    for scale in scales:
        scaled, its_view = letterbox(image, round(height * scale), its.multiple, to=its.fit)
        several.append(resampled(_flipped_too(runtime, scaled, flip), its_view, view, cells))
    return mean(several), view


def _flipped_too(runtime: Backend, picture: Image, flip: bool) -> NetworkOutput:
    plain = runtime(picture[None])[0]
    if not flip:
        return plain
    turned = runtime(np.ascontiguousarray(picture[None, :, ::-1]))[0]
    return mean([plain, mirrored(turned, runtime.description.skeleton)])


def mirrored(fields: NetworkOutput, skeleton: Skeleton) -> NetworkOutput:
    """What the maps of a mirrored picture say of the picture itself."""
    pairs, signs = (np.array(part) for part in zip(*skeleton.mirrored_limbs, strict=True))
    limbs = fields.limbs[pairs, :, :, ::-1] * signs[:, None, None, None]
    limbs[:, 0] *= -1
    heatmaps = fields.heatmaps[list(skeleton.mirror), :, ::-1]
    return NetworkOutput(heatmaps, limbs.astype(np.float32), fields.stride)


def mean(several: list[NetworkOutput]) -> NetworkOutput:
    """The mean of maps of one shape."""
    if len(several) == 1:
        return several[0]
    heatmaps = np.stack([fields.heatmaps for fields in several]).mean(axis=0)
    limbs = np.stack([fields.limbs for fields in several]).mean(axis=0)
    return NetworkOutput(heatmaps, limbs, several[0].stride)


def resampled(
    fields: NetworkOutput, own: View, target: View, shape: tuple[int, int]
) -> NetworkOutput:
    """The maps of one view of an image on the `shape` (h, w) cells of another view of it."""
    if np.array_equal(own.matrix, target.matrix) and fields.heatmaps.shape[1:] == shape:
        return fields
    corners = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    source = fields.cells(own.forward(target.inverse(fields.pixels(corners))))
    origin, right, down = source.astype(np.float64)
    matrix = np.stack([right - origin, down - origin, origin], axis=1)

    def warp(maps: NDArray[np.float32]) -> NDArray[np.float32]:
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        warped = [
            cv2.warpAffine(plane, matrix, shape[::-1], flags=flags)
            for plane in maps.reshape(-1, *maps.shape[-2:])
        ]
        return np.stack(warped).reshape(*maps.shape[:-2], *shape).astype(np.float32)

    return NetworkOutput(warp(fields.heatmaps), warp(fields.limbs), fields.stride)
