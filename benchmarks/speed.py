"""How fast: pipelines side by side, the decoder against the original's, networks by runtime.

    python benchmarks/speed.py [--shared ../shared] [--rounds 50] [--pictures 30] [--peer X.xml ...]
    python benchmarks/speed.py --pairs [--yolo yolo26n-pose.onnx]

A peer is a network of anybody's as OpenVINO reads it, timed without its decoder. `--pairs` times
the bundled models alone: a frame of 480 x 640 with four people, and one of twenty, to poses, beside
YOLO26n-pose's network, which Ultralytics (AGPL, not a part of this) builds from its YAML with
random weights and exports for inputs of 480 x 640. Times are told twice: of pictures that change
between the models one by one, so that each finds the caches full of the others' weights, and of
twenty in a row by one model, as in a film.

Everything that is compared is timed in one process, in turns, so that a noisy moment hits all of
it alike; what counts is the ratio.
"""

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from original import people as original_people

from limbwise.backends.base import Backend
from limbwise.bench import Timing, interleaved, machine, stages
from limbwise.decode import decode
from limbwise.estimator import SAMPLE, Estimator, load, load_pair
from limbwise.geometry import letterbox
from limbwise.models.catalogue import CATALOGUE
from limbwise.network_output import NetworkOutput
from limbwise.skeleton import BODY
from limbwise.sources.image import read_picture
from limbwise.train.batches import targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--peer", type=Path, action="append", default=[])
    parser.add_argument("--pairs", action="store_true", help="the bundled models only")
    parser.add_argument("--yolo", type=Path, help="YOLO26n-pose as .onnx or .xml")
    flags = parser.parse_args()
    if flags.pairs:
        print(machine())
        for threads in (2, 1):
            bundled(threads, flags.rounds, flags.yolo)
        return
    reference = flags.shared / "reference"
    print(machine())
    for height, width in ((256, 456), (368, 656)):
        for threads in (1, 2):
            pipelines(reference, (height, width), threads, flags.rounds, flags.peer)
    foreign = load(reference / "human-pose-estimation-0001.onnx", precision="f32").runtime
    pictures = sorted((flags.shared / "data" / "val" / "images").iterdir())[: flags.pictures]
    decoders(foreign, [read_picture(path) for path in pictures])
    crowd(foreign)
    networks(reference, flags.rounds)


