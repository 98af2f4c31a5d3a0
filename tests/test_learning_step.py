"""A step of training is what its sources say: short references, written from these alone.

A network of two 1x1 convolutions learns from one batch, so that every number can be computed twice.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limbwise.description import Description
from limbwise.networks.checkpoint import Checkpoint
from limbwise.skeleton import Skeleton
from limbwise.train.batches.batch import Batch
from limbwise.train.boxes import BoxTargets, box_loss
from limbwise.train.config import TrainConfig
from limbwise.train.loop import Run
from limbwise.train.loss import loss, map_loss
from limbwise.train.optimizers import PointwiseMuon, optimizers, orthogonal

NOBODY = torch.zeros(2, 0, 2, 2), torch.zeros(2, 0, 2, dtype=torch.bool)  # only maps are learnt
STICK = Skeleton(("left_end", "right_end"), (("left_end", "right_end"),), (0.1, 0.1))
DOUBLE = torch.float64


class Tiny(nn.Module):
    """(N, 3, h, w) to two keypoints' heatmaps and a limb's field of the same size."""

    mean, scale = 127.0, 1 / 128

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 1)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.last(self.trunk(x))
        return [maps[:, :2], maps[:, 2:]]


def tiny(out: Path, **recipe) -> Run:
    torch.manual_seed(3)
    made = Checkpoint(Tiny(), Description("tiny", STICK, 1, 1, 8))
    settings = {"steps": 50, "batch_size": 2, "warmup": 5, "save_every": 100, **recipe}
    return Run(made, TrainConfig(**settings), out, torch.device("cpu"))


def batch(step: int) -> Batch:
    random = torch.Generator().manual_seed(step)
    pictures = 255 * torch.rand(2, 3, 4, 5, generator=random)
    heatmaps, fields, ones = (torch.rand(2, n, 4, 5, generator=random) for n in (2, 2, 3))
    return Batch(pictures, heatmaps, fields[:, None], ones[:, :2], ones[:, 2:], *NOBODY)


def steps_of(run: Run, count: int) -> list[dict[str, Tensor]]:
    """The weights after each of `count` steps."""
    forward, seen = run._forward(), []
    for _ in range(count):
        run._step(forward, lambda step, size, share: batch(step))
        seen.append({name: value.clone() for name, value in run.network.state_dict().items()})
    return seen


# Loss.


def mean_square(said: np.ndarray, wanted: np.ndarray, weight: np.ndarray) -> float:
    """Per cent; what somebody drew counts five times."""
    total = 0.0
    for place in np.ndindex(*said.shape):
        total += weight[place] * (said[place] - wanted[place]) ** 2
    return 100 * total / said.size


def reference_loss(outputs: list[np.ndarray], targets: Batch) -> float:
    """The mean over stages of five times the heatmaps' part, half of it the teacher's if there is
    one, and the limbs' part."""
    heatmaps, limbs = targets.heatmaps.numpy(), targets.limbs.flatten(1, 2).numpy()
    weight, limb_weight = targets.heatmap_weight.numpy(), targets.limb_weight.numpy()
    strongest = np.abs(targets.limbs.numpy()).max(axis=2)
    stages = []
    for maps, fields in zip(outputs[::2], outputs[1::2], strict=True):
        part = mean_square(maps, heatmaps, weight * (1 + 4 * heatmaps))
        if targets.teacher_maps is not None:
            teacher_maps = targets.teacher_maps.numpy()
            part = (part + mean_square(maps, teacher_maps, 1 + 4 * teacher_maps)) / 2
        both = (limb_weight * (1 + 4 * strongest)).repeat(2, axis=1)
        stages.append(5 * part + mean_square(fields, limbs, both))
    return sum(stages) / len(stages)


def two_stages(seed: int, limbs: int = 2, teacher: bool = False) -> tuple[list[Tensor], Batch]:
    random = torch.Generator().manual_seed(seed)

    def maps(*shape: int) -> Tensor:
        return torch.rand(2, *shape, 3, 4, generator=random)

    known = maps(2), maps(limbs, 2) * 2 - 1, maps(2).round(), maps(limbs).round()
    targets = Batch(torch.zeros(2, 3, 3, 4), *known, *NOBODY)
    if teacher:
        targets = replace(targets, teacher_maps=maps(2))
    return [maps(2), maps(2 * limbs), maps(2), maps(2 * limbs)], targets


@pytest.mark.parametrize("teacher", [False, True])
def test_the_loss_of_two_stages_is_the_mean_of_both_and_half_the_heatmaps_is_the_teachers(
    teacher: bool,
) -> None:
    for seed in range(3):
        outputs, targets = two_stages(seed, teacher=teacher)
        told = loss(outputs, targets)
        expected = reference_loss([each.numpy() for each in outputs], targets)
        assert float(told["total"]) == pytest.approx(expected, rel=1e-5)


