"""How accurate: AP of the reference weights in the original's pipeline and in limbwise, and of the
bundled models, by input height, and the ceiling of the decoder on perfect maps.

    python benchmarks/accuracy.py [--shared ../shared] [--models a.onnx ...] [--heights 256,368]

Needs the validation pictures and the reference weights in `--shared`.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbwise.bench import machine
from limbwise.data.coco_file import CocoFile, read_coco
from limbwise.decode import decode
from limbwise.estimator import load, load_pair
from limbwise.evaluation.evaluate import as_pose, evaluate, score
from limbwise.geometry import View
from limbwise.network_output import NetworkOutput
from limbwise.outputs.records import coco_person
from limbwise.pose import Pose, oks
from limbwise.skeleton import BODY, COCO
from limbwise.train.batches import targets
from limbwise.train.run import in_memory

HEIGHT = 368


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--models", type=Path, nargs="*", help="more model files to measure")
    parser.add_argument("--heights", default=str(HEIGHT), help="input heights, with commas")
    flags = parser.parse_args()
    val, reference = flags.shared / "data" / "val", flags.shared / "reference"
    labels = read_coco(val / "annotations.json")
    print(machine(), f"{len(labels.pictures)} pictures", sep=", ")
    print(f"\nThe original's pipeline, height {HEIGHT}, from its own detections:")
    for name in ("lightweight-openpose", "0001"):
        detections = json.loads((reference / f"original-detections-{name}.json").read_text())
        ids = [entry["id"] for entry in labels.pictures]
        row(name, score(labels, detections, ids, COCO))
    files = ["lightweight-openpose.pth", "human-pose-estimation-0001.onnx"]
    files = [*(reference / name for name in files), *(flags.models or [])]
    models = {path.stem: load(path, precision="f32") for path in files}
    models["bundled, one-stage"] = load("one-stage", precision="f32")
    for height in map(int, flags.heights.split(",")):
        print(f"\nlimbwise, height {height}, single scale, no flip, f32:")
        for name, model in models.items():
            runtime, person = model.runtime, model.person
            paths = val / "annotations.json", val / "images"
            row(name, evaluate(runtime, *paths, person=person, height=height)[0])
    pairs(val, reference / "teachers")
    ceiling(labels)


def pairs(val: Path, teachers: Path) -> None:
    """The bundled pairs at their defaults, and the published networks as they are, read by our own
    code: RTMDet-nano and PP-TinyPose."""
    print("\nPairs at their defaults, single scale, no flip, f32:")
    paths = val / "annotations.json", val / "images"
    for name in ("accurate", "fast"):
        first, second = load_pair(name, precision="f32")
        row(f"bundled, {name}", evaluate(first, *paths, person=second)[0])
    sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
    import detector_from_published
    import second_stage_from_published

    made = [
        detector_from_published.converted(teachers / "rtmdet-nano-320-person.onnx"),
        second_stage_from_published.converted(teachers / "pp-tinypose-256x192" / "model.xml"),
    ]
    first, second = (in_memory(each, torch.device("cpu")) for each in made)
    row("published, as they are", evaluate(first, *paths, person=second)[0])


def row(name: str, found: dict[str, float]) -> None:
    figures = "  ".join(
        f"{key} {found[key] * 100:5.1f}" for key in ("AP", "AP50", "APM", "APL", "AR")
    )
    print(f"  {name:28} {figures}")


def ceiling(labels: CocoFile, stride: int = 8, sigma: float = 7.0) -> None:
    """AP of decoding the fields drawn from the labels, and who is lost, and why."""
    detections, lost, people = [], Counter[str](), 0
    for entry in labels.pictures:
        truth = labelled_people(labels, entry["id"])
        poses = decoded(truth, entry, stride, sigma)
        detections += [one for pose in poses if (one := coco_person(pose, entry["id"]))]
        people += len(truth)
        lost.update(why for person in truth if (why := why_lost(person, truth, poses)))
    found = score(labels, detections, [entry["id"] for entry in labels.pictures], COCO)
    print(f"\nPerfect fields of the labels, stride {stride}, sigma {sigma:g}, height {HEIGHT}:")
    row("ceiling", found)
    print(f"  of {people} people {sum(lost.values())} are lost (OKS under 0.5):")
    for why, count in lost.most_common():
        print(f"    {count:3} {why}")


def labelled_people(labels: CocoFile, image: int) -> list[tuple[Pose, float]]:
    """The people of a picture with keypoints, as BODY in image pixels, and their areas."""
    people = []
    for entry in labels.people:
        if entry["image_id"] == image and entry["num_keypoints"] and not entry["iscrowd"]:
            pose = as_pose(entry["keypoints"], COCO)
            people.append((pose.as_skeleton(BODY), float(entry["area"])))
    return people


def decoded(
    people: list[tuple[Pose, float]], entry: dict[str, Any], stride: int, sigma: float
) -> list[Pose]:
    """What the decoder reads from the fields drawn of these people."""
    if not people:
        return []
    width = round(entry["width"] * HEIGHT / entry["height"])
    view = View.scaling(width / entry["width"], HEIGHT / entry["height"])
    xy = torch.from_numpy(np.stack([view.forward(pose.xy) for pose, _ in people]))[None]
    visible = ~torch.isnan(xy[..., 0])
    size = -(-HEIGHT // stride), -(-width // stride)
    fields = NetworkOutput(
        targets.heatmaps(xy.nan_to_num(), visible, size, stride, sigma)[0].numpy(),
        targets.part_affinity_fields(xy.nan_to_num(), visible, size, BODY, stride)[0].numpy(),
        stride,
    )
    return [pose.moved(view.inverse) for pose in decode(fields, BODY)]


def why_lost(
    person: tuple[Pose, float], everybody: list[tuple[Pose, float]], poses: list[Pose]
) -> str | None:
    """None for a person who is found (OKS over all labelled COCO keypoints of at least 0.5)."""
    pose, area = person
    truth = pose.as_skeleton(COCO)
    found = [other.as_skeleton(COCO) for other in poses]
    # oks() counts keypoints that both have; those that the found pose lacks count as missed here.
    shares = [float((other.found & truth.found).sum() / truth.found.sum()) for other in found]
    if any(o * s >= 0.5 for o, s in zip(oks(truth, found, area), shares, strict=True)):
        return None
    parts = components(pose)
    if max(parts) < 2:
        return "no limb joins any two of the labelled keypoints"
    if max(parts) < 0.5 * pose.found.sum():
        return f"falls apart: the limbs join the labelled keypoints into {len(parts)} parts"
    left, top, right, bottom = pose.box
    if max(right - left, bottom - top) < 24:
        return "smaller than 24 image pixels"
    near = [
        other
        for other, _ in everybody
        if other is not pose and (np.hypot(*(other.xy - pose.xy).T) < 16).any()
    ]
    return "keypoints of a kind close to another person's" if near else "other"


def components(pose: Pose) -> list[int]:
    """Sizes of the groups of found keypoints that BODY's limbs connect."""
    group = {k: {k} for k in np.flatnonzero(pose.found).tolist()}
    for a, b in BODY.pairs:
        if a in group and b in group and group[a] is not group[b]:
            group[a] |= group[b]
            for member in group[a]:
                group[member] = group[a]
    return [len(members) for members in {id(g): g for g in group.values()}.values()]


if __name__ == "__main__":
    main()
