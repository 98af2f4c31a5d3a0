"""A checkpoint to a model file that runs without PyTorch and describes itself (ONNX, OpenVINO).

It is written once it says what PyTorch says.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..atomic import failing_to_write, replacing
from ..backends import onnxruntime, openvino, pytorch
from ..backends.base import Backend, has
from ..backends.mobile import padded
from ..description import KEY, Description
from ..errors import BadInput
from ..estimator import SAMPLE
from ..geometry import View, letterbox, warp_crop
from ..network_output import NetworkOutput
from ..networks.lightweight_openpose import load_lightweight_openpose
from ..networks.picture_model import to_onnx, trace
from ..sources.image import read_picture

TOLERANCE = {False: 1e-3, True: 2e-2}  # largest difference of a map's value, by --fp16
# What counts as 1 where boxes of a score above `_SURE` differ: sides of 320 pixels, scores of 5.
# Published weights reach 200, and in fp16 move single boxes by 4 pixels and 0.04, AP by nothing.
_SURE, _OF_BOXES = 0.1, np.array([320, 320, 320, 320, 5], np.float32)


def export(
    checkpoint: str | Path, out: str | Path, height: int | None = None, fp16: bool = False
) -> float:
    """Writes `out` (.onnx, or .xml with its .bin) once it says what PyTorch says.

    Returns the largest difference on the sample picture. BadInput, and nothing written, if that is
    over the tolerance or the ending is another.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if out.suffix not in (".onnx", ".xml"):
        raise BadInput(
            f"{out} should end in .onnx (ONNX), .xml (OpenVINO), .tflite (LiteRT), .param (NCNN) "
            "or .mlpackage (Core ML)"
        )
    data = to_onnx(checkpoint, height, fp16)
    with (
        failing_to_write(out),
        replacing(out) as path,
        replacing(out.with_suffix(".bin")) as weights,
    ):
        if out.suffix == ".onnx":
            path.write_bytes(data)
        else:
            _write_ir(data, path, weights, fp16)
        apart = difference(pytorch.load(checkpoint), _runtimes(path))
        if not apart <= TOLERANCE[fp16]:
            raise BadInput(f"{out} was not written: it differs from PyTorch by {apart:.2g}")
    return apart


def _write_ir(data: bytes, path: Path, weights: Path, fp16: bool) -> None:
    import openvino as ov

    model = ov.Core().read_model(data)
    text = model.get_rt_info(["framework", KEY]).astype(str)
    model.set_rt_info(text, [KEY])
    ov.save_model(model, path, compress_to_fp16=fp16)


def _runtimes(path: Path) -> list[Backend]:
    """Everything installed that runs the file."""
    found = [openvino.load(path, precision="f32")]
    if path.suffix == ".onnx" and has("onnxruntime"):
        found.append(onnxruntime.load(path))
    return found


def difference(
    reference: Backend, others: list[Backend], size: tuple[int, int] | None = None
) -> float:
    """The largest difference from PyTorch on the sample picture, padded to `size` if one is given:
    of any value of any map, and of any box that counts, in parts of `_OF_BOXES`."""
    inputs = _sample(reference.description)
    if size:
        inputs = padded(inputs[0], size), *inputs[1:]
    truth = reference(*inputs)[0]
    return max(_apart(other(*inputs)[0], truth) for other in others)


def _apart(fields: NetworkOutput, truth: NetworkOutput) -> float:
    pairs = [(fields.heatmaps, truth.heatmaps), (fields.limbs, truth.limbs)]
    if fields.boxes is not None and truth.boxes is not None:
        sure = np.maximum(fields.boxes, truth.boxes)[:, 4] > _SURE
        pairs.append((fields.boxes[sure] / _OF_BOXES, truth.boxes[sure] / _OF_BOXES))
    return float(max(np.abs(a - b).max(initial=0) for a, b in pairs))


def _sample(description: Description) -> tuple[NDArray[Any], ...]:
    """The sample picture as an input; for a network of crops one of its people, and every keypoint
    found somewhere."""
    image = read_picture(SAMPLE)
    if description.crop is None:
        rows = min(description.height, 320) if description.boxes else 128
        its = description
        return (letterbox(image, rows, its.multiple, to=its.fit, within=its.shape)[0][None],)
    height, width = description.crop
    crop = warp_crop(
        image, View.scaling(height / image.shape[0], height / image.shape[0]), (height, width)
    )
    if not description.prior:
        return (crop[None],)
    kinds = len(description.skeleton.keypoints)
    places = np.linspace((0, 0, 1), (width, height, 1), kinds, dtype=np.float32)
    return crop[None], places[None]


def export_like_the_original(checkpoint: str | Path, out: str | Path) -> None:
    """Writes the ONNX file of the original's recipe: input `data`, a normalised (n, 3, h, w), and
    all stages' outputs, `stage_0_output_1_heatmaps`, `stage_0_output_0_pafs`, and so on."""
    network = load_lightweight_openpose(checkpoint)
    stages = 1 + len(network.refinement_stages)
    names = [
        f"stage_{stage}_{kind}"
        for stage in range(stages)
        for kind in ("output_1_heatmaps", "output_0_pafs")
    ]
    cells = {0: "n", 2: "rows", 3: "columns"}
    axes = {"data": {0: "n", 2: "h", 3: "w"}} | dict.fromkeys(names, cells)
    data = trace(network, [torch.zeros(1, 3, 64, 72)], ["data"], names, axes)
    with failing_to_write(out), replacing(out) as path:
        path.write_bytes(data)
