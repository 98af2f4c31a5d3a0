"""The compiled backward pass gives PyTorch's gradients."""

import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from limbwise.errors import BadInput
from limbwise.networks.checkpoint import build
from limbwise.skeleton import BODY
from limbwise.train.native import depthwise
from limbwise.train.native.depthwise import accelerate

if not shutil.which("c++"):
    pytest.skip("no C++ compiler is here", allow_module_level=True)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)])
@pytest.mark.parametrize("size", [(9, 13), (12, 8), (2, 3)])
def test_gradients_are_pytorchs(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(32, 32, kernel, stride, kernel // 2, groups=32, bias=False)
    fast = nn.Conv2d(32, 32, kernel, stride, kernel // 2, groups=32, bias=False)
    fast.load_state_dict(plain.state_dict())
    assert accelerate(fast) == 1
    gradients = []
    for layer in (plain, fast):
        x = torch.randn(
            3, 32, *size, generator=torch.Generator().manual_seed(1), requires_grad=True
        )
        out = layer(x)
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(2)))
        gradients.append((out, x.grad, layer.weight.grad))
    for expected, found in zip(*gradients, strict=True):
        assert torch.allclose(expected, found, rtol=1e-4, atol=1e-4)


def test_in_bf16_it_is_as_exact_as_pytorch_is() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 5, 2, 2, groups=64, bias=False)
    x = torch.randn(2, 64, 20, 20)
    layer(x).square().sum().backward()
    exact = layer.weight.grad.clone()
    layer.weight.grad = None
    accelerate(layer)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert (layer.weight.grad - exact).norm() < 0.02 * exact.norm()


@pytest.fixture
def threads():
    """How many PyTorch takes, set for a test: torch.set_num_threads."""
    before = torch.get_num_threads()  # another test may have taken one
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="compiled without OpenMP")
def test_two_threads_share_the_work(threads) -> None:
    """Time on a core is compared, not time that passes: other programs may have the cores."""
    x = torch.randn(4, 64, 96, 96).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 1, 7, 7)

    def seconds(number: int) -> tuple[float, float]:
        """Of this thread and of the others."""
        threads(number)
        depthwise._backward(x, x, weight, 1)
        everybody, mine = time.process_time(), time.thread_time()
        for _ in range(5):
            depthwise._backward(x, x, weight, 1)
        mine = time.thread_time() - mine
        return mine, time.process_time() - everybody - mine

    alone, _ = seconds(1)
    _, others = seconds(2)
    assert others > 0.25 * alone  # half of it, were no thread slower than another


@pytest.mark.parametrize("kind", [{"device": "meta"}, {"dtype": torch.float64}])
def test_it_touches_no_memory_that_is_not_its_kind(kind) -> None:
    x = torch.empty(1, 16, 8, 8, **kind)
    with pytest.raises(TypeError, match="on a CPU is needed"):
        depthwise._backward(x, x, torch.empty(16, 1, 3, 3), 1)


def test_what_it_cannot_do_is_left_alone() -> None:
    others = [
        nn.Conv2d(32, 32, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),  # too few channels
        nn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=32, bias=False),
        nn.Conv2d(32, 32, 3, groups=32, bias=False),  # no padding
    ]
    assert accelerate(nn.ModuleList(others)) == 0


@pytest.mark.parametrize(
    ("compiler", "said"),
    [("nothing-like-it", "No such file"), ("c++ --no-such-flag", "no-such-flag")],
)
def test_a_machine_that_cannot_compile_is_told_why(monkeypatch, tmp_path, compiler, said) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(BadInput, match=f"--native needs a C[+][+] compiler: .*{said}"):
        depthwise._load(tmp_path / "kernel.so")
    assert list(tmp_path.iterdir()) == []


def test_it_is_compiled_once(monkeypatch) -> None:
    accelerate(nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False))
    [kept] = Path(os.environ["LIMBWISE_CACHE"]).glob("depthwise-*.so")
    monkeypatch.setattr(depthwise, "_compile", None)
    depthwise._native.cache_clear()
    depthwise._native()
    monkeypatch.setenv("CXX", "clang++")
    assert depthwise._key() not in kept.name


def test_a_damaged_kernel_is_compiled_again(monkeypatch, tmp_path) -> None:
    accelerate(nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False))
    [kept] = Path(os.environ["LIMBWISE_CACHE"]).glob("depthwise-*.so")
    monkeypatch.setattr(depthwise, "_compile", partial(shutil.copy, kept))
    (tmp_path / "kernel.so").write_bytes(b"no library")
    assert depthwise._load(tmp_path / "kernel.so")
    assert (tmp_path / "kernel.so").read_bytes() == kept.read_bytes()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs modes of POSIX")
def test_a_kernel_that_others_may_have_written_is_not_loaded(monkeypatch, tmp_path) -> None:
    accelerate(nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False))
    [kept] = Path(os.environ["LIMBWISE_CACHE"]).glob("depthwise-*.so")
    opened = []
    right = depthwise._open
    monkeypatch.setattr(depthwise, "_open", lambda path: opened.append(path) or right(path))
    compiled = []

    def compile_(path: Path) -> None:
        assert not opened
        compiled.append(path)
        shutil.copy(kept, path)
        path.chmod(0o777)

    monkeypatch.setattr(depthwise, "_compile", compile_)
    planted = shutil.copy(kept, tmp_path / "kernel.so")
    planted.chmod(0o777)
    depthwise._load(planted)
    assert len(compiled) == 1
    depthwise._load(planted)  # now it is ours
    assert len(compiled) == 1


def test_a_kernel_that_cannot_be_loaded_is_one_line(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(depthwise, "_compile", lambda path: path.write_bytes(b"no library"))
    with pytest.raises(BadInput, match=r"the compiled kernel cannot be loaded: .*kernel\.so"):
        depthwise._load(tmp_path / "kernel.so")


def test_where_nothing_is_kept_it_is_compiled_each_time(monkeypatch) -> None:
    monkeypatch.setenv("LIMBWISE_CACHE", "")
    depthwise._native.cache_clear()
    assert depthwise._native()
    depthwise._native.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="compiled without OpenMP")
def test_pytorch_and_the_kernel_share_their_threads() -> None:
    """Two libraries of OpenMP would be two teams, of which one always sleeps."""
    depthwise._native()
    lines = Path("/proc/self/maps").read_text().splitlines()
    loaded = {line.split()[-1] for line in lines if "libgomp" in line}
    assert len([path for path in loaded if ".libs/" not in path]) == 1  # there another wheel's is


def test_the_kernel_leaves_the_process_its_smallest_numbers() -> None:
    """A library linked with -ffast-math makes them zero for everybody who loads it."""
    depthwise._native()
    assert np.float32(1e-40) * np.float32(0.5) > 0


def test_limbwises_network_has_them_all() -> None:
    made = build("limbwise", BODY)
    depthwise = [m for m in made.network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    before = list(made.network.state_dict())
    assert accelerate(made.network) == len(depthwise)
    assert list(made.network.state_dict()) == before
