"""A trained checkpoint to the files of a bundled network.

    python scripts/bundled_model.py STEM runs/mine/last.safetensors held.json pack/images \\
        --calibration folder [--first detector.onnx] [--out src/limbwise/models]

STEM is one of the catalogue's (src/limbwise/models/catalogue.py): limbwise-detector, limbwise-pose,
limbwise-pose-fast, limbwise. Written are an ONNX file with weights in fp16, a checkpoint where that
file does not hold all weights, and int8 for OpenVINO if it loses at most --max-drop AP on the
held-out pictures. The ranges of int8 come from the pictures in --calibration. A second stage is
measured after --first; thresholds of a network of one stage are chosen on the held-out pictures.
"""

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from limbwise.backends import openvino
from limbwise.backends.base import Backend
from limbwise.cli.terminal import failing_in_one_line
from limbwise.data.coco_file import CocoFile, read_coco
from limbwise.decode import DecodeOptions, decode
from limbwise.estimator import Estimator
from limbwise.evaluation.boxes import evaluate_boxes
from limbwise.evaluation.evaluate import evaluate, score
from limbwise.export.int8 import quantise
from limbwise.export.onnx import export
from limbwise.geometry import View
from limbwise.models.catalogue import MODELS
from limbwise.network_output import NetworkOutput
from limbwise.networks import checkpoint as checkpoints
from limbwise.networks.checkpoint import Checkpoint, build
from limbwise.networks.detector import DetectorNetwork
from limbwise.outputs.records import coco_person
from limbwise.skeleton import BODY, COCO
from limbwise.sources.image import read_picture

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
WEAK = (0.02, 0.05, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stem")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("held", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--calibration", type=Path, help="without: no int8")
    parser.add_argument("--first", type=Path, default=MODELS / "limbwise-detector.onnx")
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--height", type=int)
    parser.add_argument("--mean-with", type=Path, help="checkpoint: the mean of both is written")
    parser.add_argument("--max-drop", type=float, default=0.5)
    flags = parser.parse_args()
    with failing_in_one_line():
        bundle(flags)


def bundle(flags: argparse.Namespace) -> None:
    made = as_shipped(checkpoints.load(flags.checkpoint))
    if flags.mean_with:
        made = mean(as_shipped(checkpoints.load(flags.mean_with)), made)
    flags.out.mkdir(parents=True, exist_ok=True)
    out = flags.out / f"{flags.stem}.safetensors"
    checkpoints.save(made, out, half=True)
    if not made.description.crop and made.description.skeleton.keypoints:
        with_thresholds(made, out, flags)
    plain = out.with_suffix(".onnx")
    export(out, plain, flags.height, fp16=True)
    first = openvino.load(flags.first) if made.description.crop else None
    if flags.calibration:
        quantised_too(out, plain, first, flags)
    else:
        print(f"held out: AP {held_out(openvino.load(plain), first, flags):.2f}")
    if not made.options.get("norm", True):
        checkpoints.load(plain)  # BadInput unless it holds all weights
        out.unlink()


def quantised_too(out: Path, plain: Path, first: Backend | None, flags: argparse.Namespace) -> None:
    """Writes int8 if it loses little enough."""
    quantised = out.with_name(f"{out.stem}-int8.xml")
    quantise(out, quantised, flags.calibration, first=first, height=flags.height, max_drop=100)
    before, after = (held_out(openvino.load(file), first, flags) for file in (plain, quantised))
    print(f"held out: AP {before:.2f} in float, {after:.2f} in int8")
    if before - after > flags.max_drop:
        for file in (quantised, quantised.with_suffix(".bin")):
            file.unlink()
        print(f"{quantised.name} is left out")


def mean(one: Checkpoint, other: Checkpoint) -> Checkpoint:
    """The second with the mean of both networks' weights (Wortsman et al. 2022, arXiv 2109.01903):
    a network that was trained on and the one that it began from."""
    weights, others = one.network.state_dict(), other.network.state_dict()
    other.network.load_state_dict(
        {name: (weights[name] + value) / 2 for name, value in others.items()}
    )
    return other


