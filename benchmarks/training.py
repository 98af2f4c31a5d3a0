"""How fast a network learns here: pictures a second through forward, loss and backward.

    python benchmarks/training.py [--size 192] [--batch 32] [--rounds 8]

PyTorch's own backward pass of depthwise convolutions beside the compiled one (--native), in f32
and, where it is not imitated, bf16, and with the first two and three stages of the trunk frozen
(--freeze 2, --freeze 3), in turns. The last line is once more, with freed memory kept by the
process, as `limbwise train` does.
"""

import argparse
from functools import partial

import torch
from torch import nn

from limbwise.bench import interleaved, machine
from limbwise.cli.train import keep_freed_memory
from limbwise.networks.checkpoint import build
from limbwise.train.freeze import fold, freeze
from limbwise.train.native.depthwise import accelerate
from limbwise.train.optimizers import computes_bf16
from limbwise.train.start import TRAINED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    flags = parser.parse_args()
    pictures = torch.randn(flags.batch, 3, flags.size, flags.size)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    best = computes_bf16(pictures.device)
    ways = [(half, native, 0) for half in sorted({False, best}) for native in (False, True)]
    jobs = {
        name(*way): partial(step, network(*way), pictures, way[0])
        for way in (*ways, (best, True, 2), (best, True, 3))
    }
    print(f"{machine()}: {flags.batch} pictures of {flags.size} x {flags.size} pixels")
    timings = interleaved(jobs, flags.rounds)
    slowest = timings["PyTorch, f32"].median
    last = name(best, True, 3)
    keep_freed_memory()
    timings[f"{last}, memory kept"] = interleaved({last: jobs[last]}, flags.rounds)[last]
    for label, timing in timings.items():
        rate = 1000 * flags.batch / timing.median
        print(f"  {label:35} {rate:6.1f} pictures a second, {slowest / timing.median:.2f} x")


def name(half: bool, native: bool, stages: int) -> str:
    how = ["compiled" if native else "PyTorch", "bf16" if half else "f32"]
    return ", ".join(how + [f"{stages} frozen"] * bool(stages))


def network(half: bool, native: bool, stages: int) -> nn.Module:
    made = build("limbwise", TRAINED).network.train().to(memory_format=torch.channels_last)
    if stages:
        freeze(made, stages)
        fold(made, stages, torch.bfloat16 if half else torch.float32, compiled=native)
    if native:
        accelerate(made)
    return made


def step(network: nn.Module, pictures: torch.Tensor, half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = network(pictures)
    sum(maps.float().square().mean() for maps in outputs).backward()


if __name__ == "__main__":
    main()
