"""A trained checkpoint to the files of the bundled model.

    python scripts/bundled_model.py runs/mine/last.safetensors held.json pack/images \\
        --calibration folder [--out src/limbwise/models]

A checkpoint and an ONNX file with weights in fp16, and int8 for OpenVINO if it loses at most
--max-drop AP on the held-out pictures. The ranges of int8 come from the pictures in --calibration.
Of a network of the first look the thresholds of the decoder are chosen on the held-out pictures and
travel in the files; one of the second look (limbwise-person) is measured after the bundled first.
"""

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from limbwise import runtime as runtimes
from limbwise.decode import decode
from limbwise.estimator import MODELS, Estimator, load_pair
from limbwise.fields import Fields
from limbwise.picture import read_picture
from limbwise.runtime import Runtime
from limbwise.skeleton import COCO
from limbwise.terminal import failing_in_one_line
from limbwise.train import checkpoint as checkpoints
from limbwise.train.evaluate import evaluate, read_labels, score
from limbwise.train.export import export
from limbwise.train.quantise import quantise
from limbwise.view import View
from limbwise.writers import coco_person

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
WEAK = (0.02, 0.05, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("held", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--height", type=int, default=368)
    parser.add_argument("--max-drop", type=float, default=0.5)
    flags = parser.parse_args()
    with failing_in_one_line():
        bundle(flags)


def bundle(flags: argparse.Namespace) -> None:
    made = checkpoints.load(flags.checkpoint)
    if made.description.crop:
        out = flags.out / "limbwise-person.safetensors"
        checkpoints.save(made, out, half=True)
    else:
        description = replace(made.description, height=flags.height, decoding={})
        out = flags.out / "limbwise.safetensors"
        checkpoints.save(replace(made, description=description), out, half=True)
        decoding = best_thresholds(out, flags.held, flags.images)
        description = replace(description, decoding=decoding)
        checkpoints.save(replace(made, description=description), out, half=True)
    export(out, out.with_suffix(".onnx"), fp16=True)
    quantised = out.with_name(f"{out.stem}-int8.xml")
    quantise(out, quantised, flags.calibration, max_drop=100)
    first = load_pair(person=False, precision="f32")[0] if made.description.crop else None
    before, after = (
        held_out(runtimes.openvino(file, precision="f32"), first, flags)
        for file in (out.with_suffix(".onnx"), quantised)
    )
    print(f"held out: AP {before:.2f} in float, {after:.2f} in int8")
    if before - after > flags.max_drop:
        for file in (quantised, quantised.with_suffix(".bin")):
            file.unlink()
        print(f"{quantised.name} is left out")


def held_out(runtime: Runtime, first: Runtime | None, flags: argparse.Namespace) -> float:
    """AP alone, or as the second look after `first`."""
    one, other = (first, runtime) if first else (runtime, None)
    return 100 * evaluate(one, flags.held, flags.images, person=other)[0]["AP"]


def best_thresholds(checkpoint: Path, held: Path, images: Path) -> dict[str, float]:
    """`threshold` and `weak` with the best AP on held-out pictures."""
    estimate = Estimator(runtimes.openvino(checkpoint, precision="f32"))
    labels = read_labels(held)
    seen = [
        (entry["id"], *estimate.look(read_picture(images / entry["file_name"])))
        for entry in labels["images"]
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
    labels: dict[str, Any],
    seen: list[tuple[int, Fields, View]],
    estimate: Estimator,
    options: dict[str, float],
) -> float:
    skeleton = estimate.runtime.description.skeleton
    people = (
        coco_person(pose.moved(view.back), image, COCO)
        for image, fields, view in seen
        for pose in decode(fields, skeleton, **options)
    )
    detections = [person for person in people if person]
    return 100 * score(labels, detections, [image for image, *_ in seen], COCO)["AP"]


if __name__ == "__main__":
    main()
