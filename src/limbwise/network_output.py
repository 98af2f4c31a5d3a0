"""What a network says about an input: K keypoint heatmaps and L part affinity fields, or boxes of
people.

Cell m of a map of stride s lies at input pixel m * s + (s - 1) / 2, the middle of the pixels it
covers, or at m * s + `offset` where a published network's weights have it elsewhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def first_cell(stride: int, offset: float | None) -> float:
    """The input pixel of a map's first cell."""
    return (stride - 1) / 2 if offset is None else offset


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """heatmaps (K, h, w) in 0..1 and limbs (L, 2, h, w): unit vectors (x, y) along each limb.

    boxes (A, 5), of a network that finds some: left, top, right, bottom in input pixels and a score
    in 0..1, most of them of nobody (boxes.py).
    """

    heatmaps: Array
    limbs: Array
    stride: int = 8
    boxes: Array | None = None
    offset: float | None = None

    @property
    def first(self) -> float:
        """The input pixel of the first cell."""
        return first_cell(self.stride, self.offset)

    def pixels(self, cells: NDArray[np.floating]) -> Array:
        """Cell coordinates to input pixels."""
        return (cells * self.stride + self.first).astype(np.float32)

    def cells(self, pixels: NDArray[np.floating]) -> Array:
        """Input pixels to cell coordinates."""
        return ((pixels - self.first) / self.stride).astype(np.float32)
