"""Depthwise convolutions with a faster backward pass on CPUs, compiled where training runs.

PyTorch's own takes most of a training step on a CPU (docs/log.md, 2026-11-23); the forward pass
stays PyTorch's. Needs a C++ compiler; GPUs need none of it.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ...atomic import failing_to_write, replacing
from ...cache import folder as kept_in
from ...cache import is_ours
from ...errors import BadInput

SOURCE = Path(__file__).with_suffix(".cpp")
LANES = 16  # the most channels that the kernel takes at a time
FLAGS = ["-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-w"]
if sys.platform == "linux":  # elsewhere it runs in one thread
    FLAGS.append("-fopenmp")


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
        if layer.bias is not None:
            out = out + layer.bias.to(out.dtype)[:, None, None]
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
        of_x, of_weight = _backward(x, gradient, weight.float(), ctx.stride)
        return of_x, of_weight.to(weight.dtype), None


def _backward(x: Tensor, gradient: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Gradients of x (N, C, H, W) and weight (C, 1, K, K) from the output's (N, C, h, w)."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f"float32 or bfloat16 on a CPU is needed, not {x.dtype} on {x.device}")
    x = x.contiguous(memory_format=torch.channels_last)
    gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
    features = weight.flatten(1).t().contiguous()
    sums = torch.zeros(len(x), *features.shape)
    of_x = torch.empty_like(x)
    shape = (ctypes.c_int64 * 6)(*x.shape, *gradient.shape[2:])
    tensors = [tensor.data_ptr() for tensor in (x, gradient, features, of_x, sums)]
    _native()(*tensors, shape, weight.shape[2], stride, x.dtype == torch.bfloat16)
    return of_x, sums.sum(0).t().reshape_as(weight)


@cache
def _native() -> Any:
    """The compiled kernel, kept for the next start where there is a cache."""
    folder = kept_in()
    if folder is None:
        with TemporaryDirectory() as path:
            return _load(Path(path) / "kernel.so")
    return _load(folder / f"depthwise-{_key()}.so")


def _load(path: Path) -> Any:
    """The kernel of a file, compiled first if it is missing or damaged, or if somebody else may
    have written it; BadInput if that fails."""
    with suppress(OSError):
        if is_ours(path):
            return _open(path)
    with failing_to_write(path), replacing(path) as temporary:
        _compile(temporary)
        temporary.chmod(0o700)
    try:
        return _open(path)
    except OSError as error:  # a folder from which nothing may be run, perhaps
        raise BadInput(
            f"--native: the compiled kernel cannot be loaded: {error}; another folder for it is "
            "named by LIMBWISE_CACHE"
        ) from error


def _open(path: Path) -> Any:
    kernel = ctypes.CDLL(str(path)).depthwise_backward
    kernel.argtypes = [*[ctypes.c_void_p] * 6, *[ctypes.c_int64] * 2, ctypes.c_int]
    kernel.restype = None
    return kernel


def _compile(path: Path) -> None:
    compiler = os.environ.get("CXX") or "c++"
    try:
        command = [*shlex.split(compiler), *FLAGS, str(SOURCE), "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        message = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise BadInput(f"--native needs a C++ compiler: {compiler}: {_first(message)}") from error


def _key() -> str:
    """Of what makes one compiled kernel another: its source, the compiler and the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else [platform.processor()]
    can = [line for line in lines if line.startswith(("flags", "Features"))][:1] or lines[:1]
    parts = [SOURCE.read_text(), platform.platform(), os.environ.get("CXX", ""), *FLAGS, *can]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _first(message: str) -> str:
    """The first line that says what is wrong."""
    lines = message.splitlines() or ["it failed"]
    return next((line for line in lines if "error" in line), lines[0])
