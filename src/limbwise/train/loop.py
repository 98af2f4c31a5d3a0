"""The training loop, in the open: sample, forward, loss, backward, step, average, save.

Randomness is a function of the seed and the step, never a state: a run that is killed and resumed
sees the batches it would have seen. Under `torchrun` every process takes its share of each batch.
"""

import copy
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..atomic import replacing
from ..errors import BadInput
from ..networks import checkpoint as checkpoints
from ..networks.checkpoint import Checkpoint
from .freeze import fold, freeze
from .loss import Targets, loss
from .native.depthwise import accelerate
from .optimizers import computes_bf16, optimizers

# What a network is given: pictures (N, 3, H, W) 0..255, and what a first look found if it asks
Inputs = tuple[Tensor, ...]
# (step, how many pictures, which share: rank and of how many) -> inputs and targets
Sampler = Callable[[int, int, tuple[int, int]], tuple[Inputs, Targets]]
Validate = Callable[[Checkpoint], dict[str, float]]
Report = Callable[[int, dict[str, float]], None]
Look = Callable[[int, Checkpoint, Sampler], None]


@dataclass(frozen=True)
class Recipe:
    """How to train: `optimizer` (optimizers.py), warm-up then cosine, an average of the weights
    (EMA).

    `trunk_lr` multiplies the learning rate of what a network calls `pretrained`; `decay` is the
    last share of the steps, over which the rate falls; `accumulate` batches make a step; `amp`
    computes in bf16 where the device does not merely imitate it (optimizers.py);
    `native` compiles a faster backward pass for CPUs (depthwise.py); `freeze`: the stem and that
    many stages of a pretrained trunk stay as they are, half of a step's time on a CPU;
    every `save_every` steps the run is saved, every `validate_every` the average is measured.
    """

    steps: int
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 2e-3
    trunk_lr: float = 0.5
    decay: float = 1.0
    warmup: int = 500
    weight_decay: float = 0.02
    clip: float = 5.0
    ema: float = 0.9995
    accumulate: int = 1
    seed: int = 0
    amp: bool = False
    compile: bool = False
    native: bool = False
    freeze: int = 0
    save_every: int = 500
    validate_every: int = 0
    log_every: int = 20


