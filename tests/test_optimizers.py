"""Every weight is changed by one optimizer, and Muon's steps are what its paper says."""

from pathlib import Path

import pytest
import torch
from torch import nn

from limbwise.errors import BadInput
from limbwise.train.config import TrainConfig
from limbwise.train.freeze import freeze
from limbwise.train.optimizers import PointwiseMuon, computes_bf16, optimizers
from test_loop import figures, started


def weights_of(each: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [value for group in each.param_groups for value in group["params"]]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_weight_that_learns_has_one_optimizer(tmp_path: Path, name: str) -> None:
    network = started(tmp_path).network
    freeze(network, 1)
    used = [w.data_ptr() for each in optimizers(network, TrainConfig(steps=1, optimizer=name))
            for w in weights_of(each)]  # fmt: skip
    learning = [w.data_ptr() for w in network.parameters() if w.requires_grad]
    assert sorted(used) == sorted(learning)


def test_muon_takes_nine_tenths_of_the_whole_network() -> None:
    from limbwise.networks.checkpoint import build
    from limbwise.train.start import TRAINED

    network = build("limbwise", TRAINED).network
    muon, _ = optimizers(network, TrainConfig(steps=1, optimizer="muon"))
    count = sum(weight.numel() for weight in weights_of(muon))
    assert 0.9 < count / sum(weight.numel() for weight in network.parameters()) < 0.95


def test_the_trunk_learns_at_its_share_and_norms_do_not_decay(tmp_path: Path) -> None:
    network = started(tmp_path).network
    recipe = TrainConfig(steps=1, optimizer="muon", backbone_lr=0.25, weight_decay=0.1)
    named = {weight.data_ptr(): name for name, weight in network.named_parameters()}
    for each in optimizers(network, recipe):
        for group in each.param_groups:
            for weight in group["params"]:
                trunk = named[weight.data_ptr()].startswith("trunk.")
                assert group["share"] == (0.25 if trunk else 1.0)
                assert group["weight_decay"] == (0.1 if weight.ndim > 1 else 0.0)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("shape", [(16, 24), (48, 16)])
def test_a_step_of_muon_turns_and_stretches_nothing(
    shape: tuple[int, int], half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All singular values of a step are about 0.2 sqrt(max(O, I)) times the rate, whatever those of
    the gradient (equation 4 of arXiv 2502.16982; five iterations leave 0.68 to 1.13)."""
    monkeypatch.setattr("limbwise.train.optimizers.computes_bf16", lambda device: half)
    torch.manual_seed(0)
    layer = nn.Conv2d(shape[1], shape[0], 1, bias=False).to(memory_format=torch.channels_last)
    before = layer.weight.detach().clone().flatten(1)
    muon = PointwiseMuon([{"params": [layer.weight], "weight_decay": 0.0}], lr=0.01)
    layer.weight.grad = (
        torch.randn(*shape, 1, 1) * torch.logspace(-2, 1, shape[0])[:, None, None, None]
    )
    muon.step()
    step = (before - layer.weight.detach().flatten(1)) / (0.01 * 0.2 * max(shape) ** 0.5)
    values = torch.linalg.svdvals(step)
    assert values.max() < 1.3
    assert values.median() > 0.6
    muon.zero_grad()
    assert layer.weight.grad is None


def test_muon_learns_the_sticks(tmp_path: Path) -> None:
    said = figures(started(tmp_path, optimizer="muon", steps=20, log_every=5, lr=5e-3))
    assert said[-1]["total"] < 0.9 * said[0]["total"]


def test_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="adamw or muon"):
        started(tmp_path, optimizer="sgd")


def test_what_is_no_cpu_computes_bf16_and_a_cpu_that_says_so() -> None:
    assert computes_bf16(torch.device("meta"))
    here = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    assert computes_bf16(torch.device("cpu")) == here
