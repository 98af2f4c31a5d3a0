"""What was tried in the decoder: AP and milliseconds of variants on the same maps.

    python benchmarks/decoder.py LABELS IMAGES MODEL [--limit N]

The maps are computed once, at height 368; variants are changes of `limbwise.decode` that are
written here, next to its own keywords.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from limbwise import decode as module
from limbwise import peaks
from limbwise.bench import machine
from limbwise.data.coco_file import CocoFile, read_coco
from limbwise.decode import DecodeOptions, Limbs, decode
from limbwise.estimator import load
from limbwise.evaluation.evaluate import score
from limbwise.geometry import View, letterbox
from limbwise.network_output import NetworkOutput
from limbwise.outputs.records import coco_person
from limbwise.peaks import Peaks
from limbwise.pose import Pose, oks
from limbwise.skeleton import BODY, COCO
from limbwise.sources.image import read_picture

Seen = tuple[int, NetworkOutput, View]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--source", help="only pictures whose 'source' is this")
    flags = parser.parse_args()
    labels = read_coco(flags.labels)
    pictures = [e for e in labels.pictures if flags.source in (None, e.get("source"))]
    pictures = pictures[:: max(len(pictures) // flags.limit, 1)] if flags.limit else pictures
    runtime = load(flags.model, precision="f32").runtime
    seen: list[Seen] = []
    for entry in pictures:
        inputs, view = letterbox(read_picture(flags.images / entry["file_name"]), 368)
        seen.append((entry["id"], runtime(inputs[None])[0], view))
    print(f"{machine()}; {flags.model.name}, {len(seen)} pictures")
    print(f"{'variant':34} {'AP':>6} {'APM':>6} {'APL':>6} {'ms':>6}")
    plain = measured(labels, seen, decode)
    line("as it is", plain)
    for name, variant in variants().items():
        line(name, measured(labels, seen, variant))


def measured(
    labels: CocoFile, seen: list[Seen], variant: Callable[..., list[Pose]]
) -> dict[str, float]:
    detections, taken = [], []
    for image, fields, view in seen:
        began = time.perf_counter()
        poses = variant(fields, BODY)
        taken.append(time.perf_counter() - began)
        back = [pose.moved(view.inverse) for pose in poses]
        detections += [one for pose in back if (one := coco_person(pose, image))]
    found = score(labels, detections, [image for image, _, _ in seen], COCO)
    return found | {"ms": float(np.mean(taken)) * 1000}


def line(name: str, found: dict[str, float]) -> None:
    figures = " ".join(f"{found[key] * 100:6.2f}" for key in ("AP", "APM", "APL"))
    print(f"{name:34} {figures} {found['ms']:6.2f}", flush=True)


def variants() -> dict[str, Callable[..., list[Pose]]]:
    def keyword(**options: Any) -> Callable[..., list[Pose]]:
        return lambda fields, skeleton: decode(fields, skeleton, DecodeOptions(**options))

    found = {
        f"{name} {value:g}": keyword(**{name: value})
        for name, values in {
            "threshold": (0.05, 0.07, 0.15, 0.2),
            "weak": (0.01, 0.03, 0.05, 0.1),
            "samples": (5, 8, 12),
            "min_fraction": (0.6, 0.7, 0.9),
            "min_alignment": (0, 0.05, 0.1),
            "length_cost": (0, 0.2, 0.6),
            "size_weight": (0, 0.1, 0.3),
        }.items()
        for value in values
    }
    return found | {
        "maps upsampled x2 (cubic)": upsampled,
        "maps smoothed, sigma 0.5 cells": smoothed,
        "no position between cells": whole_cells,
        "part affinity fields read 0.44 cells aside": aside,
        "optimal assignment per limb": optimal,
        "score: confidences / sqrt(count)": confidences,
        "score: mean confidence": mean_confidence,
        "score: sum of limbs": sum_of_limbs,
        "doubles dropped, OKS over 0.7": without_doubles,
        "people of 3 keypoints or more": three_or_more,
        "0.25 input pixels to the right": moved(0.25),
        "0.25 input pixels to the left": moved(-0.25),
        "0.5 input pixels to the left": moved(-0.5),
    }


def moved(pixels: float) -> Callable[..., list[Pose]]:
    """Down as well as to the right."""
    return lambda fields, skeleton: [
        p.moved(lambda xy: xy + pixels) for p in decode(fields, skeleton)
    ]


def resized(maps: np.ndarray, factor: int) -> np.ndarray:
    size = maps.shape[-1] * factor, maps.shape[-2] * factor
    planes = [
        cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC)
        for plane in maps.reshape(-1, *maps.shape[-2:])
    ]
    return np.stack(planes).reshape(*maps.shape[:-2], *size[::-1]).astype(np.float32)


def upsampled(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    larger = NetworkOutput(
        resized(fields.heatmaps, 2), resized(fields.limbs, 2), fields.stride // 2
    )
    return decode(larger, skeleton)


def smoothed(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    maps = np.stack([cv2.GaussianBlur(plane, (3, 3), 0.5) for plane in fields.heatmaps])
    return decode(replace(fields, heatmaps=maps.astype(np.float32)), skeleton)


def whole_cells(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    with patched("_offsets", lambda lines: np.zeros((lines.shape[2], 2))):
        return decode(fields, skeleton)


def aside(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    """As if cell m of a part affinity field lay at input pixel 8 m, which is how the original drew
    them."""
    matrix = np.array([[1, 0, 0.4375], [0, 1, 0.4375]])
    size = fields.limbs.shape[-1], fields.limbs.shape[-2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    planes = [
        cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for plane in fields.limbs.reshape(-1, *size[::-1])
    ]
    limbs = np.stack(planes).reshape(fields.limbs.shape).astype(np.float32)
    return decode(replace(fields, limbs=limbs), skeleton)


def optimal(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    """Of each limb's pairs the one-to-one choice with the largest sum (Kuhn 1955)."""
    plain = module.score_limbs

    def chosen(limbs: Any, peaks: Peaks, skeleton: Any, *settings: Any) -> Limbs:
        found = plain(limbs, peaks, skeleton, *settings)
        kinds = np.stack([peaks.kind[found.start], peaks.kind[found.end]])
        kept: list[int] = []
        for pair in np.unique(kinds, axis=1).T:
            rows = np.flatnonzero((kinds == pair[:, None]).all(axis=0))
            starts, i = np.unique(found.start[rows], return_inverse=True)
            ends, j = np.unique(found.end[rows], return_inverse=True)
            table = np.zeros((len(starts), len(ends)))
            table[i, j] = found.score[rows]
            best = set(zip(*linear_sum_assignment(-table), strict=True))
            kept += [row for row, a, b in zip(rows, i, j, strict=True) if (a, b) in best]
        keep = np.sort(kept).astype(int)
        return Limbs(*(part[keep] for part in (found.start, found.end, found.score, found.strong)))

    with patched("score_limbs", chosen):
        return decode(fields, skeleton)


