"""What a few steps from a bundled network do, by the learning rate: AP before and after.

    python benchmarks/finetune.py PACK [--network limbwise] [--rates 1e-3,1e-4] [--steps 20,100]

PACK is a folder with annotations.json and images/. Three disjoint draws of pictures that people
labelled are trained on, each by itself; AP is measured on pictures that neither they nor the
bundled networks have learnt from (the same that scripts/bundled_model_data.py holds out). The
default rates of `train/config.py` were chosen by this table.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from limbwise.backends import openvino
from limbwise.bench import machine
from limbwise.evaluation.evaluate import evaluate
from limbwise.train.config import TrainConfig
from limbwise.train.run import Data, train

Entry = dict[str, Any]
HELD = 200  # by scripts/bundled_model_data.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--network", default="limbwise")
    parser.add_argument("--source", default="coco-train2017")
    parser.add_argument("--rates", default="2e-3,1e-3,3e-4,1e-4,3e-5,1e-5")
    parser.add_argument("--steps", default="20,100")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--validate", type=int, default=80)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    pack = json.loads((flags.pack / "annotations.json").read_text())
    human = sorted(e["id"] for e in pack["images"] if e.get("source") == flags.source)
    Random(0).shuffle(human)
    with TemporaryDirectory() as folder:
        held = Path(folder) / "held.json"
        held.write_text(json.dumps(chosen(pack, human[: flags.validate])))
        draws = []
        for number in range(flags.draws):
            first = HELD + number * flags.pictures
            path = Path(folder) / f"draw{number}.json"
            path.write_text(json.dumps(chosen(pack, human[first : first + flags.pictures])))
            draws.append(path)
        print(f"{machine()}: {flags.network}, {flags.batch} pictures a step", flush=True)
        print(
            "| steps | rate | AP before | after, each draw | mean change |\n|---|---|---|---|---|"
        )
        after = partial(measured, flags, held)
        before = after(draws[0], 1, 0.0)
        for steps in map(int, flags.steps.split(",")):
            for rate in map(float, flags.rates.split(",")):
                said = [after(draw, steps, rate) for draw in draws]
                each = ", ".join(f"{ap:.1f}" for ap in said)
                change = np.mean(said) - before
                print(f"| {steps} | {rate:g} | {before:.1f} | {each} | {change:+.1f} |", flush=True)


def measured(flags: argparse.Namespace, held: Path, draw: Path, steps: int, rate: float) -> float:
    """AP, in per cent, after so many steps from the bundled network."""
    images = flags.pack / "images"
    with TemporaryDirectory() as out:
        train(
            Data([draw], [images]), out, lambda step, figures: None,
            TrainConfig(network=flags.network, init="bundled", steps=steps, lr=rate,
                        batch_size=flags.batch, size=flags.size, amp=True, native=True),
        )  # fmt: skip
        model = openvino.load(Path(out) / "last.safetensors")
        found, _ = evaluate(model, held, images)
    return 100 * found["AP"]


def chosen(pack: Entry, ids: list[int]) -> Entry:
    """The pack with these pictures only."""
    wanted = set(ids)
    return {
        **pack,
        "images": [each for each in pack["images"] if each["id"] in wanted],
        "annotations": [each for each in pack["annotations"] if each["image_id"] in wanted],
    }


if __name__ == "__main__":
    main()
