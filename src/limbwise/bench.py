"""How fast: milliseconds per stage and runtime on this machine, and of decoding by people."""

import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from .decode import decode
from .errors import BadInput
from .estimator import Estimator, load
from .fields import Fields
from .runtime import Runtime
from .view import Image, fit

HEIGHTS = (160, 192, 224, 256, 288, 320, 368, 416, 448, 512, 576, 640)


@dataclass(frozen=True)
class Timing:
    """Milliseconds: the least and the median of several."""

    least: float
    median: float


def machine() -> str:
    """Processor, cores and operating system, for figures that are to be compared."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [
            line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0].partition(":")[2].strip() if models else name
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def interleaved(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Each job timed once per round, so that a noisy moment hits all of them alike."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()  # the first call allocates
    for _ in range(rounds):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            taken[name].append((time.perf_counter() - began) * 1000)
    return {name: Timing(min(all_), float(np.median(all_))) for name, all_ in taken.items()}


def stages(estimate: Estimator, image: Image, rounds: int) -> dict[str, Timing]:
    """fit, network, decode and whole, for one picture."""
    runtime = estimate.runtime
    description = runtime.description
    inputs = fit(image, estimate.height, description.multiple)[0][None]
    fields = runtime(inputs)[0]
    return interleaved(
        {
            "fit": lambda: fit(image, estimate.height, description.multiple),
            "network": lambda: runtime(inputs),
            "decode": lambda: decode(fields, description.skeleton),
            "whole": lambda: estimate(image),
        },
        rounds,
    )


def height_for(
    runtime: Runtime, image: Image, fps: float, seconds: float = 2.0, share: float = 0.8
) -> tuple[int, float]:
    """The largest input height at which an image takes at most `share` of a frame's time, and the
    milliseconds it takes; the least height if none does. Measures for about `seconds`."""
    end, chosen = time.perf_counter() + seconds, (HEIGHTS[0], 0.0)
    for height in HEIGHTS:
        estimate = Estimator(runtime, height=height)
        taken = interleaved({"": partial(estimate, image)}, 4)[""].least
        if height == HEIGHTS[0] or taken <= 1000 * share / fps:
            chosen = height, taken
        if taken > 1000 * share / fps or time.perf_counter() > end:
            break
    return chosen


def crowds(
    estimate: Estimator, image: Image, copies: Iterable[int], rounds: int
) -> dict[int, Timing]:
    """Decoding the fields of 1, 2, ... copies of the image side by side: people found, and ms."""
    description = estimate.runtime.description
    fields = estimate.runtime(fit(image, estimate.height, description.multiple)[0][None])[0]
    jobs: dict[str, Callable[[], object]] = {}
    people = {}
    for count in copies:
        crowd = Fields(np.tile(fields.heatmaps, count), np.tile(fields.limbs, count), fields.stride)
        people[str(count)] = len(decode(crowd, description.skeleton))
        jobs[str(count)] = partial(decode, crowd, description.skeleton)
    if not any(people.values()):
        raise BadInput("nobody is found in the picture: choose one with people")
    return {people[name]: timing for name, timing in interleaved(jobs, rounds).items()}


def all_runtimes(
    model: Path | None,
    threads: int | None,
    height: int | None,
    report: Callable[[BadInput], None],
) -> list[Estimator]:
    """The model in every runtime and precision that can take it; `report` hears of the others."""
    wanted = [("openvino", "fast"), ("openvino", "f32"), ("onnx", "f32"), ("torch", "f32")]
    found: dict[str, Estimator] = {}
    for runtime, precision in wanted:
        try:
            estimate = load(
                model, runtime=runtime, precision=precision, threads=threads, height=height
            )
        except BadInput as error:
            if not found:
                raise
            report(error)
        else:
            found.setdefault(estimate.runtime.label, estimate)
    return list(found.values())
