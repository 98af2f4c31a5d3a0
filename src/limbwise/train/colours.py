"""Maps as colours over the picture they belong to, for people to look at."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import Image


def warm(heat: NDArray[np.float32]) -> Image:
    """(h, w) in 0..1 to colours."""
    return cv2.applyColorMap((heat.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(
        np.uint8
    )


def wheel(fields: NDArray[np.float32]) -> Image:
    """Part affinity fields (L, 2, h, w): of the strongest at each cell the direction as hue, the
    length as brightness."""
    strongest = np.hypot(fields[:, 0], fields[:, 1]).argmax(axis=0)
    x, y = np.take_along_axis(fields, strongest[None, None], axis=0)[0]
    hue = np.degrees(np.arctan2(y, x)) % 360 / 2
    colours = np.stack([hue, np.full_like(hue, 255), 255 * np.hypot(x, y)], axis=2)
    return cv2.cvtColor(colours.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2BGR).astype(np.uint8)


def overlaid(image: Image, colours: Image, weight: NDArray[np.float32] | None = None) -> Image:
    """Maps (h, w) over a dimmed image; hatched where `weight` (h, w) is 0: nothing is learnt."""
    height, width = image.shape[:2]
    wide = cv2.resize(colours, (width, height), interpolation=cv2.INTER_NEAREST)
    drawn = image * 0.4 + wide * 0.8
    if weight is not None:
        learnt = cv2.resize(weight, (width, height), interpolation=cv2.INTER_NEAREST)
        y, x = np.indices((height, width))
        drawn += (200 * ((x + y) % 8 < 2) * (1 - learnt))[..., None]
    overlaid: Image = drawn.clip(0, 255).astype(np.uint8)
    return overlaid
