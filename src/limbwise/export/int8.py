"""A checkpoint to int8, written only if it still finds everybody.

checkpoint -> ONNX -> NNCF, with pictures to learn the ranges from -> measured before and after

A network of the second stage learns its ranges from the people whom a first stage finds in them.

The first and last layers stay in float, and what is computed of the last: there the precision of
the picture, the maps and the boxes is at stake. So do products, such as x * sigmoid(x), whose
factors would be rounded too. A network names parts of its own that stay in float (`float_parts`);
one that does has branches of unlike ranges, whose sums and concatenations stay in float as well,
and ranges need not lie round 0 (docs/log.md has the figures).
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import failing_to_write, replacing
from ..backends import onnxruntime, openvino
from ..backends.base import Backend, has
from ..boxes import ious
from ..crops import Floats, box_crops, box_of, crops
from ..data.coco_file import CocoFile, Labelled, read_coco
from ..description import KEY
from ..errors import BadInput
from ..estimator import Estimator
from ..evaluation.boxes import evaluate_boxes, in_picture
from ..evaluation.evaluate import evaluate
from ..geometry import Image, letterbox
from ..models.catalogue import CATALOGUE
from ..networks.checkpoint import load
from ..networks.picture_model import to_onnx
from ..pose import oks
from ..refine import check_pair
from ..sources.image import read_picture

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
CONVOLUTIONS = ("Convolution", "GroupConvolution")

Given = tuple[NDArray[Any], ...]  # what a network takes at once, an array for each of its inputs
_PEOPLE = 6  # of a picture that a network for crops learns its ranges from


@dataclass(frozen=True)
class Outcome:
    """`measure` is AP, or OKS with the float network's own poses, of boxes IoU with its own; before
    and after in per cent."""

    measure: str
    before: float
    after: float

    @property
    def drop(self) -> float:
        return self.before - self.after


def quantise(
    checkpoint: str | Path,
    out: str | Path,
    calibration: str | Path,
    annotations: Labelled | None = None,
    *,
    first: Backend | None = None,
    max_drop: float = 0.5,
    height: int | None = None,
    limit: int = 300,
    category: str | int | None = None,
) -> Outcome:
    """Writes `out` (.xml with its .bin, or .onnx with QDQ nodes) in int8.

    `calibration` is a folder of pictures, of which the first `limit` count; with `annotations` of
    them AP is measured, of boxes where it finds nothing else, else how well the float network's
    poses or boxes are kept. A network for crops of
    one person gets those whom `first` (the bundled model if None) finds at the input `height`.
    BadInput, and nothing written, if the drop is more than `max_drop` per cent: then it names the
    layers that hurt most; or if the float network finds nobody who is labelled.
    """
    out = Path(out)
    if out.suffix not in (".onnx", ".xml"):
        raise BadInput(f"{out} should end in .onnx (ONNX) or .xml (OpenVINO)")
    if not has("nncf"):
        raise BadInput("NNCF is missing: pip install 'limbwise[int8]'")
    files = _pictures(Path(calibration))[:limit]
    labels = None if annotations is None else read_coco(annotations, category)
    made = load(checkpoint)
    description, float_parts = made.description, made.traits.float_parts
    plain = to_onnx(checkpoint, None if description.crop else height)
    if not description.crop:
        first = None
    elif first is None:
        bundled = CATALOGUE["one-stage" if description.prior else "accurate"]
        first = openvino.load(bundled.first.plain, precision="f32")
    if first:
        check_pair(first.description, description)
    with failing_to_write(out), replacing(out) as path, replacing(out.with_suffix(".bin")):
        float_path = path.with_name(f"{path.stem}.float.onnx")
        try:
            float_path.write_bytes(plain)
            before = openvino.load(float_path, precision="f32")
            inputs = list(_given(files, before, first, height))
            if not inputs:
                raise BadInput(f"nobody is found in the pictures of {calibration}")
            _write(plain, inputs, path, float_parts)
            outcome = _measured((before, _runtime(path)), files, labels, first, height)
            if labels and not outcome.before > 0:
                raise BadInput(
                    f"{out} was not written: the float network has {outcome.measure} "
                    f"{outcome.before:.2f} on {labels.path}, so that nothing can be measured there"
                )
            if not outcome.drop <= max_drop:
                advice = "" if labels else "; AP, with --annotations, often stays"
                raise BadInput(
                    f"{out} was not written: int8 takes {outcome.drop:.2f} {outcome.measure}, more "
                    f"than {max_drop:g}{advice}; least is kept before "
                    f"{_worst(float_path, inputs[0])}"
                )
        finally:
            float_path.unlink(missing_ok=True)
    return outcome


def _pictures(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in PICTURES)
    if not files:
        raise BadInput(f"the folder {folder} holds no pictures to learn the ranges from")
    return files


def _given(
    files: Sequence[Path], runtime: Backend, first: Backend | None, height: int | None
) -> Iterator[Given]:
    """One input of the network for each picture in which there is somebody to look at."""
    its = runtime.description
    for file in files:
        image = read_picture(file)
        if first is None:
            yield (letterbox(image, height or its.height, its.multiple, to=its.fit)[0][None],)
        elif not its.prior:
            if len(boxes := _boxes(image, first, height)):
                yield (box_crops(image, boxes[:_PEOPLE], its.crop or (0, 0))[0],)
        elif poses := Estimator(first, height=height)(image):
            yield crops(image, poses[:_PEOPLE], its.crop or (0, 0))[:2]


def _boxes(image: Image, first: Backend, height: int | None) -> Floats:
    """People's boxes, of a network that finds poses round these."""
    if first.description.boxes:
        return in_picture(first, image, height)
    poses = Estimator(first, height=height)(image)
    return np.array([box_of(pose) for pose in poses], np.float32).reshape(-1, 5)


