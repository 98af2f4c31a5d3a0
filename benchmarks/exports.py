"""How far exports for phones are from OpenVINO's f32 on the validation pictures, and their AP.

    pip install '.[mobile,eval]'
    python benchmarks/exports.py FOLDER [--shared ../shared] [--limit N] [--camera]

What FOLDER lacks is exported into it: for each of .tflite and .ncnn.param the detector at both
pairs' sizes, as squares, and both second stages. With --camera the detectors take the shape of the
pictures of a camera, 3:4, and only such pictures are looked at. A person's size is the root of the
area of the box of its keypoints; a keypoint's distance is taken where both have it, of people who
are the same (OKS above 0.5). Squares have a margin of grey where OpenVINO's inputs end, which the
network sees; OpenVINO is therefore also given the squares, without being told where they end.
"""

import argparse
import json
from pathlib import Path
from statistics import median

import numpy as np
import torch

from limbwise.backends.base import Backend
from limbwise.backends.mobile import padded
from limbwise.bench import machine
from limbwise.estimator import Estimator, load
from limbwise.evaluation.evaluate import evaluate
from limbwise.export.mobile import export_mobile
from limbwise.models.catalogue import CATALOGUE
from limbwise.pose import Pose, oks
from limbwise.sources.image import read_picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--camera", action="store_true")
    flags = parser.parse_args()
    val = flags.shared / "data" / "val"
    listed = json.loads((val / "annotations.json").read_text())["images"]
    if flags.camera:
        listed = [each for each in listed if 3 * each["width"] == 4 * each["height"]]
    images = [read_picture(val / "images" / each["file_name"]) for each in listed[: flags.limit]]
    torch.set_num_threads(2)
    print(f"{machine()}, {len(images)} pictures")
    print(f"{'':28}{'AP':>7}{'people':>8}   median, 99 % of distance / size, from OpenVINO")
    print(f"{'':43}{'as it is':>20}{'given squares':>22}")
    flags.folder.mkdir(exist_ok=True)
    for pair in "accurate", "fast":
        truth = load(pair, precision="f32")
        square = with_squares(truth)
        expected = [[made(image) for image in images] for made in (truth, square)]
        rated = val, None if flags.camera else len(images)
        row(f"{pair}, OpenVINO", truth, rated, expected[0], expected)
        row(f"{pair}, OpenVINO, square", square, rated, expected[1], expected)
        for ending in (".tflite", ".ncnn.param"):
            first, second = exported(pair, truth.height, ending, flags.folder, flags.camera)
            made = load(first, person=second, threads=2)
            said = [made(image) for image in images]
            row(f"{pair}, {ending[1:]}", made, rated, said, expected)


def exported(pair: str, side: int, ending: str, folder: Path, camera: bool) -> tuple[Path, Path]:
    bundled = CATALOGUE[pair]
    assert bundled.second
    size = (3 * side // 4, side) if camera else side
    shape = f"{size[0]}x{size[1]}" if isinstance(size, tuple) else str(size)
    first = folder / f"detector-{shape}{ending}"
    second = folder / f"{bundled.second.stem}{ending}"
    if not first.exists():
        export_mobile(bundled.first.checkpoint, first, size)
    if not second.exists():
        export_mobile(bundled.second.checkpoint, second)
    return first, second


def with_squares(estimate: Estimator) -> Estimator:
    """The same, but its first stage is given squares, as phones' are."""
    first = estimate.runtime
    size = (estimate.height, estimate.height)
    run = lambda images: first.run(padded(images, size))  # noqa: E731
    return Estimator(
        Backend(first.description, first.label, run), person=estimate.person, height=estimate.height
    )


def row(
    title: str, made: Estimator, rated: tuple[Path, int | None], said: list[list[Pose]],
    expected: list[list[list[Pose]]],
) -> None:  # fmt: skip
    """`rated`: where the pictures are, and on how many of the first to measure AP, if on any."""
    val, limit = rated
    files = val / "annotations.json", val / "images"
    ap = float("nan")
    if limit:
        ap = evaluate(made.runtime, *files, person=made.person, height=made.height, limit=limit)[0][
            "AP"
        ]
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
