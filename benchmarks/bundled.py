"""The bundled models' card: AP with its interval, who is found, for what price; where it fails.

    python benchmarks/bundled.py [--shared ../shared] [--write] [--pictures]

`--write` writes models/models.json, which `limbwise models` shows; `--pictures` draws the best and
the worst of the validation pictures as skeletons (docs/best-and-worst.png).
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accuracy import labelled_people
from torch import nn

from limbwise.atomic import write_json
from limbwise.bench import machine
from limbwise.data.coco_file import CocoFile, read_coco
from limbwise.estimator import MIN_BOX, load_pair
from limbwise.evaluation.boxes import evaluate_boxes
from limbwise.evaluation.evaluate import as_pose, evaluate, score
from limbwise.models.catalogue import CATALOGUE, MODELS, Bundled
from limbwise.networks.checkpoint import Checkpoint
from limbwise.networks.checkpoint import load as load_checkpoint
from limbwise.outputs.draw import draw
from limbwise.pose import Pose, oks
from limbwise.skeleton import COCO

DOCS = Path(__file__).parents[1] / "docs"
PEOPLE = 4  # that the price is told for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--pictures", action="store_true")
    flags = parser.parse_args()
    val = flags.shared / "data" / "val"
    print(machine())
    figures, kept = {}, []
    for bundled in CATALOGUE.values():
        figures[bundled.name], detections = measured(bundled, val)
        kept = kept or detections
    if flags.write:
        write_json(MODELS / "models.json", figures)
    if flags.pictures:
        best_and_worst(val, kept)


def measured(bundled: Bundled, val: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures of a bundled model, and its detections in f32."""
    labels = read_coco(val / "annotations.json")
    ids = [entry["id"] for entry in labels.pictures]
    paths = val / "annotations.json", val / "images"
    found: dict[str, Any] = price(bundled)
    kept: list[dict[str, Any]] = []
    for precision in ("f32", *["int8"] * bundled.in_int8):
        first, second = load_pair(bundled.name, precision=precision)
        result, detections = evaluate(first, *paths, person=second)
        low, high = interval(labels, detections, ids)
        name = "AP" if precision == "f32" else f"AP {precision}"
        found[name] = round(100 * result["AP"], 1)
        kept = kept or detections
        print(f"\n{bundled.name}, {first.label} + {second.label if second else 'nothing'}: " +
              "  ".join(f"{key} {result[key] * 100:5.1f}" for key in
                        ("AP", "AP50", "AP75", "APM", "APL", "AR")) +
              f"  interval {low:.1f} to {high:.1f}")  # fmt: skip
    first, second = load_pair(bundled.name, precision="f32")
    if second:
        sure, _ = evaluate(first, *paths, person=second, min_box=MIN_BOX)
        turned, _ = evaluate(first, *paths, person=second, flip=True)
        alone, _ = evaluate(second, *paths)
        print(f"  looking into boxes above {MIN_BOX}, as `run` does: AP {sure['AP'] * 100:.1f}; "
              f"with --flip {turned['AP'] * 100:.1f}; in labelled boxes {alone['AP'] * 100:.1f}"
              )  # fmt: skip
    boxes, _ = evaluate_boxes(first, *paths)
    print(f"  boxes: AP {boxes['AP'] * 100:.1f}, recall of medium and large people "
          f"{boxes['recall_medium']:.3f}, {boxes['recall_large']:.3f}")  # fmt: skip
    print(f"  {found}")
    return found, kept


def price(bundled: Bundled) -> dict[str, float]:
    """Millions of parameters, and GMACs of a picture of 4 to 3 with four people."""
    first = load_checkpoint(bundled.first.checkpoint)
    height = bundled.height or first.description.height
    sides = (height * 3 // 4, height) if first.description.fit != "height" else (
        height, height * 4 // 3
    )  # fmt: skip
    macs, count = gmacs(first, *sides), parameters(first)
    if bundled.second:
        second = load_checkpoint(bundled.second.checkpoint)
        assert second.description.crop
        each = gmacs(second, *second.description.crop)
        print(f"{bundled.name}: {macs:.3f} GMACs and {each:.3f} a person")
        macs, count = macs + PEOPLE * each, count + parameters(second)
    return {"GMACs": round(macs, 2), "parameters": round(count, 2)}


