"""ONNX Runtime, in f32: where OpenVINO is not, and to see that an exported file says the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..description import KEY, ORIGINAL, choose_outputs, read_description
from ..errors import BadInput
from .base import (
    FOREIGN_MEAN,
    FOREIGN_SCALE,
    Backend,
    Batch,
    Maps,
    check_stride,
    is_checkpoint,
    last_line,
    need_torch,
    only_f32,
    probe_size,
)


def load(path: Path, threads: int | None = None, precision: str = "fast") -> Backend:
    """Runs .onnx and (through an export in memory) checkpoint files with ONNX Runtime, in f32."""
    only_f32("onnx", precision)
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BadInput("ONNX Runtime is missing: pip install 'limbwise[onnx]'") from error
    if path.suffix == ".xml":
        raise BadInput(f"{path} is an OpenVINO file: the onnx runtime needs an .onnx file")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Else its threads keep the cores busy while the other stage's network waits for them.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = _read(ort, path, options)
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    description = read_description(text, path) if text else None
    names = [output.name for output in session.get_outputs()]
    counts = [_fixed(output.shape) for output in session.get_outputs()]
    chosen = choose_outputs(path, names, counts, description)
    outputs = [names[place] for place in chosen]
    sources = [each.name for each in session.get_inputs()]
    described = description is not None

    def run(images: Batch, *found: Maps) -> tuple[Maps, ...]:
        data = images if described else _normalised(images), *found
        return tuple(session.run(outputs, dict(zip(sources, data, strict=True))))

    its = description or ORIGINAL

    def cells() -> Sequence[int]:
        shape: Sequence[Any] = session.get_outputs()[chosen[0]].shape[2:]
        if all(isinstance(side, int) for side in shape):
            return shape
        return run(np.zeros((1, *size, 3), np.uint8))[0].shape[2:]

    if "heatmaps" in its.outputs:
        sides = (
            session.get_inputs()[0].shape[1:3] if described else session.get_inputs()[0].shape[2:]
        )
        size = probe_size(its, sides)
        check_stride(path, its, size, cells)
    return Backend(its, "onnxruntime f32", run)


def _read(ort: Any, path: Path, options: Any) -> Any:
    source: bytes | str = str(path)
    if is_checkpoint(path):
        need_torch()
        from ..networks.picture_model import to_onnx

        source = to_onnx(path)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the package's exceptions have no common base
        raise BadInput(
            f"{path} is not a model that ONNX Runtime can read: {last_line(error)}"
        ) from error


def _fixed(shape: Sequence[Any]) -> int:
    return shape[1] if len(shape) > 1 and isinstance(shape[1], int) else 0


def _normalised(images: Batch) -> Maps:
    """(N, H, W, 3) uint8 to the (N, 3, H, W) float32 that a foreign ONNX file takes."""
    planes = (images.transpose(0, 3, 1, 2).astype(np.float32) - FOREIGN_MEAN) / FOREIGN_SCALE
    return np.ascontiguousarray(planes, np.float32)
