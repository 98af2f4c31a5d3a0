"""Who computes: OpenVINO, ONNX Runtime or PyTorch behind one callable.

A `Runtime` takes a batch of uint8 BGR inputs and gives `Fields`. What a model is (its keypoints,
limbs, stride, size) travels inside the model file as JSON; three foreign kinds of file are known by
their outputs: Lightweight OpenPose exported to ONNX or OpenVINO, and Open Model Zoo's
human-pose-estimation-0001, which is the same network.
"""

import importlib.util
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import cache
from .description import ANCESTOR, KEY, Description, choose_outputs, read_description
from .errors import BadInput
from .fields import Fields
from .graphs import AnySize, Crops, FewSizes

Batch = NDArray[np.uint8]
Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Runtime:
    """A callable from inputs (N, H, W, 3) uint8 BGR to N `Fields`.

    A network for crops of one person takes besides what was `found` of them: (N, K, 3) float32, x
    and y in pixels of the crop and 1, or three times 0. `run` gives what `Description.outputs`
    names: heatmaps (N, K or K + 1, h, w), a background channel last if there is one, limb fields
    (N, 2 L, h, w) as x, y pairs, boxes (N, A, 5). `label` says who computes, and how.
    """

    description: Description
    label: str
    run: Callable[..., tuple[Maps, ...]]

    def __call__(self, images: Batch, *found: Maps) -> list[Fields]:
        its = self.description
        said = dict(zip(its.outputs, self.run(images, *found), strict=True))
        cells = [side // its.stride for side in images.shape[1:3]]
        heatmaps = said.get("heatmaps", np.zeros((len(images), 0, *cells), np.float32))
        limbs = said.get("limbs", heatmaps[:, :0])
        keypoints = len(its.skeleton.keypoints)
        pairs = 0 if its.crop else len(its.skeleton.limbs)
        vectors = limbs.reshape(len(limbs), pairs, 2, *limbs.shape[-2:])
        boxes = said.get("boxes", [None] * len(images))
        return [
            Fields(heatmap[:keypoints], vector, its.stride, box, its.offset)
            for heatmap, vector, box in zip(heatmaps, vectors, boxes, strict=True)
        ]


# Mean and scale of foreign models' inputs.
_MEAN, _SCALE = 128.0, 256.0


def openvino(
    path: Path, precision: str = "f32", threads: int | None = None, pinning: bool = False
) -> Runtime:
    """Runs .onnx, .xml and (through an export in memory) checkpoint files with OpenVINO.

    `precision` is "f32" or "bf16", or "int8", which asks for a quantised file. Pinning stays off
    because two processes that pin would share one core.
    """
    import openvino as ov

    core = ov.Core()
    model = _read_openvino(core, path)
    description = _describe_openvino(model, path)
    names = [output.get_any_name() if output.names else "" for output in model.outputs]
    counts = [_channels(output.partial_shape) for output in model.outputs]
    described = description is not None
    chosen = choose_outputs(path, names, counts, description)
    quantised = any(op.get_type_name() == "FakeQuantize" for op in model.get_ops())
    if not described:
        model = _take_images(model, normalise=path.suffix != ".xml")
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _openvino_precision(path, precision, quantised),
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

    its = description or ANCESTOR
    run: Callable[..., tuple[Maps, ...]]
    if its.crop:
        streams = threads or os.cpu_count() or 1
        options |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
        run = Crops(model, compile_model, chosen, its.crop, streams)
    elif its.fit != "height":
        run = FewSizes(model, compile_model, chosen)
    else:
        run = AnySize(model, compile_model, chosen)
    label = f"openvino {'int8, ' * quantised}{options['INFERENCE_PRECISION_HINT']}"
    return Runtime(its, label, run)


def _read_openvino(core: Any, path: Path) -> Any:
    """An OpenVINO model from any model file; the checkpoint's goes through ONNX in memory."""
    if is_checkpoint(path):
        need_torch()
        from .train.export import to_onnx

        return core.read_model(to_onnx(path))
    with path.open("rb") as file:  # of other texts OpenVINO prints what it made of them
        if path.suffix == ".xml" and b"<net" not in file.read(4096):
            raise BadInput(f"{path} is not a model that OpenVINO can read: it has no <net>")
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise BadInput(f"{path} is not a model that OpenVINO can read: {_last(error)}") from error


def _describe_openvino(model: Any, path: Path) -> Description | None:
    for place in (["framework", KEY], [KEY]):  # of an ONNX file, of an IR
        if model.has_rt_info(place):
            return read_description(str(model.get_rt_info(place).astype(str)), path)
    return None


def _channels(shape: Any) -> int:
    """The size of an output's second dimension, 0 if it has none that is fixed."""
    return shape[1].get_length() if len(shape) > 1 and shape[1].is_static else 0


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
        convert.mean(_MEAN).scale(_SCALE)
    return steps.build()


def capabilities() -> list[str]:
    """What OpenVINO knows to compute on this CPU: "FP32", "INT8", "BF16" and others."""
    import openvino as ov

    found: list[str] = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


def cpu() -> str:
    """The processor and what it can do, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        wanted = ("model name", "flags", "Features")
        return "".join(dict.fromkeys(
            line for line in cpuinfo.read_text().splitlines(True) if line.startswith(wanted)
        ))  # fmt: skip
    return f"{platform.processor()} {platform.machine()}"


def _openvino_precision(path: Path, precision: str, quantised: bool) -> str:
    """In what everything is computed that is not int8."""
    if precision == "int8" and not quantised:
        raise BadInput(f"{path} is not an int8 model: limbwise export --int8 makes one")
    if precision not in ("int8", "bf16", "f32"):
        raise BadInput(f"precision {precision} is unknown: choose fast, int8, bf16 or f32")
    return "f32" if precision == "int8" else precision


def onnx(path: Path, threads: int | None = None, precision: str = "fast") -> Runtime:
    """Runs .onnx and (through an export in memory) checkpoint files with ONNX Runtime, in f32."""
    _only_f32("onnx", precision)
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BadInput("ONNX Runtime is missing: pip install 'limbwise[onnx]'") from error
    if path.suffix == ".xml":
        raise BadInput(f"{path} is an OpenVINO file: the onnx runtime needs an .onnx file")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Else its threads keep the cores busy while the other look's network waits for them.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = _read_onnx(ort, path, options)
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    description = read_description(text, path) if text else None
    names = [output.name for output in session.get_outputs()]
    counts = [_fixed(output.shape) for output in session.get_outputs()]
    chosen = choose_outputs(path, names, counts, description)
    wanted = [names[place] for place in chosen]
    sources = [each.name for each in session.get_inputs()]
    described = description is not None

    def run(images: Batch, *found: Maps) -> tuple[Maps, ...]:
        data = images if described else _normalised(images), *found
        return tuple(session.run(wanted, dict(zip(sources, data, strict=True))))

    return Runtime(description or ANCESTOR, "onnxruntime f32", run)


def _read_onnx(ort: Any, path: Path, options: Any) -> Any:
    source: bytes | str = str(path)
    if is_checkpoint(path):
        need_torch()
        from .train.export import to_onnx

        source = to_onnx(path)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the package's exceptions have no common base
        raise BadInput(
            f"{path} is not a model that ONNX Runtime can read: {_last(error)}"
        ) from error


def _fixed(shape: Sequence[Any]) -> int:
    return shape[1] if len(shape) > 1 and isinstance(shape[1], int) else 0


def _normalised(images: Batch) -> Maps:
    """(N, H, W, 3) uint8 to the (N, 3, H, W) float32 that a foreign ONNX file takes."""
    planes = (images.transpose(0, 3, 1, 2).astype(np.float32) - _MEAN) / _SCALE
    return np.ascontiguousarray(planes, np.float32)


def torch(
    path: Path, threads: int | None = None, precision: str = "fast", device: str = "cpu"
) -> Runtime:
    """Runs checkpoint files with PyTorch, in f32, on `device`."""
    _only_f32("torch", precision)
    if not is_checkpoint(path) and path.suffix != ".onnx":
        raise BadInput(f"{path} is not a checkpoint: the torch runtime needs .safetensors or .pth")
    need_torch()
    import torch as th

    from .train.export import as_seen_by_runtimes

    model, description = as_seen_by_runtimes(path)
    model = model.to(device)
    if threads:
        th.set_num_threads(threads)

    def run(*inputs: Batch | Maps) -> tuple[Maps, ...]:
        with th.inference_mode():
            maps = model(*(th.from_numpy(each).to(device) for each in inputs))
        return tuple(each.cpu().numpy() for each in maps)

    return Runtime(description, f"torch f32 {device}", run)


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


def _only_f32(runtime: str, precision: str) -> None:
    if precision not in ("fast", "f32"):
        raise BadInput(f"the {runtime} runtime computes in f32 only, not in {precision}")


def _last(error: Exception) -> str:
    """The last line of a library's long message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
