"""Training is a function of the settings and the data, however it is interrupted or shared out."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from limbwise.errors import BadInput
from limbwise.networks.checkpoint import build, load
from limbwise.skeleton import Skeleton
from limbwise.train.batches.batch import Batch, TargetOptions, batch_of
from limbwise.train.batches.targets import part_affinity_fields
from limbwise.train.config import Schedule, TrainConfig
from limbwise.train.freeze import fold, freeze
from limbwise.train.loop import Run, join_processes
from limbwise.train.loss import loss

STICK = Skeleton(("left_end", "right_end"), (("left_end", "right_end"),), (0.1, 0.1))


def sticks(step: int, count: int, share: tuple[int, int]) -> Batch:
    """White sticks on black; the batch of a step is the same whoever asks for which share."""
    random = torch.Generator().manual_seed(step)
    xy = torch.rand(count, 1, 2, 2, generator=random) * 48 + 8
    visible = torch.ones(count, 1, 2, dtype=torch.bool)
    fields = part_affinity_fields(xy, visible, (64, 64), STICK, stride=1, width=2.0)
    pictures = fields.abs().sum(dim=(1, 2))[:, None].clamp(0, 1).expand(-1, 3, -1, -1) * 255
    weights = torch.ones(count, 2, 8, 8), torch.ones(count, 1, 8, 8)
    rows = slice(share[0] * count // share[1], (share[0] + 1) * count // share[1])
    parts = (part[rows] for part in (pictures, xy, visible, *weights))
    return batch_of(*parts, TargetOptions(STICK))


def started(out: Path, **recipe) -> Run:
    torch.manual_seed(0)
    made = build("limbwise", STICK, channels=16, blocks=1, width=0.25)
    settings = {"steps": 6, "batch_size": 8, "warmup": 2, "save_every": 3, "log_every": 1, **recipe}
    return Run(made, TrainConfig(**settings), out, torch.device("cpu"))


def figures(run: Run) -> list[dict[str, float]]:
    """Trains to the end; what was reported, step by step."""
    said: list[dict[str, float]] = []

    def report(step: int, found: dict[str, float]) -> None:
        if found:
            said.append({"step": step, **found})

    run.train(sticks, None, report)
    return said


def test_the_loss_falls(tmp_path) -> None:
    said = figures(started(tmp_path, steps=20, warmup=2, log_every=5, lr=5e-3))
    assert [one["step"] for one in said] == [5, 10, 15, 20]
    assert said[-1]["total"] < 0.95 * said[0]["total"]


def test_amp_is_left_out_where_bf16_would_be_imitated(tmp_path, monkeypatch) -> None:
    losses = {}
    for can in (True, False):
        monkeypatch.setattr("limbwise.train.loop.computes_bf16", lambda device, can=can: can)
        losses[can] = figures(started(tmp_path / str(can), amp=True, steps=2))[-1]["total"]
    plain = figures(started(tmp_path / "plain", steps=2))[-1]["total"]
    assert losses[False] == plain
    assert losses[True] != plain


def test_a_teacher_is_learnt_from_where_nobody_labelled() -> None:
    nobody = torch.zeros(1, 2, 4, 4)
    known = nobody, torch.zeros(1, 1, 2, 4, 4), nobody, nobody[:, :1]
    people = torch.zeros(1, 0, 2, 2), torch.zeros(1, 0, 2, dtype=torch.bool)
    targets = Batch(torch.zeros(1, 3, 32, 32), *known, *people)
    teacher_maps = torch.rand(1, 2, 4, 4)
    said = [teacher_maps + 0.1, torch.rand(1, 2, 4, 4)]
    assert loss(said, targets)["total"] == 0
    with_teacher = replace(targets, teacher_maps=teacher_maps)
    assert loss(said, with_teacher)["total"] > 0
    assert loss([teacher_maps, said[1]], with_teacher)["total"] == 0


def test_what_is_frozen_stays_and_the_rest_learns(tmp_path) -> None:
    run = started(tmp_path, freeze=2)
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    figures(run)
    frozen = ("trunk.stem.", "trunk.stages.0.", "trunk.stages.1.")
    for key, value in run.network.state_dict().items():
        same = torch.equal(value, before[key])
        assert same == key.startswith(frozen) or key.endswith("num_batches_tracked"), key
    run.resume()
    with pytest.raises(BadInput, match="not a run of this network"):
        started(tmp_path).resume()


@pytest.mark.parametrize(
    ("name", "stages", "dtype"),
    [("limbwise", 2, torch.float32), ("limbwise", 2, torch.bfloat16),
     ("limbwise-person", 4, torch.float32)],
)  # fmt: skip
def test_what_is_frozen_says_the_same_when_folded(name, stages, dtype) -> None:
    network = build(name, STICK).network.train()
    for layer in network.modules():  # as after training: no batch norm changes nothing
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    freeze(network, stages)
    x = torch.randn(2, 3, 64, 64)
    trunk = network.trunk
    first = torch.nn.Sequential(trunk.stem, *trunk.stages[:stages])
    with torch.no_grad():
        plain, finest = first(x), first[:3](x)
    saved = {key: value.clone() for key, value in network.state_dict().items()}
    fold(network, stages, dtype, compiled=False)
    folded = first(x)
    assert (first[:3](x) - finest).abs().mean() < 0.02 * finest.abs().mean()  # it is read too
    assert folded.dtype == dtype
    assert not folded.requires_grad
    off = (folded.float() - plain).abs().mean() / plain.abs().mean()
    assert off < (1e-5 if dtype == torch.float32 else 0.02)
    assert all(torch.equal(value, saved[key]) for key, value in network.state_dict().items())


def test_the_backbone_of_the_original_cannot_be_frozen(tmp_path) -> None:
    made = build("lightweight-openpose", STICK)
    with pytest.raises(BadInput, match="freeze"):
        Run(made, TrainConfig(steps=1, freeze=1), tmp_path, torch.device("cpu"))


class KilledError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_that_is_resumed_ends_with_the_same_weights(tmp_path, optimizer) -> None:
    whole = started(tmp_path / "whole", optimizer=optimizer)
    figures(whole)
    killed = started(tmp_path / "killed", optimizer=optimizer)

    def kill(step: int, _: dict[str, float]) -> None:
        if step == 5:  # the last save was after step 3
            raise KilledError

    with pytest.raises(KilledError):
        killed.train(sticks, None, kill)
    resumed = started(tmp_path / "killed", optimizer=optimizer)
    resumed.resume()
    assert resumed.step == 3
    figures(resumed)
    for mine, theirs in ((resumed.network, whole.network), (resumed.average, whole.average)):
        for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)
    moments = [run.optimizers[-1].state_dict()["state"] for run in (resumed, whole)]
    assert torch.allclose(moments[0][0]["exp_avg"], moments[1][0]["exp_avg"], atol=1e-6)


def test_a_killed_run_that_is_resumed_keeps_the_best_of_before(tmp_path) -> None:
    def kill(step: int, _: dict[str, float]) -> None:
        if step == 5:  # saved and measured after step 3
            raise KilledError

    with pytest.raises(KilledError):
        started(tmp_path, validate_every=3).train(sticks, lambda made: {"AP": 0.5}, kill)
    resumed = started(tmp_path, validate_every=3)
    resumed.resume()
    resumed.train(sticks, lambda made: {"AP": 0.4}, lambda step, found: None)
    assert load(tmp_path / "best.safetensors").training["AP"] == 0.5


def test_the_reported_loss_is_the_true_mean(tmp_path) -> None:
    each = [one["total"] for one in figures(started(tmp_path / "a"))]
    pairs = [one["total"] for one in figures(started(tmp_path / "b", log_every=2))]
    assert pairs == pytest.approx([(a + b) / 2 for a, b in zip(each[::2], each[1::2], strict=True)])


def test_two_accumulated_batches_are_one_step(tmp_path) -> None:
    said = figures(started(tmp_path, accumulate=2, steps=3))
    assert len(said) == 3


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    schedule = Schedule(100, 1.0, warmup=10)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[10]) == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_the_learning_rate_stays_until_the_share_that_decays() -> None:
    schedule = Schedule(100, 1.0, warmup=10, decay=0.2)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[10:81] == [1.0] * 71
    assert rates[90] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_the_best_by_validation_is_kept(tmp_path) -> None:
    results = iter([0.2, 0.5, 0.4])
    run = started(tmp_path, validate_every=2)
    run.train(sticks, lambda made: {"AP": next(results)}, lambda step, found: None)
    kept = load(tmp_path / "best.safetensors")
    assert kept.training["AP"] == 0.5
    assert kept.training["steps"] == 4
    assert load(tmp_path / "last.safetensors").training["steps"] == 6


def test_resuming_nothing_or_another_network_is_refused(tmp_path) -> None:
    with pytest.raises(BadInput, match="nothing to resume"):
        started(tmp_path / "none").resume()
    figures(started(tmp_path / "a", steps=1))
    torch.manual_seed(0)
    other = Run(
        build("limbwise", STICK, channels=32, width=0.25),
        TrainConfig(steps=1),
        tmp_path / "a",
        torch.device("cpu"),
    )
    with pytest.raises(BadInput, match="not a run of this network"):
        other.resume()


def test_nobody_is_punished_where_nobody_labelled() -> None:
    wanted = sticks(0, 4, (0, 1))
    said = [torch.rand(4, 2, 8, 8), torch.rand(4, 2, 8, 8)]
    masked = replace(
        wanted,
        heatmap_weight=wanted.heatmap_weight.clone(),
        limb_weight=wanted.limb_weight.clone(),
    )
    masked.heatmap_weight[:, :, :4] = 0
    masked.limb_weight[:, :, :4] = 0
    elsewhere = [maps.clone() for maps in said]
    for maps in elsewhere:
        maps[:, :, :4] += 100
    assert loss(said, masked)["total"] == loss(elsewhere, masked)["total"]
    assert loss(said, wanted)["total"] < loss(elsewhere, wanted)["total"]


def test_perfect_maps_cost_nothing_and_background_is_what_is_left() -> None:
    wanted = sticks(0, 4, (0, 1))
    limbs = wanted.limbs.flatten(1, 2)
    background = 1 - wanted.heatmaps.amax(dim=1, keepdim=True)
    for heatmaps in (wanted.heatmaps, torch.cat([wanted.heatmaps, background], dim=1)):
        assert loss([heatmaps, limbs], wanted)["total"] == 0


def test_two_processes_learn_as_one_with_the_whole_batch(tmp_path) -> None:
    """Up to batch norm, which sees half a batch in each process."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", __file__, str(tmp_path)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    together = json.loads((tmp_path / "said.json").read_text())
    alone = [one["total"] for one in figures(started(tmp_path / "alone", **SHARED_RUN))]
    assert together == pytest.approx(alone, rel=0.1)


SHARED_RUN = {"steps": 6, "batch_size": 32, "lr": 5e-4}


def main() -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    join_processes()
    run = started(out, **SHARED_RUN)
    said = [one["total"] for one in figures(run)]
    if run.rank == 0:
        (out / "said.json").write_text(json.dumps(said))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
