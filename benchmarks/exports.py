"""How far exports for phones are from OpenVINO's f32 on the validation pictures, and their AP.

    pip install '.[mobile,eval]'
    limbwise export MODEL.onnx FOLDER/STEM.tflite     (and .ncnn.param)
    python benchmarks/exports.py FOLDER [--shared ../shared] [--limit N]

FOLDER holds, for each of .tflite and .ncnn.param, the detector as `det`, the second stages as
`pose` and `fast`. A person's size is the root of the area of the box of its keypoints; a keypoint's
distance is taken where both have it, of people who are the same (OKS above 0.5). Phones' detectors
take squares, OpenVINO's pictures without most of the grey; since the network weighs channels by
what the whole input says, that alone moves boxes. So OpenVINO is also given the squares.
"""

import argparse
import json
from pathlib import Path
from statistics import median

import numpy as np
import torch

from limbwise.backends.base import Backend
from limbwise.backends.mobile import input_size, padded
from limbwise.bench import machine
from limbwise.estimator import Estimator, load
from limbwise.evaluation.evaluate import evaluate
from limbwise.models.catalogue import CATALOGUE
from limbwise.pose import Pose, oks
from limbwise.sources.image import read_picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--limit", type=int)
    flags = parser.parse_args()
    val = flags.shared / "data" / "val"
    names = [
        each["file_name"] for each in json.loads((val / "annotations.json").read_text())["images"]
    ]
    images = [read_picture(val / "images" / name) for name in names[: flags.limit]]
    torch.set_num_threads(2)
    print(f"{machine()}, {len(images)} pictures")
    print(f"{'':28}{'AP':>7}{'people':>8}   median, 99 % of distance / size, from OpenVINO")
    print(f"{'':43}{'as it is':>20}{'given squares':>22}")
    for pair, stem in ("accurate", "pose"), ("fast", "fast"):
        bundled = CATALOGUE[
            pair
        ]  # its files alone, as they are exported: a pair may ask for a size
        assert bundled.second
        truth = load(bundled.first.plain, person=bundled.second.plain, precision="f32")
        square = with_squares(truth)
        expected = [[made(image) for image in images] for made in (truth, square)]
        row(f"{pair}, OpenVINO", truth, val, expected[0], expected, flags.limit)
        row(f"{pair}, OpenVINO, square", square, val, expected[1], expected, flags.limit)
        for ending in (".tflite", ".ncnn.param"):
            made = load(
                flags.folder / f"det{ending}", person=flags.folder / f"{stem}{ending}", threads=2
            )
            said = [made(image) for image in images]
            row(f"{pair}, {ending[1:]}", made, val, said, expected, flags.limit)


def with_squares(estimate: Estimator) -> Estimator:
    """The same, but its first stage is given squares, as phones' are."""
    first = estimate.runtime
    size = input_size(first.description)
    run = lambda images: first.run(padded(images, size))  # noqa: E731
    return Estimator(Backend(first.description, first.label, run), person=estimate.person)


def row(
    title: str, made: Estimator, val: Path, said: list[list[Pose]],
    expected: list[list[list[Pose]]], limit: int | None,
) -> None:  # fmt: skip
    files = val / "annotations.json", val / "images"
    ap = evaluate(made.runtime, *files, person=made.person, limit=limit)[0]["AP"]
    aways = [distances(said, wanted) for wanted in expected]
    apart = "".join(f"{median(a):14.3%}{np.quantile(a, 0.99):8.2%}" for a in aways)
    print(f"{title:28}{ap:7.3f}{sum(map(len, said)):8}{apart}", flush=True)


def distances(said: list[list[Pose]], expected: list[list[Pose]]) -> list[float]:
    """Of the keypoints of those who are the same, in sizes of the person."""
    away: list[float] = []
    for poses, wanted in zip(said, expected, strict=True):
        for pose in wanted:
            left, top, right, bottom = pose.box
            area = (right - left) * (bottom - top)
            alike = oks(pose, poses, area)
            if alike.max(initial=0) > 0.5:
                other = poses[int(alike.argmax())]
                far = np.linalg.norm(pose.xy - other.xy, axis=1) / np.sqrt(area)
                away += far[np.isfinite(far)].tolist()
    return away


if __name__ == "__main__":
    main()