def bundled(threads: int, rounds: int, yolo: Path | None) -> None:
    """A frame to poses by each bundled model, its parts, and a crowd, in turns."""
    four, twenty = crowd_of(2, 2), crowd_of(4, 5)
    jobs: dict[str, Callable[[], object]] = {}
    if yolo:
        jobs["YOLO26n-pose, network alone, f32"] = peer_network(yolo, (480, 640), threads, "f32")
    for name, precision in product(("accurate", "fast", "one-stage"), ("f32", "int8", "fast")):
        if precision == "int8" and not CATALOGUE[name].in_int8:
            continue
        way = load(name, threads=threads, precision=precision)
        said = " + ".join(each.label for each in (way.runtime, way.person) if each)
        label = f"{name}, {precision}"
        print(f"{label}: {said}, {len(way(four))} and {len(way(twenty))} people")
        jobs[f"{label}, four"] = partial(way, four)
        first = load_pair(CATALOGUE[name].first.plain, person=False, precision="f32")[0]
        if precision == "fast" and way.height != first.description.height:
            usual = way.at(first.description.height)
            jobs[f"{label}, four, at {usual.height}"] = partial(usual, four)
        if precision == "fast" and way.person:
            jobs[f"{label}, twenty"] = partial(way, twenty)
            parts = stages(way, four).items()
            jobs |= {
                f"  {name}: {part}": job for part, job in parts if part not in ("draw", "whole")
            }
    for in_a_row, times in ((1, rounds), (20, max(rounds // 4, 1))):
        timings = interleaved(jobs, times, in_a_row)
        base = next(iter(timings.values()))
        print(f"\nA frame of 480 x 640 to poses, {threads} threads, {times} rounds, "
              f"{in_a_row} in a row:")  # fmt: skip
        for name, timing in timings.items():
            print(f"  {name:36} {show(timing)}, {timing.minimum / base.minimum:.2f} (minimum), "
                  f"{timing.median / base.median:.2f} (median) of the first")  # fmt: skip


def crowd_of(rows: int, columns: int) -> np.ndarray:
    """(480, 640, 3): one of the sample's people many times, side by side."""
    person = read_picture(SAMPLE)[:, 480:]
    small = cv2.resize(person, (640 // columns, 480 // rows), interpolation=cv2.INTER_AREA)
    return np.tile(small, (rows, columns, 1))


def pipelines(
    reference: Path, size: tuple[int, int], threads: int, rounds: int, peers: list[Path]
) -> None:
    """From a frame of 1280 x 720 in memory to poses; two people stand in it."""
    frame = cv2.resize(read_picture(SAMPLE), (1280, 720), interpolation=cv2.INTER_AREA)
    checkpoint = reference / "lightweight-openpose.pth"
    omz = reference / "human-pose-estimation-0001"
    seed = load(checkpoint, runtime="torch", threads=threads, height=size[0])

    def as_the_demo() -> object:
        return original_people(seed.infer(frame)[0], 4)

    ways = {
        "original, OpenVINO f32": load(omz.with_suffix(".onnx"), precision="f32", threads=threads),
        "original, OpenVINO int8": load(omz / f"{omz.name}.xml", threads=threads),
        "limbwise, one stage, f32": load("one-stage", precision="f32", threads=threads),
        "limbwise, one stage, fast": load("one-stage", threads=threads),
        "limbwise, accurate, f32": load(precision="f32", threads=threads),
        "limbwise, accurate, fast": load(threads=threads),
        "limbwise, fast, fast": load("fast", threads=threads),
    }
    jobs: dict[str, Callable[[], object]] = {"original, PyTorch, its decoder x4": as_the_demo}
    for name, way in ways.items():
        if way.runtime.description.fit == "height":
            way.height = size[0]
        jobs[f"{name} ({way.runtime.label})"] = partial(way, frame)
    jobs["original's network alone, OpenVINO f32"] = partial(
        ways["original, OpenVINO f32"].runtime, np.zeros((1, *size, 3), np.uint8)
    )
    for peer in peers:
        jobs[f"{peer.stem}, network alone, OpenVINO"] = peer_network(peer, size, threads)
    timings = interleaved(jobs, rounds)
    first = timings["original, PyTorch, its decoder x4"]
    print(f"\nA frame to poses, {size[0]} x {size[1]}, {threads} threads, {rounds} rounds:")
    for name, timing in timings.items():
        ratio = first.median / timing.median
        print(f"  {name:44} {show(timing)}, the first takes {ratio:5.1f} times as long")


def peer_network(
    path: Path, size: tuple[int, int], threads: int, precision: str | None = None
) -> Callable[[], object]:
    """One pass of a network with inputs (1, 3, H, W), both sides up to multiples of 32."""
    import openvino as ov

    core = ov.Core()
    network = core.read_model(path)
    shape = 1, 3, -(-size[0] // 32) * 32, -(-size[1] // 32) * 32
    network.reshape(shape)
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads,
               "ENABLE_CPU_PINNING": False}  # fmt: skip
    if precision:
        options["INFERENCE_PRECISION_HINT"] = precision
    request = core.compile_model(network, "CPU", options).create_infer_request()
    return partial(request.infer, [np.zeros(shape, np.float32)])


def decoders(runtime: Backend, images: list[np.ndarray]) -> None:
    """The same maps at height 368 through three decoders."""
    taken: dict[str, list[float]] = {}
    counts = []
    for image in images:
        fields = runtime(letterbox(image, 368)[0][None])[0]
        counts.append(len(decode(fields, BODY)))
        jobs = {
            "original, full size (val.py)": partial(original_people, fields, 8, image.shape[1::-1]),
            "original, maps x4 (demo.py)": partial(original_people, fields, 4),
            "limbwise": partial(decode, fields, BODY),
        }
        for name, timing in interleaved(jobs, 3).items():
            taken.setdefault(name, []).append(timing.minimum)
    print(f"\nDecoding, {len(images)} pictures at height 368, {np.mean(counts):.1f} people each:")
    ours = np.array(taken["limbwise"])
    for name, each in taken.items():
        ratio = np.median(np.array(each) / ours)
        print(f"  {name:30} median {np.median(each):7.2f} ms, mean {np.mean(each):7.2f} ms, "
              f"{ratio:6.1f} times limbwise")  # fmt: skip


def crowd(runtime: Backend) -> None:
    """A person of the sample many times, in fields of 368 x 656 as a perfect network has them."""
    image = read_picture(SAMPLE)
    pose = max(Estimator(runtime)(image), key=lambda each: each.found.sum())
    left, top, right, bottom = pose.box
    print("\nDecoding by people, 368 x 656:")
    for rows, columns in ((1, 1), (1, 5), (2, 5), (2, 10), (5, 10)):
        height, width = 368 / rows, 656 / columns
        scale = 0.9 * min(height / (bottom - top), width / (right - left))
        places = [(x * width, y * height) for y in range(rows) for x in range(columns)]
        xy = np.stack([(pose.xy - (left, top)) * scale + place for place in places])
        fields = perfect(torch.from_numpy(xy.astype(np.float32))[None])
        timing = interleaved({"": partial(decode, fields, BODY)}, 50)[""]
        print(f"  {len(decode(fields, BODY)):3} people: {show(timing)}")


def perfect(xy: torch.Tensor) -> NetworkOutput:
    """Keypoints (1, P, K, 2), nan where there is none, as fields at stride 8."""
    seen = ~torch.isnan(xy[..., 0])
    xy, size = xy.nan_to_num(), (46, 82)
    heatmaps = targets.heatmaps(xy, seen, size, 8)[0].numpy()
    return NetworkOutput(
        heatmaps, targets.part_affinity_fields(xy, seen, size, BODY, 8)[0].numpy(), 8
    )


def networks(reference: Path, rounds: int) -> None:
    """The original's network in every runtime."""
    checkpoint = reference / "lightweight-openpose.pth"
    int8 = reference / "human-pose-estimation-0001" / "human-pose-estimation-0001.xml"
    for threads in (1, 2):
        backends = {
            "PyTorch f32": load(checkpoint, runtime="torch", threads=threads),
            "ONNX Runtime f32": load(checkpoint, runtime="onnx", threads=threads),
            "OpenVINO f32": load(checkpoint, precision="f32", threads=threads),
            "OpenVINO fast": load(checkpoint, threads=threads),
            "OpenVINO, Open Model Zoo's int8": load(int8, threads=threads),
        }
        image = np.random.default_rng(0).integers(0, 256, (1, 256, 456, 3), dtype=np.uint8)
        for each in backends.values():
            each.height = 256
        jobs = {name: partial(each.runtime, image) for name, each in backends.items()}
        timings = interleaved(jobs, rounds)
        print(f"\nThe original's network, 256 x 456, {threads} threads:")
        for name, timing in timings.items():
            ratio = timing.median / timings["PyTorch f32"].median
            print(f"  {name:32} {show(timing)}, {ratio:.2f} of PyTorch")


def show(timing: Timing) -> str:
    return f"minimum {timing.minimum:.2f} ms, median {timing.median:.2f} ms"


if __name__ == "__main__":
    main()
