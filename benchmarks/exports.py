"""How far exports for phones are from OpenVINO's f32 on the validation pictures, and their AP.

    pip install '.[mobile,eval]'
    limbwise export MODEL.onnx FOLDER/STEM.tflite     (and .ncnn.param)
    python benchmarks/exports.py FOLDER [--shared ../shared] [--limit N]

FOLDER holds, for each of .tflite and .ncnn.param, the detector as `det`, the second stages as
`pose` and `fast`. A person's size is the root of the area of the box of its keypoints; a keypoint's
distance is taken where both have it, of people who are the same (OKS above 0.5).
"""

import argparse
from pathlib import Path
from statistics import median

import numpy as np
import torch

from limbwise.bench import machine
from limbwise.estimator import Estimator, load
from limbwise.evaluation.evaluate import evaluate, read_labels
from limbwise.pose import Pose, oks
from limbwise.sources.image import read_picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--limit", type=int)
    flags = parser.parse_args()
    val = flags.shared / "data" / "val"
    names = [each["file_name"] for each in read_labels(val / "annotations.json")["images"]]
    images = [read_picture(val / "images" / name) for name in names[: flags.limit]]
    torch.set_num_threads(2)
    print(f"{machine()}, {len(images)} pictures")
    print(f"{'':24}{'AP':>7}{'people':>8}{'same':>6}  distance / size: median     99 %")
    for pair, stem in ("accurate", "pose"), ("fast", "fast"):
        truth = load(pair, precision="f32")
        expected = [truth(image) for image in images]
        row(f"{pair}, OpenVINO", truth, val, expected, expected, flags.limit)
        for ending in (".tflite", ".ncnn.param"):
            made = load(
                flags.folder / f"det{ending}", person=flags.folder / f"{stem}{ending}", threads=2
            )
            said = [made(image) for image in images]
            row(f"{pair}, {ending[1:]}", made, val, said, expected, flags.limit)


def row(
    title: str, made: Estimator, val: Path, said: list[list[Pose]], expected: list[list[Pose]],
    limit: int | None,
) -> None:  # fmt: skip
    files = val / "annotations.json", val / "images"
    ap = evaluate(made.runtime, *files, person=made.person, limit=limit)[0]["AP"]
    same, away = 0, []
    for poses, wanted in zip(said, expected, strict=True):
        for pose in wanted:
            left, top, right, bottom = pose.box
            area = (right - left) * (bottom - top)
            alike = oks(pose, poses, area)
            if alike.max(initial=0) > 0.5:
                same += 1
                other = poses[int(alike.argmax())]
                far = np.linalg.norm(pose.xy - other.xy, axis=1) / np.sqrt(area)
                away += far[np.isfinite(far)].tolist()
    count, late = sum(map(len, said)), np.quantile(away, 0.99)
    print(f"{title:24}{ap:7.2f}{count:8}{same:6}  {median(away):22.4%} {late:8.3%}", flush=True)


if __name__ == "__main__":
    main()
