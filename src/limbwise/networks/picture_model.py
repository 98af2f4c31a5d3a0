"""A checkpoint as every backend sees it: a graph that takes pictures, and that graph as ONNX.

The graph takes uint8 BGR pictures (N, H, W, 3) of any size: colour order, mean and scale are
inside, the background channel and the earlier stages are left out.
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
from torch import Tensor, nn

from ..description import KEY, Description
from .checkpoint import OPTIONS, Checkpoint, load, per_colour

_ROW = 64  # pixels: inputs' sides are whole multiples of 8


class PictureModel(nn.Module):
    """uint8 BGR (N, H, W, 3) to what `Description.outputs` names: heatmaps (N, K, h, w), limbs
    (N, 2 L, h, w), boxes (N, A, 5); a network for crops of one person also takes what was found
    (N, K, 3), and gives heatmaps only."""

    mean: float | Tensor
    scale: float | Tensor
    means: Tensor
    scales: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.network
        for name in ("mean", "scale"):
            value = getattr(checkpoint.traits, name)
            if isinstance(value, tuple):
                self.register_buffer(name, per_colour(value), persistent=False)
            else:
                setattr(self, name, value)
        for name in ("mean", "scale"):
            row = torch.as_tensor(getattr(self, name)).expand(3).repeat(_ROW)
            self.register_buffer(f"{name}s", row, persistent=False)
        self.keypoints, self.crops = checkpoint.traits.keypoints, checkpoint.traits.crops
        self.outputs, self.options = checkpoint.description.outputs, checkpoint.options

    def forward(self, image: Tensor, *found: Any) -> tuple[Tensor, ...]:
        maps = self.network(self._normalised(image.float()).permute(0, 3, 1, 2), *found)
        maps = maps[-2:] if self.crops else maps[-len(self.outputs) :]
        return tuple(
            each[:, : self.keypoints] if name == "heatmaps" else each
            for name, each in zip(self.outputs, maps, strict=False)
        )

    def _normalised(self, image: Tensor) -> Tensor:
        """(image - mean) * scale. With a mean of each colour many pixels make a row: of three
        numbers in a row CPUs leave most of a vector empty (docs/log.md)."""
        if isinstance(self.mean, float):
            return (image - self.mean) * self.scale
        rows = image.reshape(-1, 3 * _ROW)
        return ((rows - self.means) * self.scales).reshape(image.shape)


def for_backends(path: str | Path) -> tuple[PictureModel, Description]:
    """The network of a checkpoint with its input steps, in eval mode, and its description."""
    checkpoint = load(path)
    return PictureModel(checkpoint).eval(), checkpoint.description


def to_onnx(checkpoint: str | Path, height: int | None = None, fp16: bool = False) -> bytes:
    """A checkpoint as a self-describing ONNX file; `fp16` stores the weights in half the size."""
    model, description = for_backends(checkpoint)
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
    """Weights become float16 with a Cast back to float32, which backends fold when loading."""
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