def gmacs(made: Checkpoint, height: int, width: int) -> float:
    """Multiply-adds of the convolutions, in thousands of millions."""
    total = 0

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        total_of = output[0].numel() * layer.in_channels // layer.groups
        nonlocal total
        total += total_of * layer.kernel_size[0] * layer.kernel_size[1]

    layers = [layer for layer in made.network.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    multiple = made.traits.multiple
    height, width = (-(-side // multiple) * multiple for side in (height, width))
    found = [torch.zeros(1, made.traits.keypoints, 3)] if made.description.prior else []
    with torch.inference_mode():
        made.network.eval()(torch.zeros(1, 3, height, width), *found)
    for hook in hooks:
        hook.remove()
    return total / 1e9


def parameters(made: Checkpoint) -> float:
    """In millions."""
    return sum(value.numel() for value in made.network.parameters()) / 1e6


def interval(
    labels: CocoFile, detections: list[dict[str, Any]], ids: list[int], rounds: int = 200
) -> tuple[float, float]:
    """The 5th and 95th percentile of AP over pictures drawn with replacement."""
    random = np.random.default_rng(0)
    entries, said = by_picture(labels.people, ids), by_picture(detections, ids)
    found = []
    for _ in range(rounds):
        truth, poses = [], []
        for number, place in enumerate(random.integers(0, len(ids), len(ids)), start=1):
            again = {"image_id": number}
            truth += [entry | again for entry in entries[ids[place]]]
            poses += [entry | again for entry in said[ids[place]]]
        truth = [entry | {"id": n} for n, entry in enumerate(truth, start=1)]
        images = [{"id": n, "file_name": str(n)} for n in range(1, len(ids) + 1)]
        drawn = labels.having(images, truth)
        found.append(score(drawn, poses, [image["id"] for image in images], COCO)["AP"] * 100)
    low, high = np.percentile(found, (5, 95))
    return float(low), float(high)


def by_picture(entries: list[dict[str, Any]], ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {n: [] for n in ids}
    for entry in entries:
        if entry["image_id"] in grouped:
            grouped[entry["image_id"]].append(entry)
    return grouped


def best_and_worst(val: Path, detections: list[dict[str, Any]], count: int = 4) -> None:
    """Skeletons only, since the pictures are other people's: labelled above, found below."""
    labels = read_coco(val / "annotations.json")
    said = by_picture(detections, [entry["id"] for entry in labels.pictures])
    judged = []
    for entry in labels.pictures:
        truth = labelled_people(labels, entry["id"])
        found = [as_pose(one["keypoints"], COCO, one["score"]) for one in said[entry["id"]]]
        if len(truth) >= 2:
            fit = [max(oks(pose.as_skeleton(COCO), found, area), default=0.0)
                   for pose, area in truth]  # fmt: skip
            judged.append((float(np.mean(fit)), entry, [pose for pose, _ in truth], found))
    judged.sort(key=lambda one: one[0], reverse=True)
    rows = [np.hstack([panel(*one[1:]) for one in part])
            for part in (judged[:count], judged[-count:])]  # fmt: skip
    cv2.imwrite(str(DOCS / "best-and-worst.png"), np.vstack(rows))
    for name, part in (("best", judged[:count]), ("worst", judged[-count:])):
        told = ", ".join(f"{entry['id']} (mean OKS {fit:.2f})" for fit, entry, *_ in part)
        print(f"  {name} of those with two people or more, ids of COCO val2017: {told}")


def panel(entry: dict[str, Any], truth: list[Pose], found: list[Pose]) -> np.ndarray:
    grey = np.full((entry["height"], entry["width"], 3), 40, np.uint8)
    shown = [pose for pose in found if pose.score >= 0.15]
    both = [draw(grey, truth), draw(grey, shown)]
    return np.vstack([cv2.resize(one, (320, 240), interpolation=cv2.INTER_AREA) for one in both])


if __name__ == "__main__":
    main()
