"""A size that stays gets a graph of its own, which says the same."""

from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch

from limbwise.backends.compiled import STAYS, AnySize
from limbwise.networks.checkpoint import build, save
from limbwise.networks.picture_model import to_onnx
from limbwise.skeleton import Skeleton

STICK = Skeleton(("left_end", "right_end"), (("left_end", "right_end"),), (0.1, 0.1))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Any:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save(build("limbwise", STICK, channels=16, blocks=1, width=0.25), path)
    return ov.Core().read_model(to_onnx(path))


@pytest.fixture
def compiled() -> list[str]:
    """The input shapes of what was compiled."""
    return []


@pytest.fixture
def graphs(model, compiled) -> AnySize:
    def compile_model(model: Any) -> Any:
        compiled.append(str(model.inputs[0].partial_shape))
        precise = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        return ov.Core().compile_model(model, "CPU", precise)

    return AnySize(model, compile_model, (0, 1))


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def agrees(graphs: AnySize, truth: Callable[..., Any], image: np.ndarray) -> None:
    for said, wanted in zip(graphs(image), truth(image), strict=True):
        assert np.abs(said - wanted).max() < 1e-5


def test_a_size_that_stays_is_compiled_once_and_says_the_same(graphs, compiled) -> None:
    truth = graphs._any
    for seed in range(STAYS + 3):
        agrees(graphs, truth, noise(seed, 1, 64, 72, 3))
    assert compiled == ["[?,?,?,3]", "[1,64,72,3]"]
    agrees(graphs, truth, noise(0, 1, 72, 64, 3))
    agrees(graphs, truth, noise(0, 2, 64, 72, 3))
    for seed in range(STAYS + 1):
        agrees(graphs, truth, noise(seed, 1, 64, 72, 3))
    assert len(compiled) == 2
    for seed in range(STAYS):
        agrees(graphs, truth, noise(seed, 1, 40, 72, 3))
    assert compiled[2:] == ["[1,40,72,3]"]


def test_sizes_that_change_are_not_compiled(graphs, compiled) -> None:
    for width in islice(cycle((64, 72)), 2 * STAYS):
        graphs(noise(0, 1, 64, width, 3))
    assert len(compiled) == 1


def test_what_was_said_stays_when_more_is_asked(graphs) -> None:
    """Neither graph hands out memory that it writes again."""
    for _ in range(STAYS):
        first = graphs(noise(1, 1, 64, 64, 3))[0]
        kept = first.copy()
        graphs(noise(2, 1, 64, 64, 3))
        assert np.array_equal(first, kept)