class Run:
    """A network being trained, and all that resuming needs."""

    def __init__(self, made: Checkpoint, recipe: Recipe, out: Path, device: torch.device) -> None:
        self.made, self.recipe, self.out, self.device = made, recipe, out, device
        if recipe.freeze:
            freeze(made.network, recipe.freeze)
        self.network = made.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizers = optimizers(self.network, recipe)
        self.amp = recipe.amp and computes_bf16(device)
        self.native = recipe.native and device.type == "cpu"
        self.step = 0
        self.best = -math.inf
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.processes = distributed.get_world_size() if distributed.is_initialized() else 1

    def train(
        self,
        sample: Sampler,
        validate: Validate | None,
        report: Report,
        look: Look | None = None,
    ) -> None:
        """Goes on from the current step to the last; saves, measures and reports on the way.

        `look` is shown the averaged network whenever it is saved.
        """
        forward = self._forward()
        running: dict[str, Tensor] = {}
        count, began = 0, time.perf_counter()
        while self.step < self.recipe.steps:
            for key, value in self._step(forward, sample).items():
                running[key] = running.get(key, 0) + value
            count += 1
            if self.step % self.recipe.log_every == 0 or self.step == self.recipe.steps:
                figures = {key: self._everybodys(value / count) for key, value in running.items()}
                pictures = count * self.recipe.batch_size * self.recipe.accumulate
                rate = pictures / (time.perf_counter() - began)
                report(self.step, figures | {"lr": self._lr(), "pictures_per_second": rate})
                running, count, began = {}, 0, time.perf_counter()
            self._keep(validate, report)
            if look and self.rank == 0 and self._is_due(self.recipe.save_every):
                look(self.step, self.averaged(), sample)

    def _forward(self) -> nn.Module:
        network: Any = self.network.train()
        recipe = self.recipe
        if recipe.freeze:
            freeze(self.network, recipe.freeze)
            half = torch.bfloat16 if self.amp else torch.float32
            fold(self.network, recipe.freeze, half, compiled=self.native)
        if self.native:
            accelerate(self.network)
        self._means, self._weights = _floats(self.average), _floats(self.network)
        if self.processes > 1:
            network = DistributedDataParallel(network)
        return torch.compile(network) if recipe.compile else network  # type: ignore[return-value]

    def _step(self, forward: nn.Module, sample: Sampler) -> dict[str, Tensor]:
        recipe = self.recipe
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._lr() * group["share"]
        share = self.rank, self.processes
        totals: dict[str, Tensor] = {}
        for part in range(recipe.accumulate):
            (pictures, *found), targets = sample(
                self.step * recipe.accumulate + part, recipe.batch_size, share
            )
            x = checkpoints.normalised(pictures.to(self.device), self.made.traits)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                outputs = forward(x, *(each.to(self.device) for each in found))
            losses = loss(outputs, targets)
            (losses["total"] / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
            for key, value in losses.items():
                totals[key] = totals.get(key, 0) + value.detach() / recipe.accumulate
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        return totals

    def _everybodys(self, value: Tensor) -> float:
        """The mean over all processes."""
        if self.processes > 1:
            distributed.all_reduce(value)
        return float(value) / self.processes

    def _lr(self) -> float:
        """Linear warm-up, the full rate if `decay` leaves room, then half a cosine to nothing
        (Loshchilov 2016, arXiv 1608.03983)."""
        recipe = self.recipe
        warm = min((self.step + 1) / max(recipe.warmup, 1), 1.0)
        falls = max(recipe.warmup, round(recipe.steps * (1 - recipe.decay)))
        done = max(self.step - falls, 0) / max(recipe.steps - falls, 1)
        return recipe.lr * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    @torch.no_grad()
    def _average(self) -> None:
        """The weights' moving average, shorter at the start, so that it forgets the first ones."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self._means, self._weights, 1 - decay)

    def _keep(self, validate: Validate | None, report: Report) -> None:
        if self._is_due(self.recipe.save_every):
            self.save()
        if validate and self._is_due(self.recipe.validate_every):
            found = validate(self.averaged()) if self.rank == 0 else {}
            report(self.step, found)
            if found.get("AP", -math.inf) > self.best and self.rank == 0:
                self.best = found["AP"]
                checkpoints.save(self.averaged(found), self.out / "best.safetensors")

    def _is_due(self, every: int) -> bool:
        return self.step == self.recipe.steps or bool(every and self.step % every == 0)

    def averaged(self, found: dict[str, float] | None = None) -> Checkpoint:
        """The average as a checkpoint, with how it came about."""
        training = {"steps": self.step, "batch_size": self.recipe.batch_size, **(found or {})}
        return replace(self.made, network=self.average, training=training)

    def save(self) -> None:
        """Writes last.pth, for resuming, and last.safetensors, the average."""
        if self.rank:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "best": self.best,
        }
        with replacing(self.out / "last.pth") as path:
            torch.save(state, path)
        checkpoints.save(self.averaged(), self.out / "last.safetensors")

    def resume(self) -> None:
        """Takes up the run in last.pth; BadInput if there is none or it is another network's."""
        path = self.out / "last.pth"
        if not path.is_file():
            raise BadInput(f"{path} does not exist: there is nothing to resume")
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(its)
        except (RuntimeError, KeyError, ValueError, EOFError) as error:
            raise BadInput(f"{path} is not a run of this network") from error
        self.step, self.best = state["step"], state["best"]


def _floats(network: nn.Module) -> list[Tensor]:
    """Its weights and statistics, shared with it, but for the numbers of batches."""
    return [value for value in network.state_dict().values() if value.is_floating_point()]


def join_processes(device: str | None = None) -> torch.device:
    """The device asked for, or the best there is; joins the others where torchrun started several,
    and then takes this process's own GPU. BadInput if it is not here."""
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        kind = f"cuda:{os.environ['LOCAL_RANK']}" if kind == "cuda" else kind
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if kind.startswith("cuda") else "gloo")
    try:
        return torch.empty(0, device=kind).device
    except (RuntimeError, AssertionError) as error:  # of a build without CUDA
        raise BadInput(f"device {kind} is not here: choose cpu") from error


def log_to(path: Path) -> Report:
    """A report that adds a JSON line to a file."""

    def report(step: int, figures: dict[str, float]) -> None:
        line = {"step": step, **{key: round(value, 6) for key, value in figures.items()}}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    return report
