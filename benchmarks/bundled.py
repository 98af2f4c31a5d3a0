"""The bundled models' card: AP with its interval, by input height, for its price; where it fails.

    python benchmarks/bundled.py [--shared ../shared] [--model M] [--person P] [--log run/log.jsonl]
        [--pictures]

Price: multiply-adds, parameters and OpenVINO's time beside the ancestor's network, interleaved. AP
with the first look alone and with the second at each person, whose price grows with the people.
`--log` draws the curve of a training run as docs/training.svg; `--pictures` draws the best and the
worst of the validation pictures as skeletons (docs/best-and-worst.png).
"""

import argparse
import json
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accuracy import labelled_people
from torch import nn

from limbwise.bench import interleaved, machine
from limbwise.draw import draw
from limbwise.estimator import BUNDLED_INT8, BUNDLED_PERSON_CHECKPOINT, MODELS, load_pair
from limbwise.pose import Pose, oks
from limbwise.runtime import Runtime
from limbwise.skeleton import COCO
from limbwise.train.checkpoint import Checkpoint
from limbwise.train.checkpoint import load as load_checkpoint
from limbwise.train.evaluate import as_pose, evaluate, read_labels, score

HEIGHTS = (256, 368, 448, 544, 640)
DOCS = Path(__file__).parents[1] / "docs"
BUDGET = 4.0  # GMACs, on a picture of 4 to 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--model", type=Path, help="model file; the bundled one if absent")
    parser.add_argument("--checkpoint", type=Path, default=MODELS / "limbwise.safetensors")
    parser.add_argument("--person", type=Path, help="checkpoint; the bundled one if absent")
    parser.add_argument("--log", type=Path, nargs="*", help="log.jsonl of training runs")
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--rounds", type=int, default=30)
    flags = parser.parse_args()
    val, reference = flags.shared / "data" / "val", flags.shared / "reference"
    print(machine())
    ours = load_checkpoint(flags.checkpoint)
    ancestor = load_checkpoint(reference / "lightweight-openpose.pth")
    person = load_checkpoint(flags.person or BUNDLED_PERSON_CHECKPOINT)
    price({"limbwise": ours, "ancestor": ancestor}, person)
    times(flags.model, flags.person, reference / "lightweight-openpose.pth", flags.rounds)
    detections = accuracy(flags.model, flags.person, val, (ours, person))
    if flags.model is None and BUNDLED_INT8.is_file():
        as_fast(val)
    if flags.pictures:
        best_and_worst(val, detections)
    if flags.log:
        (DOCS / "training.svg").write_text(curve(flags.log))


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
    found = [torch.zeros(1, made.traits.keypoints, 3)] if made.description.crop else []
    with torch.inference_mode():
        made.network.eval()(torch.zeros(1, 3, height, width), *found)
    for hook in hooks:
        hook.remove()
    return total / 1e9


def price(networks: dict[str, Checkpoint], person: Checkpoint) -> None:
    print("\nPrice:")
    for name, made in networks.items():
        print(f"  {name:10} {parameters(made):.2f} M parameters, "
              f"{gmacs(made, 368, 496):.2f} GMACs at 368 x 496")  # fmt: skip
    print(f"  second look {parameters(person):.2f} M parameters, "
          f"{gmacs(person, *person.description.crop):.3f} GMACs a person")  # fmt: skip


def parameters(made: Checkpoint) -> float:
    """In millions."""
    return sum(value.numel() for value in made.network.parameters()) / 1e6


def times(model: Path | None, person: Path | None, ancestor: Path, rounds: int) -> None:
    """The networks alone in OpenVINO, in turns."""
    for precision in ("f32", "fast"):
        for height, width in ((256, 456), (368, 496)):
            image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
            jobs = {}
            for name, path in (("limbwise", model), ("ancestor", ancestor)):
                runtime = load_pair(path, person=False, precision=precision, threads=1)[0]
                multiple = runtime.description.multiple
                fitted = cv2.copyMakeBorder(
                    image[0], 0, -height % multiple, 0, -width % multiple, cv2.BORDER_CONSTANT
                )
                jobs[name] = partial(runtime, fitted[None])
            crops = load_pair(model, person=person or True, precision=precision, threads=1)[1]
            for people in (1, 4):
                jobs[f"second look, {people}"] = partial(crops, *somebody(crops, people))
            timings = interleaved(jobs, rounds)
            mine, its = timings["limbwise"], timings["ancestor"]
            print(f"  OpenVINO {precision}, 1 thread, {height} x {width}: limbwise takes "
                  f"{mine.least / its.least:.2f} (least), {mine.median / its.median:.2f} "
                  "(median) of the ancestor's time")  # fmt: skip
            for people in (1, 4):
                share = timings[f"second look, {people}"].median / mine.median
                print(f"    the second look at {people} people: {share:.2f} of limbwise's")