def test_of_the_stages_the_last_is_told_and_each_counts() -> None:
    outputs, targets = two_stages(0, teacher=True)
    told, last = loss(outputs, targets), loss(outputs[2:], targets)
    for name in ("heatmaps", "limbs", "teacher_maps"):
        assert told[name] == last[name]
    heatmaps, limbs = targets.heatmaps.numpy(), targets.limbs.flatten(1, 2).numpy()
    weight = targets.heatmap_weight.numpy() * (1 + 4 * heatmaps)
    assert float(told["heatmaps"]) == pytest.approx(
        mean_square(outputs[2].numpy(), heatmaps, weight), rel=1e-5
    )
    assert limbs.shape == outputs[3].shape
    for n in range(4):
        other = [each + (0.5 if place == n else 0) for place, each in enumerate(outputs)]
        assert loss(other, targets)["total"] > told["total"]


def test_background_counts_where_every_keypoint_does() -> None:
    """A channel more than there are keypoints: 1 less the highest heatmap."""
    outputs, targets = two_stages(1)
    heatmaps, weight = targets.heatmaps, targets.heatmap_weight
    background = 1 - heatmaps.max(dim=1, keepdim=True).values
    with_it = replace(
        targets,
        heatmaps=torch.cat([heatmaps, background], dim=1),
        heatmap_weight=torch.cat([weight, weight.min(dim=1, keepdim=True).values], dim=1),
    )
    said = [torch.rand(2, 3, 3, 4), outputs[1]]
    assert map_loss(said, targets)["total"] == map_loss(said, with_it)["total"]
    teacher_maps = replace(targets, teacher_maps=heatmaps)  # knows no background
    only_background = [torch.cat([heatmaps, torch.rand(2, 1, 3, 4)], dim=1), outputs[1]]
    assert map_loss(only_background, teacher_maps)["teacher_maps"] == 0


def test_a_network_that_computed_in_bf16_is_judged_in_f32() -> None:
    outputs, targets = two_stages(2)
    half = [each.bfloat16() for each in outputs]
    expected = reference_loss([each.float().numpy() for each in half], targets)
    assert float(loss(half, targets)["total"]) == pytest.approx(expected, rel=1e-5)


# Gradient, rate, step, average.


def gradients(run: Run, step: int, clip: float) -> dict[str, Tensor]:
    """Of the loss, made shorter where all of them together are longer than `clip`."""
    network = Tiny().to(DOUBLE)
    network.load_state_dict({k: v.to(DOUBLE) for k, v in run.network.state_dict().items()})
    targets = batch(step)
    outputs = network((targets.images.to(DOUBLE) - 127) / 128)
    map_loss(outputs, targets)["total"].backward()
    found = {name: value.grad for name, value in network.named_parameters()}
    length = math.sqrt(sum(float((each**2).sum()) for each in found.values()))
    return {name: each * min(1, clip / length) for name, each in found.items()}


@pytest.mark.parametrize("clip", [0.5, 1e6])
def test_a_step_of_adamw_is_the_papers(tmp_path: Path, clip: float) -> None:
    """Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2, with a linear warm-up, the trunk
    at half the rate, and decay of matrices only."""
    run = tiny(tmp_path, lr=0.01, weight_decay=0.1, clip=clip)
    mean = {name: 0.0 for name, _ in run.network.named_parameters()}
    square = dict(mean)
    for step in range(1, 4):
        before = {k: v.detach().to(DOUBLE).clone() for k, v in run.network.named_parameters()}
        gradient = gradients(run, step - 1, clip)
        after = steps_of(run, 1)[0]
        for name, weight in before.items():
            mean[name] = 0.9 * mean[name] + 0.1 * gradient[name]
            square[name] = 0.999 * square[name] + 0.001 * gradient[name] ** 2
            way = mean[name] / (1 - 0.9**step)
            way = way / ((square[name] / (1 - 0.999**step)).sqrt() + 1e-8)
            rate = 0.01 * step / 5 * (0.5 if name.startswith("trunk.") else 1)
            decay = 0.1 if weight.ndim > 1 else 0
            expected = weight - rate * (way + decay * weight)
            assert torch.allclose(after[name].to(DOUBLE), expected, rtol=1e-4, atol=1e-6), name


def test_gradients_are_clipped_together_to_five_unless_told_otherwise(tmp_path: Path) -> None:
    run, lengths = tiny(tmp_path), []

    def loud(step: int, size: int, share: tuple[int, int]) -> Batch:
        targets = batch(step)
        return replace(targets, heatmaps=targets.heatmaps * 1000)

    def listen(*_: object) -> None:
        squares = [float((each.grad**2).sum()) for each in run.network.parameters()]
        lengths.append(math.sqrt(sum(squares)))

    run.optimizers[0].register_step_pre_hook(listen)
    run._step(run._forward(), loud)
    assert lengths == [pytest.approx(5, rel=1e-4)]