def as_shipped(made: Checkpoint) -> Checkpoint:
    """Without what a network learnt and does not need."""
    if made.description.crop and made.description.skeleton.keypoints == BODY.keypoints:
        made = without_neck(made)
    if isinstance(made.network, DetectorNetwork) and all(made.options.get("attention", [True])):
        made = without_idle_attention(made)
    return made


def without_neck(made: Checkpoint) -> Checkpoint:
    """COCO's keypoints only: the middle of the shoulders is told better by the shoulders."""
    fewer = build(made.description.name, COCO, **made.options | {"keypoints": len(COCO.keypoints)})
    rows = [BODY.keypoints.index(name) for name in COCO.keypoints]
    state = {
        name: value[rows] if name.startswith("last.") else value
        for name, value in made.network.state_dict().items()
    }
    fewer.network.load_state_dict(state)
    skeleton = fewer.description.skeleton
    return replace(fewer, description=replace(made.description, skeleton=skeleton))


def without_idle_attention(made: Checkpoint) -> Checkpoint:
    """The published weights' attention at stride 8 is 1 everywhere, so that no gradient reaches it
    and it says nothing: it is left out."""
    options = made.options | {"attention": [True, False, True, True]}
    fewer = build(made.description.name, made.description.skeleton, **options)
    kept = fewer.network.state_dict().keys()
    state = made.network.state_dict()
    fewer.network.load_state_dict({name: state[name] for name in kept})
    return replace(fewer, description=made.description)


def held_out(runtime: Backend, first: Backend | None, flags: argparse.Namespace) -> float:
    """AP of boxes, of poses, or of a second stage after `first`."""
    if not runtime.description.skeleton.keypoints:
        found = evaluate_boxes(runtime, flags.held, flags.images, height=flags.height)
    else:
        one, other = (first, runtime) if first else (runtime, None)
        found = evaluate(one, flags.held, flags.images, person=other, height=flags.height)
    return 100 * found[0]["AP"]


def with_thresholds(made: Checkpoint, out: Path, flags: argparse.Namespace) -> None:
    """Writes the checkpoint with those thresholds of the decoder that are best held out."""
    height = flags.height or made.description.height
    description = replace(made.description, height=height, decoding={})
    checkpoints.save(replace(made, description=description), out, half=True)
    decoding = best_thresholds(out, flags.held, flags.images)
    description = replace(description, decoding=decoding)
    checkpoints.save(replace(made, description=description), out, half=True)


def best_thresholds(checkpoint: Path, held: Path, images: Path) -> dict[str, float]:
    """`threshold` and `weak` with the best AP on held-out pictures."""
    estimate = Estimator(openvino.load(checkpoint, precision="f32"))
    labels = read_coco(held)
    seen = [
        (entry["id"], *estimate.infer(read_picture(images / entry["file_name"])))
        for entry in labels.pictures
    ]
    found = {}
    for threshold, weak in product(THRESHOLDS, WEAK):
        if weak <= threshold:
            options = {"threshold": threshold, "weak": weak}
            found[threshold, weak] = ap(labels, seen, estimate, options)
            print(f"threshold {threshold:.2f}, weak {weak:.2f}: AP {found[threshold, weak]:.2f}")
    best = max(found.values())
    threshold, weak = max(each for each in found if found[each] > best - 0.1)  # the fastest of them
    return {"threshold": threshold, "weak": weak}


def ap(
    labels: CocoFile,
    seen: list[tuple[int, NetworkOutput, View]],
    estimate: Estimator,
    options: dict[str, Any],
) -> float:
    skeleton = estimate.runtime.description.skeleton
    people = (
        coco_person(pose.moved(view.inverse), image, COCO)
        for image, fields, view in seen
        for pose in decode(fields, skeleton, DecodeOptions(**options))
    )
    detections = [person for person in people if person]
    return 100 * score(labels, detections, [image for image, *_ in seen], COCO)["AP"]


if __name__ == "__main__":
    main()
