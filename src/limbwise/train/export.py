"""A checkpoint to a model file that runs without PyTorch and describes itself.

The exported graph takes uint8 BGR pictures (N, H, W, 3) of any size: colour order, mean and scale
are inside, the background channel and the earlier stages are left out.
"""

import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import runtime
from ..atomic import failing_to_write, replacing
from ..description import KEY, Description
from ..errors import BadInput
from ..estimator import SAMPLE
from ..fields import Fields
from ..picture import read_picture
from ..runtime import Runtime
from ..view import View, cut, fit
from .checkpoint import OPTIONS, Checkpoint, load, per_colour
from .lightweight_openpose import load_lightweight_openpose

TOLERANCE = {False: 1e-3, True: 2e-2}  # largest difference of a map's value, by --fp16
# What counts as 1 where boxes of a score above `_SURE` differ: sides of 320 pixels, scores of 5.
# Published weights reach 200, and in fp16 move single boxes by 4 pixels and 0.04, AP by nothing.
_SURE, _OF_BOXES = 0.1, np.array([320, 320, 320, 320, 5], np.float32)


class PictureModel(nn.Module):
    """uint8 BGR (N, H, W, 3) to what `Description.outputs` names: heatmaps (N, K, h, w), limbs
    (N, 2 L, h, w), boxes (N, A, 5); a network for crops of one person also takes what was found
    (N, K, 3), and gives heatmaps only."""

    mean: float | Tensor
    scale: float | Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.network
        for name in ("mean", "scale"):
            value = getattr(checkpoint.traits, name)
            if isinstance(value, tuple):
                self.register_buffer(name, per_colour(value), persistent=False)
            else:
                setattr(self, name, value)
        self.keypoints, self.crops = checkpoint.traits.keypoints, checkpoint.traits.crops
        self.outputs, self.options = checkpoint.description.outputs, checkpoint.options

    def forward(self, image: Tensor, *found: Tensor) -> tuple[Tensor, ...]:
        normalised = (image.float() - self.mean) * self.scale
        said = self.network(normalised.permute(0, 3, 1, 2), *found)
        said = said[-2:] if self.crops else said[-len(self.outputs) :]
        return tuple(
            each[:, : self.keypoints] if name == "heatmaps" else each
            for name, each in zip(self.outputs, said, strict=False)
        )


def as_seen_by_runtimes(path: str | Path) -> tuple[PictureModel, Description]:
    """The network of a checkpoint with its input steps, in eval mode, and its description."""
    checkpoint = load(path)
    return PictureModel(checkpoint).eval(), checkpoint.description


def to_onnx(checkpoint: str | Path, height: int | None = None, fp16: bool = False) -> bytes:
    """A checkpoint as a self-describing ONNX file; `fp16` stores the weights in half the size."""
    model, description = as_seen_by_runtimes(checkpoint)
    description = replace(description, height=height or description.height)
    height, width = description.crop or (2 * description.multiple, 6 * description.multiple)
    examples = [torch.zeros(1, height, width, 3, dtype=torch.uint8)]
    outputs = list(description.outputs)
    if description.crop:
        inputs = ["image"]
        axes = {"image": {0: "batch"}, "heatmaps": {0: "batch"}}
        if description.prior:
            inputs.append("found")
            examples.append(torch.zeros(1, model.keypoints, 3))
            axes["found"] = {0: "batch"}
    else:
        inputs = ["image"]
        cells = {0: "batch", 2: "rows", 3: "columns"}
        axes = {"image": {0: "batch", 1: "height", 2: "width"}} | dict.fromkeys(outputs, cells)
        if description.boxes:
            axes["boxes"] = {0: "batch", 1: "boxes"}
    data = trace(model, examples, inputs, outputs, axes)
    return _finished(data, description, model.options, fp16)


def trace(
    model: nn.Module,
    examples: Sequence[Tensor],
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> bytes:
    """ONNX bytes of a module, traced on `examples`, with the named dynamic `axes`.

    The tracing exporter, though PyTorch calls it legacy: it takes 0.4 s where its successor takes
    10 s, and leaves no paths of the exporting machine in the graph (docs/log.md, 2026-11-22).
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            tuple(examples),
            buffer,  # type: ignore[arg-type]  # only the newer exporter wants a path
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    return buffer.getvalue()


def _finished(data: bytes, description: Description, options: dict[str, Any], fp16: bool) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    for key, value in ((KEY, description.to_json()), (OPTIONS, json.dumps(options))):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    if fp16:
        _store_as_fp16(model)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _store_as_fp16(model: Any) -> None:
    """Weights become float16 with a Cast back to float32, which runtimes fold when loading."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue  # biases take little room, and are large beside what training changes
        name, half = weight.name, numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def export(
    checkpoint: str | Path, out: str | Path, height: int | None = None, fp16: bool = False
) -> float:
    """Writes `out` (.onnx, or .xml with its .bin) once it says what PyTorch says.

    Returns the largest difference on the sample picture. BadInput, and nothing written, if that is
    over the tolerance or the ending is another.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if out.suffix not in (".onnx", ".xml"):
        raise BadInput(f"{out} should end in .onnx (ONNX) or .xml (OpenVINO)")
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
        difference = _difference(checkpoint, _runtimes(path))
        if not difference <= TOLERANCE[fp16]:
            raise BadInput(f"{out} was not written: it differs from PyTorch by {difference:.2g}")
    return difference


def _write_ir(data: bytes, path: Path, weights: Path, fp16: bool) -> None:
    import openvino as ov

    model = ov.Core().read_model(data)
    text = model.get_rt_info(["framework", KEY]).astype(str)
    model.set_rt_info(text, [KEY])
    ov.save_model(model, path, compress_to_fp16=fp16)


def _runtimes(path: Path) -> list[Runtime]:
    """Everything installed that runs the file."""
    found = [runtime.openvino(path, precision="f32")]
    if path.suffix == ".onnx" and runtime.has("onnxruntime"):
        found.append(runtime.onnx(path))
    return found


def _difference(checkpoint: Path, others: list[Runtime]) -> float:
    """The largest difference from PyTorch on the sample picture: of any value of any map, and of
    any box that counts, in parts of `_OF_BOXES`."""
    pytorch = runtime.torch(checkpoint)
    inputs = _sample(pytorch.description)
    truth = pytorch(*inputs)[0]
    return max(_apart(other(*inputs)[0], truth) for other in others)


def _apart(fields: Fields, truth: Fields) -> float:
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
        return (fit(image, rows, description.multiple, to=description.fit)[0][None],)
    height, width = description.crop
    crop = cut(
        image, View.scaling(height / image.shape[0], height / image.shape[0]), (height, width)
    )
    if not description.prior:
        return (crop[None],)
    kinds = len(description.skeleton.keypoints)
    places = np.linspace((0, 0, 1), (width, height, 1), kinds, dtype=np.float32)
    return crop[None], places[None]


def export_like_the_seed(checkpoint: str | Path, out: str | Path) -> None:
    """Writes the ONNX file of the seed's recipe: input `data`, a normalised (n, 3, h, w), and all
    stages' outputs, `stage_0_output_1_heatmaps`, `stage_0_output_0_pafs`, and so on."""
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