def test_accumulated_batches_are_a_step_on_their_mean(tmp_path: Path) -> None:
    """With batches as they are numbered: the second step begins with the third."""
    run, seen, lengths = tiny(tmp_path, accumulate=2, clip=1e6), [], []
    run.optimizers[0].register_step_pre_hook(
        lambda *_: lengths.append({k: v.grad.clone() for k, v in run.network.named_parameters()})
    )
    weights = {name: value.clone() for name, value in run.network.state_dict().items()}

    def sample(step: int, size: int, share: tuple[int, int]) -> Batch:
        seen.append((step, size, share))
        return batch(step)

    forward = run._forward()
    run._step(forward, sample)
    run._step(forward, sample)
    assert seen == [(n, 2, (0, 1)) for n in range(4)]
    run.network.load_state_dict(weights)
    each = [gradients(run, step, 1e6) for step in (0, 1)]
    for name, gradient in lengths[0].items():
        mean = (each[0][name] + each[1][name]) / 2
        assert torch.allclose(gradient.to(DOUBLE), mean, rtol=1e-4, atol=1e-6)


def test_the_average_is_short_at_first_and_long_later(tmp_path: Path) -> None:
    """After n steps it keeps (1 + n) / (10 + n) of itself, `ema` at most."""
    run = tiny(tmp_path, ema=0.5, lr=0.1)
    mean = {k: v.to(DOUBLE).clone() for k, v in run.average.state_dict().items()}
    kept = []
    for step, weights in enumerate(steps_of(run, 12), start=1):
        kept.append(min(0.5, (1 + step) / (10 + step)))
        mean = {k: kept[-1] * mean[k] + (1 - kept[-1]) * v.to(DOUBLE) for k, v in weights.items()}
    assert kept[0] == pytest.approx(2 / 11)
    assert kept[-1] == 0.5
    for name, value in run.average.state_dict().items():
        assert torch.allclose(value.to(DOUBLE), mean[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("decay", [1.0, 0.4])
def test_the_rate_is_the_schedules_at_every_step(tmp_path: Path, decay: float) -> None:
    """Up in a straight line, as far as `decay` leaves room level, then half a cosine down."""
    run = tiny(tmp_path, lr=0.3, warmup=5, steps=50, decay=decay)
    begin = max(5, 50 * (1 - decay))
    for step in range(51):
        run.step = step
        up = min(1, (step + 1) / 5)
        down = (1 + math.cos(math.pi * max(0, step - begin) / (50 - begin))) / 2
        assert run.schedule.rate(run.step) == pytest.approx(0.3 * up * down, abs=1e-12)


# Muon.


def jordans(gradient: Tensor) -> Tensor:
    """Five times 3.4445 s - 4.7750 s^3 + 2.0315 s^5 of the singular values, made small first."""
    u, values, v = torch.linalg.svd(gradient.to(DOUBLE), full_matrices=False)
    values = values / values.square().sum().sqrt()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return u @ torch.diag(values) @ v


@pytest.mark.parametrize(("half", "off"), [(False, 1e-4), (True, 0.06)])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_orthogonal_is_jordans_polynomial_of_the_singular_values(
    shape: tuple[int, int], half: bool, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limbwise.train.optimizers.computes_bf16", lambda device: half)
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = jordans(matrix)
    for scale in (1e-4, 1.0, 1e4):  # however long the gradient is
        found = orthogonal(matrix * scale)
        assert found.dtype == torch.float32
        assert torch.allclose(found.to(DOUBLE), expected, atol=off)
    assert not orthogonal(torch.zeros(shape)).any()


@pytest.fixture
def _in_f32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limbwise.train.optimizers.computes_bf16", lambda device: False)


@pytest.mark.usefixtures("_in_f32")
def test_steps_of_muon_follow_nesterovs_momentum_and_decay_beside_it() -> None:
    """Jordan 2024: M = 0.95 M + 0.05 G, the way is that of 0.95 M + 0.05 G; steps 0.2 sqrt(max(O,
    I)) times the rate long (Liu et al. 2025, arXiv 2502.16982, equation 4)."""
    random = torch.Generator().manual_seed(2)
    weight = nn.Parameter(torch.randn(6, 4, 1, 1, generator=random))
    muon = PointwiseMuon([{"params": [weight], "weight_decay": 0.1}], lr=0.02)
    mean, expected = torch.zeros(6, 4, dtype=DOUBLE), weight.detach().flatten(1).to(DOUBLE)
    for _ in range(4):
        gradient = torch.randn(6, 4, generator=random)
        weight.grad = gradient[:, :, None, None]
        muon.step()
        mean = 0.95 * mean + 0.05 * gradient
        step = 0.2 * math.sqrt(6) * jordans(0.95 * mean + 0.05 * gradient)
        expected = expected - 0.02 * (0.1 * expected + step)
        assert torch.allclose(weight.detach().flatten(1).to(DOUBLE), expected, atol=1e-4)


@pytest.mark.usefixtures("_in_f32")
def test_what_has_no_gradient_stays_and_takes_no_part() -> None:
    here, away = (nn.Parameter(torch.ones(3, 3, 1, 1)) for _ in range(2))
    muon = PointwiseMuon([{"params": [away, here], "weight_decay": 0.1}], lr=0.02)
    here.grad = torch.rand(3, 3, 1, 1)
    muon.step()
    assert (away == 1).all()
    assert (here != 1).all()


def test_muon_takes_pointwise_convolutions_between_features_and_adamw_the_rest() -> None:
    class Some(nn.Module):
        pretrained = ("stem.",)

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.mix = nn.Conv2d(4, 6, 1)
            self.narrow = nn.Conv2d(6, 1, 1, bias=False)
            self.wide = nn.Conv2d(6, 6, (1, 3), bias=False)
            self.early = nn.Conv2d(6, 5, 1, bias=False)
            self.last = nn.Conv2d(6, 5, 1, bias=False)
            self.still = nn.Conv2d(6, 6, 1, bias=False).requires_grad_(False)

    network = Some()
    named = {id(value): name for name, value in network.named_parameters()}

    def told(optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
        return {
            named[id(value)]: (group["share"], group["weight_decay"])
            for group in optimizer.param_groups
            for value in group["params"]
        }

    recipe = TrainConfig(steps=1, optimizer="muon", lr=0.03, backbone_lr=0.25, weight_decay=0.5)
    muon, adamw = optimizers(network, recipe)
    assert told(muon) == {"mix.weight": (1, 0.5)}
    assert told(adamw) == {
        "stem.weight": (0.25, 0.5), "stem.bias": (0.25, 0), "mix.bias": (1, 0),
        **dict.fromkeys(("narrow.weight", "wide.weight", "early.weight", "last.weight"), (1, 0.5)),
    }  # fmt: skip
    assert isinstance(muon, PointwiseMuon)
    assert isinstance(adamw, torch.optim.AdamW)
    assert (muon.defaults["lr"], adamw.defaults["lr"]) == (0.03, 0.03)
    (only,) = optimizers(network, replace(recipe, optimizer="adamw"))
    assert told(only) == told(adamw) | {"mix.weight": (1, 0.5)}
    (only,) = optimizers(nn.Sequential(nn.Conv2d(4, 6, 1, bias=False)), recipe)
    assert isinstance(only, PointwiseMuon)


# Maps and boxes.


def test_a_network_of_maps_and_boxes_pays_for_both_and_one_of_boxes_for_these() -> None:
    outputs, targets = two_stages(0)
    maps = [torch.rand(2, 5, 4, 4), torch.rand(2, 5, 2, 2)]
    people = torch.tensor([[[2.0, 3, 25, 30]], [[8.0, 1, 20, 28]]])
    boxes = BoxTargets(people, torch.full((2, 0, 4), torch.nan), (8, 16))
    both = replace(targets, boxes=boxes)
    of_maps, of_boxes = map_loss(outputs, targets), box_loss(maps, boxes)
    told = loss([*outputs, *maps], both)
    assert told["total"] == of_maps["total"] + of_boxes["boxes"]
    assert {key: told[key] for key in told if key != "total"} == {
        key: value for key, value in {**of_maps, **of_boxes}.items() if key != "total"
    }
    assert loss(maps, both) == {"total": of_boxes["boxes"], **of_boxes}
    assert float(of_boxes["boxes"]) > 0


def test_what_counts_is_what_is_drawn_within_0_and_1() -> None:
    """Heatmaps that a teacher drew beyond their range weigh as much as 0 and 1."""
    outputs, targets = two_stages(3)
    for strength, weight in ((3.0, 5), (-2.0, 1)):
        loud = replace(targets, teacher_maps=torch.full_like(targets.heatmaps, strength))
        told = map_loss(outputs, loud)["teacher_maps"]
        expected = 100 * weight * (outputs[2] - strength).square().mean()
        assert float(told) == pytest.approx(float(expected), rel=1e-5)
        wanted = torch.full_like(targets.heatmaps, strength)
        sure = replace(targets, heatmaps=wanted, heatmap_weight=torch.ones_like(wanted))
        assert float(map_loss(outputs, sure)["heatmaps"]) == pytest.approx(
            float(expected), rel=1e-5
        )
    nobody = two_stages(0, limbs=0)
    assert float(map_loss(*nobody)["limbs"]) == 0
