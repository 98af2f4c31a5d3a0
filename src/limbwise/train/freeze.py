"""Layers of a pretrained backbone that do not learn, and are therefore computed as at inference."""

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import BadInput
from ..networks.limbwise import FEATURES, LimbwiseNetwork
from ..networks.person import PersonNetwork


def freeze(network: nn.Module, stages: int) -> None:
    """The stem and the first stages of the backbone get no gradients; their batch norm is at rest.

    BadInput if the network has no such backbone.
    """
    for part in _first(network, stages):
        part.eval().requires_grad_(False)


def fold(network: nn.Module, stages: int, dtype: torch.dtype, compiled: bool) -> None:
    """What is frozen runs in `dtype` without gradients from here on, its batch norm folded into
    copies of its convolutions, and compiled if asked for. The weights that are saved stay."""
    first = _first(network, stages)
    ends = [tap + 2 for tap in FEATURES if tap + 2 < len(first)]  # what is read there is kept
    for begin, end in pairwise([0, *ends, len(first)]):
        first[begin].forward = _folded(nn.Sequential(*first[begin:end]), dtype, compiled)
        for part in first[begin + 1 : end]:
            part.forward = nn.Identity().forward


def _first(network: nn.Module, stages: int) -> list[nn.Module]:
    if not isinstance(network, LimbwiseNetwork | PersonNetwork):
        raise BadInput("only limbwise's own networks have a backbone to freeze")
    return [network.trunk.stem, *network.trunk.stages[:stages]]


def _folded(layers: nn.Module, dtype: torch.dtype, compiled: bool) -> Callable[[Tensor], Tensor]:
    layers = copy.deepcopy(layers)
    for layer in list(layers.modules()):
        if not isinstance(layer, nn.Sequential):
            continue
        conv, *after = layer
        if isinstance(conv, nn.Conv2d) and isinstance(after[0], nn.BatchNorm2d):
            layer[0], layer[1] = fuse_conv_bn_eval(conv, after[0]), nn.Identity()
    run: Callable[[Tensor], Tensor] = layers.to(dtype)
    if compiled:
        run = torch.compile(run, options={"freezing": True})

    def forward(x: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            return run(x.to(dtype))

    return forward
