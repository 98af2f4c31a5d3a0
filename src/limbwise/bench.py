"""How fast: milliseconds per stage and runtime on this machine, and of decoding by people."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from .backends.openvino import capabilities
from .decode import decode
from .errors import BadInput
from .estimator import Estimator, load, load_pair
from .geometry import Image
from .network_output import NetworkOutput
from .outputs.draw import draw
from .refine import poses_in_boxes, refine

Name = TypeVar("Name")

_LEFT = 320  # pixels of a chart that are its labels

HEIGHTS = (160, 192, 224, 256, 288, 320, 368, 416, 448, 512, 576, 640)


@dataclass(frozen=True)
class Timing:
    """Milliseconds: the minimum, the median and the 99th percentile of several."""

    minimum: float
    median: float
    p99: float

    def to_dict(self) -> dict[str, float]:
        """In JSON types; `least` and `late` are what the files of before called two of them."""
        return {**vars(self), "least": self.minimum, "late": self.p99}


@dataclass(frozen=True)
class Row:
    """What a picture takes in one setting; `batch` pictures went through the network at once, and
    its time is shared among them."""

    runtime: str
    height: int
    threads: int
    batch: int
    stages: dict[str, Timing]

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        stages = {name: timing.to_dict() for name, timing in self.stages.items()}
        return {**vars(self), "stages": stages}


# What makes networks quick on x86, as /proc/cpuinfo calls it
_WIDE = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")


def machine() -> str:
    """Processor, what it computes networks with, cores and operating system, for figures that are
    to be compared."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        facts = {key.strip(): value.strip() for key, value in lines.items()}
        wide = [each for each in _WIDE if each in facts.get("flags", "").split()]
        name = " ".join([facts.get("model name", name), *[f"({', '.join(wide)})"] * bool(wide)])
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def interleaved(
    jobs: dict[Name, Callable[[], object]], rounds: int, in_a_row: int = 1
) -> dict[Name, Timing]:
    """Each job timed in every round, so that a noisy moment hits all of them alike.

    Args:
        jobs: what is timed.
        rounds: how often each has its turn.
        in_a_row: how many times in its turn a job is timed. Above 1 a first call is not counted,
            which finds the caches full of what the other jobs need: a film has no other jobs.
    """
    taken: dict[Name, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()  # the first call allocates
    for _ in range(rounds):
        for name, job in jobs.items():
            if in_a_row > 1:
                job()
            for _ in range(in_a_row):
                began = time.perf_counter()
                job()
                taken[name].append((time.perf_counter() - began) * 1000)
    return {name: _timing(np.array(each)) for name, each in taken.items()}


def _timing(taken: NDArray[np.float64]) -> Timing:
    median, p99 = np.percentile(taken, (50, 99))
    return Timing(float(taken.min()), float(median), float(p99))


def table(
    model: Path | None,
    image: Image,
    *,
    heights: Sequence[int | None],
    threads: Sequence[int | None],
    batches: Sequence[int],
    rounds: int,
    report: Callable[[BadInput], None],
) -> list[Row]:
    """Every runtime and precision that takes the model, by threads, input height and batch; the
    backends of one setting in turns."""
    rows: list[Row] = []
    for count in threads:
        loaded = all_backends(model, count, report)
        for height, batch in product(heights, batches):
            sized = [Estimator(each.runtime, person=each.person, height=height) for each in loaded]
            rows += _rows(sized, image, count or os.cpu_count() or 1, batch, rounds)
    return rows


def _rows(
    estimates: Sequence[Estimator], image: Image, threads: int, batch: int, rounds: int
) -> Iterator[Row]:
    jobs = {
        (estimate.runtime.label, name): job
        for estimate in estimates
        for name, job in stages(estimate, image, batch).items()
    }
    timings = interleaved(jobs, rounds)
    for estimate in estimates:
        label = estimate.runtime.label
        mine = {name: timing for (owner, name), timing in timings.items() if owner == label}
        mine["network"] = _shared(mine["network"], batch)
        yield Row(label, estimate.height, threads, batch, mine)


def _shared(timing: Timing, batch: int) -> Timing:
    return Timing(timing.minimum / batch, timing.median / batch, timing.p99 / batch)


def stages(estimate: Estimator, image: Image, batch: int = 1) -> dict[str, Callable[[], object]]:
    """fit, network, decode, with two stages refine, draw, whole: jobs for one picture of a film."""
    runtime, description = estimate.runtime, estimate.runtime.description
    fitted, view = estimate.letterbox(image)
    inputs = fitted[None]
    several = np.repeat(inputs, batch, axis=0)
    fields, poses = runtime(inputs)[0], estimate(image)
    person = estimate.person
    jobs: dict[str, Callable[[], object]] = {
        "fit": lambda: estimate.letterbox(image),
        "network": lambda: runtime(several),
    }
    if fields.boxes is not None and person is not None:
        boxes = estimate.boxes(fields, view, image)
        jobs["decode"] = partial(estimate.boxes, fields, view, image)
        jobs["refine"] = lambda: poses_in_boxes(image, boxes, person)
    else:
        read = partial(decode, fields, description.skeleton, description.decode_options)
        jobs["decode"] = read
        found = [pose.moved(view.inverse) for pose in read()]
        if person is not None:
            jobs["refine"] = lambda: refine(image, found, person)
    jobs["draw"] = lambda: draw(image, poses, ids=True)
    jobs["whole"] = lambda: draw(image, estimate(image), ids=True)
    return jobs


def side_by_side(
    model: Path | None, image: Image, height: int | None, processes: int, seconds: float = 3.0
) -> dict[str, float]:
    """Pictures a second of one process with all cores, and of several that share them, with and
    without pinning their threads to cores."""
    cores = os.cpu_count() or 1
    each = max(cores // processes, 1)
    settings = {
        f"1 process x {cores} threads": (1, cores, False),
        f"{processes} x {each}": (processes, each, False),
        f"{processes} x {each}, pinned": (processes, each, True),
    }
    rates = {}
    for name, (count, threads, pinning) in settings.items():
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            job = partial(_rate, model, image, height, threads, pinning, seconds)
            rates[name] = sum(each.result() for each in [pool.submit(job) for _ in range(count)])
    return rates


def _rate(
    model: Path | None,
    image: Image,
    height: int | None,
    threads: int,
    pinning: bool,
    seconds: float,
) -> float:
    """Pictures a second, from the first to the last within `seconds`."""
    first, second = load_pair(model, threads=threads, pinning=pinning)
    estimate = Estimator(first, person=second, height=height)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        estimate(image)
        count += 1
    return count / (time.perf_counter() - began)


def chart(rows: Sequence[Row], width: int = 900) -> Image:
    """Medians as bars, one a row, a colour a stage; a mark and a number for the whole, as in the
    table: timed by itself, it is not the sum of the others, and always of one picture."""
    colours = {"fit": (200, 170, 60), "network": (180, 110, 40), "decode": (80, 170, 240),
               "refine": (120, 60, 160), "draw": (150, 150, 150)}  # fmt: skip
    colours = {name: colour for name, colour in colours.items() if name in rows[0].stages}
    names = [f"{row.runtime}, {row.height}, {row.threads} thr., batch {row.batch}" for row in rows]
    longest = max(max(_sum(row, colours), row.stages["whole"].median) for row in rows)
    picture = np.full((34 * len(rows) + 50, width, 3), 255, np.uint8)

    def write(text: str, x: int, y: int, colour: tuple[int, ...] = (60, 60, 60)) -> None:
        cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    def long(ms: float) -> float:
        return ms / longest * (width - 460)

    for number, (row, label) in enumerate(zip(rows, names, strict=True)):
        x, y = float(_LEFT), 34 * number + 14
        write(label, 10, y + 15)
        for name, colour in colours.items():
            end = x + long(row.stages[name].median)
            cv2.rectangle(picture, (round(x), y), (round(end), y + 20), colour, -1)
            x = end
        whole = row.stages["whole"].median
        mark = round(_LEFT + long(whole))
        cv2.rectangle(picture, (mark - 1, y - 3), (mark, y + 23), (0, 0, 0), -1)
        write(f"whole {short(whole)} ms", max(mark, round(x)) + 8, y + 15)
    for number, (name, colour) in enumerate({**colours, "| whole": (0, 0, 0)}.items()):
        write(name, _LEFT + 90 * number, picture.shape[0] - 14, colour)
    return picture


def _sum(row: Row, names: Iterable[str]) -> float:
    return sum(row.stages[name].median for name in names)


def short(ms: float) -> str:
    """As the table and the chart have it."""
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}"


def crowds(
    estimate: Estimator, image: Image, copies: Iterable[int], rounds: int
) -> dict[int, Timing]:
    """Decoding the fields of 1, 2, ... copies of the image side by side: people found, and ms."""
    description = estimate.runtime.description
    if not description.skeleton.keypoints:
        return {}  # boxes are not grouped
    fields = estimate.infer(image)[0]
    jobs: dict[str, Callable[[], object]] = {}
    people = {}
    for count in copies:
        crowd = NetworkOutput(
            np.tile(fields.heatmaps, count), np.tile(fields.limbs, count), fields.stride
        )
        job = partial(decode, crowd, description.skeleton, description.decode_options)
        people[str(count)], jobs[str(count)] = len(job()), job
    if not any(people.values()):
        raise BadInput("nobody is found in the picture: choose one with people")
    return {people[name]: timing for name, timing in interleaved(jobs, rounds).items()}


def all_backends(
    model: Path | None, threads: int | None, report: Callable[[BadInput], None]
) -> list[Estimator]:
    """The model in every runtime and precision that can take it; `report` hears of the others."""
    precisions = ["f32", *["bf16"] * ("BF16" in capabilities()), "int8"]
    ways = [("openvino", precision) for precision in precisions]
    found: dict[str, Estimator] = {}
    for runtime, precision in [*ways, ("onnx", "f32"), ("torch", "f32")]:
        try:
            estimate = load(model, runtime=runtime, precision=precision, threads=threads)
        except BadInput as error:
            if not found:
                raise
            report(error)
        else:
            found.setdefault(estimate.runtime.label, estimate)
    return list(found.values())
