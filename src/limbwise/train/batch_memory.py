"""Whether a batch can be computed here, before it is tried: a machine without so much memory would
only say so by dying, or not answer for minutes."""

import copy
import os

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ..errors import BadInput
from ..networks.checkpoint import Checkpoint, normalised
from .config import TrainConfig

_TRIED = 64  # pixels, the side of the picture that is measured


_COARSEST = 32  # pixels, the largest stride of any network


def check_batch(made: Checkpoint, config: TrainConfig, device: torch.device) -> None:
    """BadInput, naming a batch that fits, if a step surely needs more memory than there is, or if
    batch norm would see a single value."""
    there = total_memory(device)
    height, width = made.description.crop or (made.description.height,) * 2
    if config.batch_size == 1 and max(height, width) <= _COARSEST:
        raise BadInput(
            f"one crop of {height} x {width} pixels is too little for batch norm: choose "
            "--batch-size 2, or a larger --size"
        )
    each = height * width * bytes_per_pixel(made) * (0.5 if config.amp else 1)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    need = each * config.batch_size / processes
    if there and need > there:
        fits = int(there / each * processes)
        raise BadInput(
            f"a batch of {config.batch_size} crops of {height} x {width} pixels needs "
            f"{need / 1e9:.0f} GB, there are {there / 1e9:.0f} GB: choose --batch-size "
            f"{fits} or less" + ", and --accumulate for the rest" * (fits > 0)
        )


def total_memory(device: torch.device) -> int:
    """Bytes of the device; 0 where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    if device.type != "cpu" or not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def bytes_per_pixel(made: Checkpoint) -> float:
    """What a step keeps of each pixel of its input until the backward pass, in float32."""
    network = copy.deepcopy(made.network).cpu().train()
    own = {value.untyped_storage().data_ptr() for value in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value
        return value

    side = max(_TRIED, 2 * made.traits.multiple)
    images = torch.zeros(2, 3, side, side)  # batch norm wants two
    prior = [torch.zeros(2, made.traits.keypoints, 3)] if made.traits.prior else []
    with saved_tensors_hooks(keep, lambda value: value):
        network(normalised(images, made.traits), *prior)
    sizes = (value.untyped_storage().nbytes() for place, value in kept.items() if place not in own)
    return sum(sizes) / (2 * side * side)
