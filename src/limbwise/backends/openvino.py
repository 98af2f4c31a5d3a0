"""OpenVINO: what is quickest on a CPU, and the default."""

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import cache
from ..description import KEY, ORIGINAL, Description, choose_outputs, read_description
from ..errors import BadInput
from .base import (
    FOREIGN_MEAN,
    FOREIGN_SCALE,
    Backend,
    Maps,
    check_stride,
    is_checkpoint,
    last_line,
    need_torch,
    probe_size,
)
from .compiled import AnySize, Crops, FewSizes


def load(
    path: Path, precision: str = "f32", threads: int | None = None, pinning: bool = False
) -> Backend:
    """Runs .onnx, .xml and (through an export in memory) checkpoint files with OpenVINO.

    `precision` is "f32" or "bf16", or "int8", which asks for a quantised file. Pinning stays off
    because two processes that pin would share one core.
    """
    import openvino as ov

    core = ov.Core()
    model = _read(core, path)
    description = _described(model, path)
    names = [output.get_any_name() if output.names else "" for output in model.outputs]
    counts = [_channels(output.partial_shape) for output in model.outputs]
    described = description is not None
    chosen = choose_outputs(path, names, counts, description)
    quantised = any(op.get_type_name() == "FakeQuantize" for op in model.get_ops())
    if not described:
        model = _take_images(model, normalise=path.suffix != ".xml")
    its = description or ORIGINAL
    if "heatmaps" in its.outputs:
        size = probe_size(its, _sides(model.inputs[0].partial_shape[1:3]))
        check_stride(path, its, size, lambda: _cells(model, chosen[0], size))
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _precision(path, precision, quantised),
        "INFERENCE_NUM_THREADS": threads or 0,
        "ENABLE_CPU_PINNING": pinning,
    }
    kept = cache.folder()
    if kept:
        options["CACHE_DIR"] = str(kept)

    def compile_model(model: Any) -> Any:
        compiled = core.compile_model(model, "CPU", options)
        if kept:
            cache.prune(kept)
        return compiled

    run: Callable[..., tuple[Maps, ...]]
    if its.crop:
        streams = threads or os.cpu_count() or 1
        options |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
        run = Crops(model, compile_model, chosen, its.crop, streams)
    elif its.fit != "height":
        run = FewSizes(model, compile_model, chosen)
    else:
        run = AnySize(model, compile_model, chosen, its.multiple)
    label = f"openvino {'int8, ' * quantised}{options['INFERENCE_PRECISION_HINT']}"
    return Backend(its, label, run)


def _read(core: Any, path: Path) -> Any:
    """An OpenVINO model from any model file; the checkpoint's goes through ONNX in memory."""
    if is_checkpoint(path):
        need_torch()
        from ..networks.picture_model import to_onnx

        return core.read_model(to_onnx(path))
    with path.open("rb") as file:  # of other texts OpenVINO prints what it made of them
        if path.suffix == ".xml" and b"<net" not in file.read(4096):
            raise BadInput(f"{path} is not a model that OpenVINO can read: it has no <net>")
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise BadInput(
            f"{path} is not a model that OpenVINO can read: {last_line(error)}"
        ) from error


def _described(model: Any, path: Path) -> Description | None:
    for place in (["framework", KEY], [KEY]):  # of an ONNX file, of an IR
        if model.has_rt_info(place):
            return read_description(str(model.get_rt_info(place).astype(str)), path)
    return None


def _channels(shape: Any) -> int:
    """The size of an output's second dimension, 0 if it has none that is fixed."""
    return shape[1].get_length() if len(shape) > 1 and shape[1].is_static else 0


def _sides(shape: Any) -> list[int | None]:
    """The lengths of a shape, None where one is not fixed."""
    return [each.get_length() if each.is_static else None for each in shape]


def _cells(model: Any, output: int, size: tuple[int, int]) -> list[int]:
    """Rows and columns of an output for an input of this size; nothing is computed for it."""
    if None in _sides(model.outputs[output].partial_shape[2:]):
        model = model.clone()
        model.reshape({0: [1, *size, 3]})
    return [each.get_length() for each in model.outputs[output].partial_shape[2:]]


def _take_images(model: Any, normalise: bool) -> Any:
    """The foreign model with (N, H, W, 3) uint8 BGR of any size as its input."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    model.reshape([-1, 3, -1, -1])
    steps = PrePostProcessor(model)
    tensor = steps.input().tensor()
    tensor.set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    convert = steps.input().preprocess().convert_element_type(ov.Type.f32)
    if normalise:
        convert.mean(FOREIGN_MEAN).scale(FOREIGN_SCALE)
    return steps.build()


def describe(path: Path) -> Description | None:
    """What a model file says of itself, without compiling it; None if it is not limbwise's own."""
    import openvino as ov

    return _described(_read(ov.Core(), path), path)


def capabilities() -> list[str]:
    """What OpenVINO knows to compute on this CPU: "FP32", "INT8", "BF16" and others."""
    import openvino as ov

    found: list[str] = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


def cpu() -> str:
    """The processor and what it can do, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        facts = ("model name", "flags", "Features")
        return "".join(dict.fromkeys(
            line for line in cpuinfo.read_text().splitlines(True) if line.startswith(facts)
        ))  # fmt: skip
    return f"{platform.processor()} {platform.machine()}"


def _precision(path: Path, precision: str, quantised: bool) -> str:
    """In what everything is computed that is not int8."""
    if precision == "int8" and not quantised:
        raise BadInput(f"{path} is not an int8 model: limbwise export --int8 makes one")
    if precision not in ("int8", "bf16", "f32"):
        raise BadInput(f"precision {precision} is unknown: choose fast, int8, bf16 or f32")
    return "f32" if precision == "int8" else precision
