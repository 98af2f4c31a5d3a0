"""How fast: the decoder against the ancestor's on the same maps, and the network per runtime.

    python benchmarks/speed.py [--shared ../shared] [--rounds 20] [--pictures 30]

Everything that is compared is timed in one process, in turns, so that a noisy moment hits all of
it alike; what counts is the ratio.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from ancestor import people as ancestor_people

from limbwise.bench import Timing, interleaved, machine
from limbwise.decode import decode
from limbwise.estimator import SAMPLE, load
from limbwise.fields import Fields
from limbwise.picture import read_picture
from limbwise.runtime import Runtime
from limbwise.skeleton import BODY
from limbwise.view import fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=30)
    flags = parser.parse_args()
    reference = flags.shared / "reference"
    print(machine())
    foreign = load(reference / "human-pose-estimation-0001.onnx", precision="f32").runtime
    pictures = sorted((flags.shared / "data" / "val" / "images").iterdir())[: flags.pictures]
    decoders(foreign, [read_picture(path) for path in pictures])
    crowd(foreign)
    networks(reference, flags.rounds)


def decoders(runtime: Runtime, images: list[np.ndarray]) -> None:
    """The same maps at height 368 through three decoders."""
    taken: dict[str, list[float]] = {}
    counts = []
    for image in images:
        fields = runtime(fit(image, 368)[0][None])[0]
        counts.append(len(decode(fields, BODY)))
        jobs = {
            "ancestor, full size (val.py)": partial(ancestor_people, fields, 8, image.shape[1::-1]),
            "ancestor, maps x4 (demo.py)": partial(ancestor_people, fields, 4),
            "limbwise": partial(decode, fields, BODY),
        }
        for name, timing in interleaved(jobs, 3).items():
            taken.setdefault(name, []).append(timing.least)
    print(f"\nDecoding, {len(images)} pictures at height 368, {np.mean(counts):.1f} people each:")
    ours = np.array(taken["limbwise"])
    for name, each in taken.items():
        ratio = np.median(np.array(each) / ours)
        print(f"  {name:30} median {np.median(each):7.2f} ms, mean {np.mean(each):7.2f} ms, "
              f"{ratio:6.1f} times limbwise")  # fmt: skip


def crowd(runtime: Runtime) -> None:
    """The sample's two people side by side, again and again."""
    fields = runtime(fit(read_picture(SAMPLE), 368)[0][None])[0]
    print("\nDecoding by people:")
    for copies in (1, 3, 5, 10, 25):
        many = Fields(np.tile(fields.heatmaps, copies), np.tile(fields.limbs, copies))
        timing = interleaved({"": partial(decode, many, BODY)}, 20)[""]
        print(f"  {len(decode(many, BODY)):3} people: {show(timing)}")


def networks(reference: Path, rounds: int) -> None:
    """The ancestor's network in every runtime."""
    checkpoint = reference / "lightweight-openpose.pth"
    int8 = reference / "human-pose-estimation-0001" / "human-pose-estimation-0001.xml"
    for threads in (1, 2):
        runtimes = {
            "PyTorch f32": load(checkpoint, runtime="torch", threads=threads),
            "ONNX Runtime f32": load(checkpoint, runtime="onnx", threads=threads),
            "OpenVINO f32": load(checkpoint, precision="f32", threads=threads),
            "OpenVINO fast": load(checkpoint, threads=threads),
            "OpenVINO, Open Model Zoo's int8": load(int8, threads=threads),
        }
        image = np.random.default_rng(0).integers(0, 256, (1, 256, 456, 3), dtype=np.uint8)
        jobs = {name: partial(each.runtime, image) for name, each in runtimes.items()}
        timings = interleaved(jobs, rounds)
        print(f"\nThe ancestor's network, 256 x 456, {threads} threads:")
        for name, timing in timings.items():
            ratio = timing.median / timings["PyTorch f32"].median
            print(f"  {name:32} {show(timing)}, {ratio:.2f} of PyTorch")


def show(timing: Timing) -> str:
    return f"least {timing.least:.2f} ms, median {timing.median:.2f} ms"


if __name__ == "__main__":
    main()
