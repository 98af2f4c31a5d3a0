"""How fast a network learns here: pictures a second through forward, loss and backward.

    python benchmarks/training.py [--size 192] [--batch 32] [--rounds 8]

PyTorch's own backward pass of depthwise convolutions beside the compiled one (--native), in f32 and
bf16, in turns.
"""

import argparse
from functools import partial

import torch
from torch import nn

from limbwise.bench import interleaved, machine
from limbwise.train.checkpoint import build
from limbwise.train.depthwise import accelerate
from limbwise.train.run import TRAINED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    flags = parser.parse_args()
    pictures = torch.randn(flags.batch, 3, flags.size, flags.size)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    jobs = {
        f"{'compiled' if native else 'PyTorch'}, {'bf16' if half else 'f32'}": partial(
            step, network(native), pictures, half
        )
        for half in (False, True)
        for native in (False, True)
    }
    print(f"{machine()}: {flags.batch} pictures of {flags.size} x {flags.size} pixels")
    timings = interleaved(jobs, flags.rounds)
    slowest = timings["PyTorch, f32"].median
    for name, timing in timings.items():
        rate = 1000 * flags.batch / timing.median
        print(f"  {name:16} {rate:6.1f} pictures a second, {slowest / timing.median:.2f} x")


def network(native: bool) -> nn.Module:
    made = build("limbwise", TRAINED).network.train().to(memory_format=torch.channels_last)
    if native:
        accelerate(made)
    return made


def step(network: nn.Module, pictures: torch.Tensor, half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = network(pictures)
    sum(maps.float().square().mean() for maps in outputs).backward()


if __name__ == "__main__":
    main()