def _write(plain: bytes, inputs: list[Given], path: Path, float_parts: Sequence[str]) -> None:
    """Quantises with NNCF's statistics over the inputs; ONNX stays ONNX."""
    import nncf
    import onnx
    import openvino as ov
    from openvino.passes import ConstantFolding, Manager

    nncf.set_log_level(logging.ERROR)
    model = ov.Core().read_model(plain)
    folding = Manager()  # else depthwise weights are not constants, and stay in float
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    onnx_too = path.suffix == ".onnx"
    names = [name.removesuffix("/WithoutBiases") if onnx_too else name for name in _ends(model)]
    types = ["Mul" if onnx_too else "Multiply", *(["Add", "Concat"] if float_parts else [])]
    patterns = [rf".*/network/{part}[./].*" for part in float_parts]
    kept = nncf.IgnoredScope(names=names, types=types, patterns=patterns, validate=False)
    how: dict[str, Any] = {"subset_size": len(inputs), "ignored_scope": kept}
    if float_parts:
        how["preset"] = nncf.QuantizationPreset.MIXED
        # CPUs without VNNI add products of whole int8 weights in 16 bits, which overflow.
        how["advanced_parameters"] = nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE
        )
    if onnx_too:
        source = onnx.load_from_string(plain)
        sources = [each.name for each in source.graph.input]
        named = nncf.Dataset(inputs, lambda given: dict(zip(sources, given, strict=True)))
        onnx.save(nncf.quantize(source, named, **how), path)
        return
    text = model.get_rt_info(["framework", KEY]).astype(str)
    quantised = nncf.quantize(model, nncf.Dataset(inputs), **how)
    quantised.set_rt_info(text, [KEY])
    ov.save_model(quantised, path, compress_to_fp16=True)


def _ends(model: Any) -> list[str]:
    """The names of the first convolution, of those that nothing but arithmetic follows, and of that
    arithmetic."""
    first = next(op for op in model.get_ordered_ops() if op.get_type_name() in CONVOLUTIONS)
    ends, waiting = {first.get_friendly_name()}, [result.input_value(0) for result in model.results]
    while waiting:
        op = waiting.pop().get_node()
        if op.get_type_name() == "Constant" or op.get_friendly_name() in ends:
            continue
        ends.add(op.get_friendly_name())
        if op.get_type_name() not in CONVOLUTIONS:
            waiting += [port.get_source_output() for port in op.inputs()]
    return sorted(ends)