def somebody(crops: Runtime, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of the second look."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (people, *crops.description.crop, 3), np.uint8)
    return images, np.zeros((people, len(crops.description.skeleton.keypoints), 3), np.float32)


def accuracy(
    model: Path | None, person: Path | None, val: Path, networks: tuple[Checkpoint, Checkpoint]
) -> list[dict[str, Any]]:
    """AP by input height, with and without the second look; the detections with it at 368."""
    labels = read_labels(val / "annotations.json")
    ids = [entry["id"] for entry in labels["images"]]
    runtime, again = load_pair(model, person=person or True, precision="f32")
    first, second = networks
    each = gmacs(second, *second.description.crop)
    print(f"\nAP on {len(ids)} pictures, single scale, no flip, f32 (interval: 90 % bootstrap):")
    kept: list[dict[str, Any]] = []
    people = 0.0
    for height, looks in product(HEIGHTS, (1, 2)):
        found, detections = evaluate(
            runtime, val / "annotations.json", val / "images", height=height,
            person=again if looks == 2 else None,
        )  # fmt: skip
        cost = gmacs(first, height, height * 4 // 3)
        if looks == 1:
            people = len(detections) / len(ids)
        cost += each * people * (looks - 1)
        low, high = interval(labels, detections, ids)
        figures = "  ".join(
            f"{key} {found[key] * 100:5.1f}" for key in ("AP", "AP50", "APM", "APL")
        )
        within = "" if cost <= BUDGET else f" (over {BUDGET:g})"
        print(f"  height {height}, {looks} looks  {figures}  interval {low:.1f} to {high:.1f}, "
              f"{cost:.2f} GMACs at 4:3, {people:.1f} people found{within}")  # fmt: skip
        kept = detections if (height, looks) == (368, 2) else kept
    return kept


def as_fast(val: Path) -> None:
    """AP of the files that `fast` runs where the CPU computes int8."""
    runtime, person = load_pair(precision="int8")
    for height, looks in product((256, 368, 544), (1, 2)):
        found, _ = evaluate(
            runtime, val / "annotations.json", val / "images", height=height,
            person=person if looks == 2 else None,
        )  # fmt: skip
        print(f"  {runtime.label}, height {height}, {looks} looks  AP {found['AP'] * 100:5.1f}")


def interval(
    labels: dict[str, Any], detections: list[dict[str, Any]], ids: list[int], rounds: int = 200
) -> tuple[float, float]:
    """The 5th and 95th percentile of AP over pictures drawn with replacement."""
    random = np.random.default_rng(0)
    entries, said = by_picture(labels["annotations"], ids), by_picture(detections, ids)
    found = []
    for _ in range(rounds):
        truth, poses = [], []
        for number, place in enumerate(random.integers(0, len(ids), len(ids)), start=1):
            again = {"image_id": number}
            truth += [entry | again for entry in entries[ids[place]]]
            poses += [entry | again for entry in said[ids[place]]]
        truth = [entry | {"id": n} for n, entry in enumerate(truth, start=1)]
        images = [{"id": n} for n in range(1, len(ids) + 1)]
        drawn = {**labels, "images": images, "annotations": truth}
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
    labels = read_labels(val / "annotations.json")
    said = by_picture(detections, [entry["id"] for entry in labels["images"]])
    judged = []
    for entry in labels["images"]:
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


def curve(logs: list[Path], width: int = 640, height: int = 320) -> str:
    """The heatmaps' loss, and AP on held-out pictures, by step, as SVG; runs one after another."""
    lines: list[dict[str, float]] = []
    for log in logs:
        before = max((line["step"] for line in lines), default=0)
        run = [json.loads(line) for line in log.read_text().splitlines()]
        lines += [line | {"step": line["step"] + before} for line in run]
    lines.sort(key=lambda line: line["step"])
    loss = [(line["step"], line["heatmaps"]) for line in lines if "heatmaps" in line]
    ap = [(line["step"], line["AP"] * 100) for line in lines if "AP" in line]
    last = max(step for step, _ in loss)
    top = {"loss": 2.0, "AP": 40.0}

    def path(points: list[tuple[float, float]], name: str, colour: str) -> str:
        xy = " ".join(
            f"{40 + (width - 80) * step / last:.1f},"
            f"{height - 30 - (height - 50) * min(value / top[name], 1):.1f}"
            for step, value in points
        )
        return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{xy}"/>'

    def text(x: float, y: float, words: str, colour: str = "#888") -> str:
        return f'<text x="{x}" y="{y}" fill="{colour}" font-size="12">{words}</text>'

    marks = [text(4, height - 30, "0"), text(4, 24, f"{top['loss']:g}", "#4477aa"),
             text(width - 34, 24, f"{top['AP']:g}", "#cc6677"),
             text(width - 90, height - 8, f"step {last:,.0f}"),
             text(60, 24, "loss", "#4477aa"), text(100, 24, "AP held out", "#cc6677")]  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif">{path(loss, "loss", "#4477aa")}{path(ap, "AP", "#cc6677")}'
        f"{''.join(marks)}</svg>\n"
    )


if __name__ == "__main__":
    main()
