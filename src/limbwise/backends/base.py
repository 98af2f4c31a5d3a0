"""What the backends have in common: a callable from pictures to what the network says of them.

OpenVINO, ONNX Runtime and PyTorch (openvino.py, onnxruntime.py, pytorch.py) each `load` a model
file as such a callable. What a model is (its keypoints, limbs, stride, size) travels inside the
model file as JSON; three foreign kinds of file are known by their outputs: Lightweight OpenPose
exported to ONNX or OpenVINO, and Open Model Zoo's human-pose-estimation-0001, which is the same
network.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..description import Description
from ..errors import BadInput
from ..network_output import NetworkOutput

Batch = NDArray[np.uint8]
Maps = NDArray[np.float32]

# Mean and scale of foreign models' inputs.
FOREIGN_MEAN, FOREIGN_SCALE = 128.0, 256.0
_LARGEST_PROBE = 512


@dataclass(frozen=True, eq=False)
class Backend:
    """A callable from inputs (N, H, W, 3) uint8 BGR to N `NetworkOutput`.

    A network for crops of one person takes besides what was `found` of them: (N, K, 3) float32, x
    and y in pixels of the crop and 1, or three times 0. `run` gives what `Description.outputs`
    names: heatmaps (N, K or K + 1, h, w), a background channel last if there is one, part affinity
    fields (N, 2 L, h, w) as x, y pairs, boxes (N, A, 5). `label` says who computes, and how.
    """

    description: Description
    label: str
    run: Callable[..., tuple[Maps, ...]]

    def __call__(self, images: Batch, *found: Maps) -> list[NetworkOutput]:
        its = self.description
        maps = dict(zip(its.outputs, self.run(images, *found), strict=True))
        cells = [side // its.stride for side in images.shape[1:3]]
        heatmaps = maps.get("heatmaps", np.zeros((len(images), 0, *cells), np.float32))
        limbs = maps.get("limbs", heatmaps[:, :0])
        keypoints = len(its.skeleton.keypoints)
        pairs = 0 if its.crop else len(its.skeleton.limbs)
        vectors = limbs.reshape(len(limbs), pairs, 2, *limbs.shape[-2:])
        boxes = maps.get("boxes", [None] * len(images))
        return [
            NetworkOutput(heatmap[:keypoints], vector, its.stride, box, its.offset)
            for heatmap, vector, box in zip(heatmaps, vectors, boxes, strict=True)
        ]


def probe_size(its: Description, fixed: Sequence[Any]) -> tuple[int, int]:
    """Height and width of an input that shows the stride: the model's own where they are `fixed`
    numbers or it takes crops, else small ones, in which strides that differ by one pixel give
    different numbers of cells."""
    if its.crop or all(isinstance(side, int) for side in fixed):
        height, width = its.crop or fixed
        return height, width
    side = min(its.stride * (its.stride + 1), _LARGEST_PROBE)
    side += -side % its.multiple
    return side, side


def check_stride(
    path: Path, its: Description, size: tuple[int, int], cells_of: Callable[[], Sequence[int]]
) -> None:
    """BadInput unless a model's heatmaps, of an input of this `size` (height, width), have as many
    rows and columns as the stride says that its file states: else all keypoints lie elsewhere."""
    try:
        rows, columns = cells_of()
    except Exception as error:  # the packages' exceptions have no common base
        raise BadInput(
            f"{path} takes no input of {size[1]}x{size[0]} pixels: {last_line(error)}"
        ) from error
    if [rows, columns] != [-(-side // its.stride) for side in size]:
        raise BadInput(
            f"{path} states a stride of {its.stride}, but of {size[1]}x{size[0]} pixels it makes "
            f"{columns}x{rows} cells: export it again"
        )


def is_checkpoint(path: Path) -> bool:
    """Whether the file holds weights that need PyTorch to become a model."""
    return path.suffix in (".pth", ".safetensors")


def need_torch() -> None:
    """BadInput with the remedy where PyTorch is not installed."""
    if not has("torch"):
        raise BadInput("PyTorch is missing: pip install 'limbwise[train]'")


def has(module: str) -> bool:
    """Whether a module is installed."""
    return importlib.util.find_spec(module) is not None


def only_f32(runtime: str, precision: str) -> None:
    if precision not in ("fast", "f32"):
        raise BadInput(f"the {runtime} runtime computes in f32 only, not in {precision}")


def last_line(error: Exception) -> str:
    """The last line of a library's long message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