def _runtime(path: Path) -> Backend:
    if path.suffix == ".onnx" and has("onnxruntime"):
        return onnxruntime.load(path)
    return openvino.load(path, precision="f32")


def _measured(
    both: tuple[Backend, Backend], files: list[Path], annotations: CocoFile | None,
    first: Backend | None, height: int | None,
) -> Outcome:  # fmt: skip
    """Of the float network and of the int8 one: alone, or as the second stage after `first`."""
    if not both[0].description.skeleton.keypoints:
        return _boxes_measured(both, files, annotations, height)
    pairs = [(first, each) if first else (each, None) for each in both]
    if annotations is None:
        before, after = (
            Estimator(one, person=other, height=height, min_score=0.15) for one, other in pairs
        )
        return Outcome("OKS", 100.0, 100 * _kept(before, after, files))
    folder, count = files[0].parent, len(files)
    ap = [
        100 * evaluate(one, annotations, folder, person=other, height=height, limit=count)[0]["AP"]
        for one, other in pairs
    ]
    return Outcome("AP", *ap)


def _boxes_measured(
    both: tuple[Backend, Backend], files: list[Path], annotations: Labelled | None,
    height: int | None,
) -> Outcome:  # fmt: skip
    """Box AP, or the mean IoU of the float network's boxes with the best-fitting of the other's."""
    if annotations:
        folder, count = files[0].parent, len(files)
        ap = [
            100 * evaluate_boxes(one, annotations, folder, height=height, limit=count)[0]["AP"]
            for one in both
        ]
        return Outcome("box AP", *ap)
    kept: list[float] = []
    for file in files:
        truth, found = (in_picture(one, read_picture(file), height) for one in both)
        kept += ious(truth, found).max(axis=1, initial=0).tolist()
    return Outcome("IoU", 100.0, 100 * (float(np.mean(kept)) if kept else 1.0))


def _kept(before: Estimator, after: Estimator, files: Iterable[Path]) -> float:
    """The mean OKS between the poses of `before` and the best-fitting ones of `after`; 0 for whom
    it misses, 1 if there is nobody."""
    kept: list[float] = []
    for file in files:
        truth, found = (estimate(read_picture(file)) for estimate in (before, after))
        kept += [max(oks(pose, found, max(pose.area, 1.0)), default=0.0) for pose in truth]
    return float(np.mean(kept)) if kept else 1.0


def _worst(model: Path, given: Given, count: int = 5) -> str:
    errors = sorted(layer_errors(model, *given).items(), key=lambda each: -each[1])
    return ", ".join(f"{name} ({error:.0%})" for name, error in errors[:count])


def layer_errors(model: Path, *given: NDArray[Any]) -> dict[str, float]:
    """For each convolution of a float model how much of what it is given, on an input (1, h, w, 3),
    256 steps over its range do not keep: the mean over channels of 1 - r^2. A network for crops
    gets several of them, and what was found.

    From the float model alone: OpenVINO computes an int8 model wrongly once inner outputs are
    asked for (docs/log.md).
    """
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    layers = [op for op in network.get_ordered_ops() if op.get_type_name() in CONVOLUTIONS]
    for op in layers:
        op.input_value(0).get_tensor().add_names({f"into {op.get_friendly_name()}"})
    network.add_outputs([op.input_value(0) for op in layers])
    compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(given)
    names = [op.get_friendly_name() for op in layers]
    return {name: _lost(results[f"into {name}"][0]) for name in names}


def _lost(maps: NDArray[np.float32]) -> float:
    """Of maps (C, h, w), rounded to 256 values between their least and their greatest."""
    a = maps.reshape(len(maps), -1).astype(np.float64)
    step = max(float(np.ptp(a)), 1e-12) / 255
    b = np.round((a - a.min()) / step) * step
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    squares = (a * a).sum(axis=1) * (b * b).sum(axis=1)
    alive = (a * a).sum(axis=1) > 1e-9
    explained = (a * b).sum(axis=1) ** 2 / np.maximum(squares, 1e-30)
    return float(1 - explained[alive].mean()) if alive.any() else 0.0
