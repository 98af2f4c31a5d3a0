"""How fast: drawing targets against the original's way of drawing them, for the same samples, and
making whole augmented batches.

    python benchmarks/targets.py LABELS IMAGES [--batch 32] [--size 368] [--rounds 5] [--threads 1]

The original (Lightweight OpenPose, arXiv 1811.12004) draws in Python, cell by cell, in the workers
that load pictures; `_heatmaps` and `_limb_fields` are written anew from that description.
"""

import argparse
import math

import numpy as np
import torch
from numpy.typing import NDArray

from limbwise.bench import interleaved, machine
from limbwise.data.coco import read
from limbwise.skeleton import BODY
from limbwise.train.batches import targets
from limbwise.train.batches.batch import Batch, augmented
from limbwise.train.batches.pictures import load_pictures
from limbwise.train.batches.samples import Samples, samples

STRIDE, SIGMA, THICKNESS = 8, 7.0, 1.0  # pixels, pixels, cells: the original's
CUT = 4.6052  # exponents beyond are left out: a Gaussian below 0.01
Maps = NDArray[np.float32]
Places = NDArray[np.float32]
Shown = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels")
    parser.add_argument("images")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=368)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    labels = read(flags.labels, flags.images, BODY)
    chosen = labels.subset(np.random.default_rng(0).permutation(len(labels))[: 4 * flags.batch])
    pool = samples(chosen, load_pictures(chosen))
    batch = crops(pool, flags.batch, flags.size)
    print(f"{machine()}, {flags.threads} threads\n")
    drawing(batch, flags.rounds)
    batches(pool, flags.batch, flags.rounds)


def crops(pool: Samples, count: int, size: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(0, len(pool), (count,), generator=generator)
    return augmented(pool, indices, (size, size), generator)


def drawing(batch: Batch, rounds: int) -> None:
    """Heatmaps and part affinity fields of one batch, both ways."""
    count, cells = len(batch.images), tuple(batch.heatmaps.shape[2:])
    people = int(batch.visible.any(dim=2).sum())
    jobs = {
        "original": lambda: _originals(batch, cells),
        "limbwise": lambda: (
            targets.heatmaps(batch.keypoints, batch.visible, cells, STRIDE, SIGMA),
            targets.part_affinity_fields(batch.keypoints, batch.visible, cells, BODY, STRIDE),
        ),
    }
    found = interleaved(jobs, rounds)
    print(f"Targets of {count} crops of {cells[0]} x {cells[1]} cells, {people} people:")
    for name, timing in found.items():
        rate = count / timing.minimum * 1000
        ratio = found["original"].minimum / timing.minimum
        print(
            f"  {name}  minimum {timing.minimum:7.2f} ms, median {timing.median:7.2f} ms, "
            f"{rate:5.0f} a second, {ratio:5.1f} times the original"
        )


def batches(pool: Samples, count: int, rounds: int) -> None:
    """Pictures, keypoints and masks of crops of 256 x 256."""
    timing = interleaved({"batch": lambda: crops(pool, count, 256)}, rounds)["batch"]
    print(
        f"\nAugmented crops of 256 x 256, {count} at a time: minimum {timing.minimum:.1f} ms, "
        f"median {timing.median:.1f} ms, {count / timing.minimum * 1000:.0f} a second"
    )


def _originals(batch: Batch, cells: tuple[int, ...]) -> list[tuple[Maps, Maps]]:
    return [
        (_heatmaps(xy, shown, cells), _limb_fields(xy, shown, cells))
        for xy, shown in zip(batch.keypoints.numpy(), batch.visible.numpy(), strict=True)
    ]


def _heatmaps(people: Places, visible: Shown, cells: tuple[int, ...]) -> Maps:
    """people (P, K, 2) in pixels and visible (P, K) to (K + 1, h, w), background last."""
    height, width = cells
    maps = np.zeros((people.shape[1] + 1, height, width), np.float32)
    reach = 4 * SIGMA
    for xy, shown in zip(people, visible, strict=True):
        for k, (x, y) in enumerate(xy):
            if not shown[k]:
                continue
            left, right = (int((x + way) // STRIDE) for way in (-reach, reach))
            top, bottom = (int((y + way) // STRIDE) for way in (-reach, reach))
            for row in range(max(top, 0), min(bottom + 1, height)):
                for column in range(max(left, 0), min(right + 1, width)):
                    across = column * STRIDE + STRIDE / 2 - 0.5 - x
                    down = row * STRIDE + STRIDE / 2 - 0.5 - y
                    exponent = (across * across + down * down) / (2 * SIGMA * SIGMA)
                    if exponent <= CUT:
                        maps[k, row, column] = min(maps[k, row, column] + math.exp(-exponent), 1)
    maps[-1] = 1 - maps[:-1].max(axis=0)
    return maps


def _limb_fields(people: Places, visible: Shown, cells: tuple[int, ...]) -> Maps:
    """people (P, K, 2) in pixels and visible (P, K) to (L * 2, h, w), people averaged."""
    height, width = cells
    fields = np.zeros((2 * len(BODY.pairs), height, width), np.float32)
    for limb, (start, end) in enumerate(BODY.pairs):
        count = np.zeros((height, width), np.int32)
        for xy, shown in zip(people / STRIDE, visible, strict=True):
            if not (shown[start] and shown[end]):
                continue
            (ax, ay), (bx, by) = xy[start], xy[end]
            length = math.hypot(bx - ax, by - ay)
            if length == 0:
                continue
            x, y = (bx - ax) / length, (by - ay) / length
            left, right = int(min(ax, bx) - THICKNESS), int(max(ax, bx) + THICKNESS) + 1
            top, bottom = int(min(ay, by) - THICKNESS), int(max(ay, by) + THICKNESS) + 1
            for row in range(max(top, 0), min(bottom, height)):
                for column in range(max(left, 0), min(right, width)):
                    if abs((column - ax) * y - (row - ay) * x) <= THICKNESS:
                        seen = count[row, column]
                        for plane, part in ((2 * limb, x), (2 * limb + 1, y)):
                            before = fields[plane, row, column]
                            fields[plane, row, column] = (before * seen + part) / (seen + 1)
                        count[row, column] += 1
    return fields


if __name__ == "__main__":
    main()