def confidences(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    return [
        replace(p, score=float(p.confidence.sum() / np.sqrt(p.found.sum())))
        for p in decode(fields, skeleton)
    ]


def mean_confidence(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    return [replace(p, score=float(p.confidence[p.found].mean())) for p in decode(fields, skeleton)]


def sum_of_limbs(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    plain = module._poses

    def unrooted(people: Any, *rest: Any) -> list[Pose]:
        for person in people:
            person.score *= np.sqrt(person.limbs)
        return plain(people, *rest)

    with patched("_poses", unrooted):
        return decode(fields, skeleton)


def without_doubles(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    """People who look like a better one are dropped, as in mask-free NMS by OKS."""
    kept: list[Pose] = []
    for pose in decode(fields, skeleton):
        left, top, right, bottom = pose.box
        area = (right - left) * (bottom - top) * 0.51
        if not (oks(pose, kept, area) > 0.7).any():
            kept.append(pose)
    return kept


def three_or_more(fields: NetworkOutput, skeleton: Any) -> list[Pose]:
    return [pose for pose in decode(fields, skeleton) if pose.found.sum() > 2]


class patched:  # noqa: N801 - reads as a verb
    """Replaces a function of limbwise.decode, or of limbwise.peaks, for a while."""

    def __init__(self, name: str, function: Any) -> None:
        self.name, self.function = name, function
        self.home = module if hasattr(module, name) else peaks

    def __enter__(self) -> None:
        self.kept = getattr(self.home, self.name)
        setattr(self.home, self.name, self.function)

    def __exit__(self, *_: object) -> None:
        setattr(self.home, self.name, self.kept)


if __name__ == "__main__":
    main()
