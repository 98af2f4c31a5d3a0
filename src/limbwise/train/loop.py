"""The training loop, in the open: sample, forward, loss, backward, step, average, save.

Randomness is a function of the seed and the step, never a state: a run that is killed and
resumed sees the batches it would have seen. Under `torchrun` every process takes its share of each
batch.

Who stops a run finds it written: a signal waits for the end of a step, which is then saved.
"""

import copy
import io
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..atomic import failing_to_write, replacing
from ..errors import BadInput
from ..interrupts import Stopped, Waiting, held
from ..networks import checkpoint as checkpoints
from ..networks.checkpoint import Checkpoint
from .batches.batch import Sampler
from .config import TrainConfig
from .freeze import fold, freeze
from .loss import loss
from .native.depthwise import accelerate
from .optimizers import computes_bf16, optimizers

Validate = Callable[[Checkpoint], dict[str, float]]
# (step, figures), after every step: {} where there are none
Report = Callable[[int, dict[str, float]], None]
Show = Callable[[int, Checkpoint, Sampler], None]


LAST, BEST = "last.pth", "best.safetensors"
_PATIENCE = 300.0  # seconds that a step may take after a signal


class Run:
    """A network being trained, and all that resuming needs."""

    def __init__(
        self, made: Checkpoint, config: TrainConfig, out: Path, device: torch.device
    ) -> None:
        self.made, self.config, self.out, self.device = made, config, out, device
        self.schedule = config.schedule()
        if config.freeze:
            freeze(made.network, config.freeze)
        self.network = made.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizers = optimizers(self.network, config)
        self.amp = config.amp and computes_bf16(device)
        self.native = config.native and device.type == "cpu"
        self.step = 0
        self.best = -math.inf
        self._saved = 0  # the step that is written
        self._whole = True  # no step is half done
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.processes = distributed.get_world_size() if distributed.is_initialized() else 1

    def train(
        self,
        sample: Sampler,
        validate: Validate | None,
        report: Report,
        show: Show | None = None,
    ) -> None:
        """Goes on from the current step to the last; saves, measures and reports on the way.

        Whoever interrupts finds the last whole step saved.

        Args:
            sample: gives the batches.
            validate: measures a network; "AP" decides which is the best.
            report: gets every step, with figures where they are due.
            show: gets the averaged network whenever it is saved.
        """
        try:
            # Processes that learn together stop together: else some would wait for the others.
            with held(_PATIENCE) if self.processes > 1 else nullcontext() as asked:
                self._steps(sample, validate, report, show, lambda: self._all_stop(asked))
        except KeyboardInterrupt as stop:
            self._stopped(stop)
            raise
        self._best_too()

    def _steps(
        self,
        sample: Sampler,
        validate: Validate | None,
        report: Report,
        show: Show | None,
        stop: Callable[[], int],
    ) -> None:
        if self.step >= self.schedule.steps and self.best == -math.inf:
            self._keep(validate, report)  # it was stopped before it was measured
        forward = self._forward()
        running: dict[str, Tensor] = {}
        count, began = 0, time.perf_counter()
        while self.step < self.schedule.steps:
            with held(_PATIENCE):  # a step that is saved has been reported
                self._whole = False
                for key, value in self._step(forward, sample).items():
                    running[key] = running.get(key, 0) + value
                self._whole = True
                count += 1
                figures: dict[str, float] = {}
                if self._is_due(self.config.log_every):
                    figures = self._figures(running, count, time.perf_counter() - began)
                    running, count, began = {}, 0, time.perf_counter()
                report(self.step, figures)
            self._keep(validate, report)
            if show and self.rank == 0 and self._is_due(self.config.save_every):
                show(self.step, self.averaged(), sample)
            if number := stop():
                raise Stopped(number)

    def _figures(self, running: dict[str, Tensor], count: int, seconds: float) -> dict[str, float]:
        """The mean losses of so many steps, their rates."""
        figures = {key: self._everybodys(value / count) for key, value in running.items()}
        pictures = count * self.config.batch_size * self.config.accumulate
        lr = self.schedule.rate(self.step)
        return figures | {"lr": lr, "pictures_per_second": pictures / seconds}

    def _all_stop(self, asked: Waiting | None) -> int:
        """The signal that one of several processes was sent; all of them ask after each step."""
        if asked is None:
            return 0
        number = torch.tensor(asked.number, device=self.device)
        distributed.all_reduce(number, distributed.ReduceOp.MAX)
        return int(number)

    def _stopped(self, stop: KeyboardInterrupt) -> None:
        """Writes how far the run has come; a step that is half done stays away."""
        if not self._whole:
            stop.add_note(f"step {self.step + 1} was torn, what was saved before is whole")
        elif self.step > self._saved:
            self.save()
            self._best_too()
        if self._whole:
            how = (
                f"{self.out / LAST} has step {self.step} of {self.schedule.steps}, --resume goes on"
            )
            stop.add_note(how if self.step else "not one step is done")

    def _best_too(self) -> None:
        """Where nothing was measured the last is the best."""
        if self.best == -math.inf and self.rank == 0:
            checkpoints.save(self.averaged(), self.out / BEST)

    def _forward(self) -> nn.Module:
        # In this order: train() wakes the batch norm that `freeze` then puts to rest; `fold` copies
        # plain convolutions, so `accelerate` comes after it; DDP and compile wrap what is made.
        network: Any = self.network.train()
        config = self.config
        if config.freeze:
            freeze(self.network, config.freeze)
            half = torch.bfloat16 if self.amp else torch.float32
            fold(self.network, config.freeze, half, compiled=self.native)
        if self.native:
            accelerate(self.network)
        self._means, self._weights = _floats(self.average), _floats(self.network)
        if self.processes > 1:
            network = DistributedDataParallel(network)
        return torch.compile(network) if config.compile else network  # type: ignore[return-value]

    def _step(self, forward: nn.Module, sample: Sampler) -> dict[str, Tensor]:
        config = self.config
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.schedule.rate(self.step) * group["share"]
        share = self.rank, self.processes
        totals: dict[str, Tensor] = {}
        for part in range(config.accumulate):
            batch = sample(self.step * config.accumulate + part, config.batch_size, share)
            images, *prior = (each.to(self.device) for each in batch.inputs)
            x = checkpoints.normalised(images, self.made.traits)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                outputs = forward(x, *prior)
            losses = loss(outputs, batch)
            (losses["total"] / config.accumulate).backward()  # type: ignore[no-untyped-call]
            for key, value in losses.items():
                totals[key] = totals.get(key, 0) + value.detach() / config.accumulate
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
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

    @torch.no_grad()
    def _average(self) -> None:
        """The weights' moving average, shorter at the start, so that it forgets the first ones."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self._means, self._weights, 1 - decay)

    def _keep(self, validate: Validate | None, report: Report) -> None:
        if self._is_due(self.config.save_every):
            self.save()
        if validate and self._is_due(self.config.validate_every):
            found = validate(self.averaged()) if self.rank == 0 else {}
            report(self.step, found)
            if found.get("AP", -math.inf) > self.best and self.rank == 0:
                self.best = found["AP"]
                checkpoints.save(self.averaged(found), self.out / BEST)
                if self._saved == self.step:
                    self.save()  # who resumes from this step knows what is to be surpassed

    def _is_due(self, every: int) -> bool:
        return self.step == self.schedule.steps or bool(every and self.step % every == 0)

    def averaged(self, found: dict[str, float] | None = None) -> Checkpoint:
        """The average as a checkpoint, with how it came about."""
        its = {"steps": self.step, "batch_size": self.config.batch_size, "lr": self.schedule.lr}
        training = {**its, **(found or {})}
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
            "lr": self.schedule.lr,
        }
        data = io.BytesIO()  # PyTorch does not say why it cannot write
        torch.save(state, data)
        with failing_to_write(self.out / LAST), replacing(self.out / LAST) as path:
            path.write_bytes(data.getvalue())  # a buffer in a traceback crashes Python 3.12.1
        checkpoints.save(self.averaged(), self.out / "last.safetensors")
        self._saved = self.step

    def resume(self, *, its_rate: bool = False) -> None:
        """Takes up the run in last.pth, with its learning rate if `its_rate`; BadInput if there is
        none or it is another network's."""
        path = self.out / LAST
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
        self.step = self._saved = state["step"]
        self.best = state["best"]
        if its_rate:
            self.schedule = replace(self.schedule, lr=state.get("lr", self.schedule.lr))


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
