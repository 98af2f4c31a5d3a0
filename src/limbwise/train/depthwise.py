"""Depthwise convolutions with a faster backward pass on CPUs, compiled where training runs.

PyTorch's own takes most of a training step on a CPU (docs/log.md, 2026-11-23); the forward pass
stays PyTorch's. Needs a C++ compiler and ninja; GPUs need none of it.
"""

import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ..errors import BadInput

SOURCE = Path(__file__).with_suffix(".cpp")
LANES = 16  # channels at a time


def accelerate(network: nn.Module) -> int:
    """Gives the network's depthwise convolutions the faster backward pass; how many they are.

    BadInput if it cannot be compiled here.
    """
    layers = [layer for layer in network.modules() if _fits(layer)]
    if layers:
        _native()
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def _fits(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == layer.in_channels == layer.out_channels
        and layer.groups % LANES == 0
        and layer.bias is None
        and layer.dilation == (1, 1)
        and layer.kernel_size in ((3, 3), (5, 5), (7, 7))
        and layer.stride in ((1, 1), (2, 2))
        and layer.padding == (layer.kernel_size[0] // 2,) * 2
    )


def _forward(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _Depthwise.apply(x, layer.weight, layer.stride[0])  # type: ignore[no-untyped-call]
    return out


class _Depthwise(torch.autograd.Function):
    """x (N, C, H, W), weight (C, 1, K, K) in its own precision, so that its gradient is exact."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        padding = weight.shape[2] // 2
        return torch.conv2d(x, weight.to(x.dtype), None, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = _native()(x, gradient, weight, ctx.stride)
        return of_x, of_weight.to(weight.dtype), None


@cache
def _native() -> Any:
    """The compiled kernel, from PyTorch's cache of extensions after the first time."""
    from torch.utils.cpp_extension import load

    beside = str(Path(sys.executable).parent)  # where pip puts ninja
    os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", "")])
    flags = ["-O3", "-march=native", "-ffast-math"]
    if sys.platform == "linux":  # without it at::parallel_for runs in one thread
        flags.append("-fopenmp")
    try:
        load("limbwise_depthwise", [str(SOURCE)], extra_cflags=flags, is_python_module=False)
    except (RuntimeError, OSError) as error:
        raise BadInput(
            f"--native needs a C++ compiler and ninja (pip install ninja): {_first(error)}"
        ) from error
    return torch.ops.limbwise.depthwise_backward


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
