"""`limbwise batch`: folders and buckets of pictures and films into shards, on Ray.

options -> sources listed -> what is missing -> workers -> shards, manifest, errors
"""

import sys
import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..checks import MANY_PEOPLE
from ..errors import BadInput
from ..estimator import MIN_SCORE
from ..interrupts import listen
from .environment import usable_cores
from .options import (
    MANY,
    BatchFormat,
    MinScoreOption,
    ModelOption,
    PersonOption,
    Precision,
    PrecisionOption,
    RefineOption,
    SizeOption,
    finite,
    not_empty,
    person_choice,
)
from .terminal import complain, failing_in_one_line, note, stderr

if TYPE_CHECKING:
    from ..distributed.job import Job
    from ..distributed.todo import Todo
    from ..distributed.work import Report

EVERY = 10.0  # seconds between two lines of progress where there is no terminal


@failing_in_one_line()
def batch(
    source: Annotated[
        list[str],
        typer.Argument(
            help="Folders, patterns, films, .txt lists of paths, Parquet with paths or bytes; here "
            "or at s3://, gs:// and the like."
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", help="Folder, here or in a store.", callback=not_empty)
    ],
    model: ModelOption = None,
    person_model: PersonOption = None,
    refine: RefineOption = None,
    size: SizeOption = None,
    precision: PrecisionOption = Precision.fast,
    format: Annotated[  # noqa: A002 - the option's name
        BatchFormat, typer.Option("--format", help="How shards are written.")
    ] = BatchFormat.parquet,
    min_score: MinScoreOption = MIN_SCORE,
    max_people: Annotated[int | None, typer.Option("--max-people", min=1, max=MANY_PEOPLE)] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth/--no-smooth", help="In films: smooth the keypoints.")
    ] = True,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps", min=0.1, max=1000, callback=finite,
            help="The best model and --size that do so many a second on one core; measured once.",
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", help="Of Parquet: the one with paths or bytes.")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option("--workers", help="MIN,MAX or a number; as many as cores if absent."),
    ] = None,
    address: Annotated[
        str, typer.Option("--address", help="local, auto, or ray://HOST:PORT of a Ray cluster.")
    ] = "local",
    per_shard: Annotated[
        int | None,
        typer.Option(
            "--per-shard", min=1, max=MANY,
            help="Pictures in a shard; 32 to 1000 if absent, and fewer in the first ones.",
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make all of an output folder anew.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count, and say how long it will take.")
    ] = False,
    price: Annotated[
        float | None,
        typer.Option(
            "--price", min=0, max=1e6, callback=finite, help="Of a core's hour, for --dry-run."
        ),
    ] = None,
) -> None:  # fmt: skip
    """The people in any number of pictures and films, into --out; again does what is missing."""
    from ..distributed.engine import need_ray

    need_ray()
    from ..distributed.batch import Options, run
    from ..distributed.store import Store

    given: dict[str, Any] = {
        "model": None if model is None else str(model),
        "person": _person(person_choice(person_model, refine)),
        "precision": precision.value, "height": size, "min_score": min_score,
        "max_people": max_people, "smooth": smooth, "fps": fps,
    }  # fmt: skip
    options = Options(
        out,
        given,
        format.value,
        column,
        per_shard,
        _workers(workers),
        address,
        usable_cores(),
        again,
    )
    if dry_run:
        _dry(source, options, price)
        return
    progress = Progressing()
    with closing(run(source, options, progress.begin, _settled, listen)) as steps, progress:
        for step in steps:
            if isinstance(step, Store):
                progress.end(step)
            else:
                progress.add(step)
    if progress.broken:
        raise typer.Exit(2)


def _person(choice: Any) -> str | bool | None:
    return choice if choice is None or isinstance(choice, bool) else str(choice)


def _workers(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1 or numbers[0] > numbers[-1]:
        raise BadInput(f"--workers {text} is neither a number nor MIN,MAX such as 1,8")
    return numbers[0], numbers[-1]


def _settled(given: Mapping[str, Any]) -> "Job":
    """The job that the options mean here; with --fps after measuring."""
    from ..distributed.batch import plain_job

    fps = given.get("fps")
    if not fps:
        return plain_job(given)
    from ..estimator import load
    from ..models.catalogue import CATALOGUE
    from .run import paced

    free = given["model"] is None and given["height"] is None and given["person"] is None
    estimate = load(
        given["model"], person=given["person"], precision=given["precision"], threads=1,
        height=given["height"],
    )  # fmt: skip
    chosen = paced(estimate, fps, list(CATALOGUE) if free else []).estimate
    made = chosen.made_by or {}
    return plain_job({**given, "model": made["model"], "height": chosen.height})


def _dry(sources: list[str], options: Any, price: float | None) -> None:
    from ..distributed.estimate import estimate
    from ..distributed.sources import items

    found = estimate(_settled(options.given), items(sources, options.column))
    workers = options.workers[1] or options.cores
    hours = found.seconds / 3600
    cost = "" if price is None else f"; {hours * price:.2f} at {price:g} an hour of a core"
    typer.echo(
        f"{found.pictures} pictures and {found.films} films ({found.frames:.0f} frames in all): "
        f"{hours:.2f} hours of a core, {_span(found.seconds / workers)} with {workers} workers"
        f"{cost}. Measured on {found.tried}, of which {found.broken} could not be read"
    )


def _span(seconds: float) -> str:
    """2:05:00, or 12 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


class Progressing:
    """What is shown of a run on stderr: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.frames = self.people = self.failed = self.broken = 0
        self._items = self._done = 0
        self._weights: dict[str, int] = {}
        self._began, self._last = time.monotonic(), -EVERY
        self._bar: Progress | None = None

    def __enter__(self) -> "Progressing":
        if sys.stderr is not None and sys.stderr.isatty():
            columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
            self._bar = Progress(*columns, TimeRemainingColumn(), console=stderr)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, todo: "Todo") -> None:
        """What there is to do."""
        from ..distributed.batch import weights

        self._weights = weights(todo)
        self._items = sum(self._weights.values())
        self._began = time.monotonic()
        if todo.done:
            note(f"{todo.done} of {todo.total} sources are done")
        if self._bar:
            self._bar.add_task("starting", total=self._items)

    def add(self, report: "Report") -> None:
        """A shard is done."""
        self.frames += report.frames
        self.people += report.people
        self.failed += report.failed
        self._done += self._weights.get(report.shard, 0)
        now = time.monotonic()
        passed = max(now - self._began, 1e-9)
        line = f"{self.frames / passed:.1f} pictures/s, {self.people} people, {self.failed} failed"
        if self._bar:
            self._bar.update(self._bar.task_ids[0], description=line, completed=self._done)
        elif now - self._last >= EVERY:
            left = passed / max(self._done, 1) * (self._items - self._done)
            note(f"{self._done} of {self._items} sources, {line}, {_span(left)} left")
            self._last = now

    def end(self, store: Any) -> None:
        """All is done; what is broken is reported, here and by the exit code."""
        failures = store.failures()
        self.broken = len(failures)
        typer.echo(
            f"{store.address}: {self.frames} pictures with {self.people} people in "
            f"{_span(time.monotonic() - self._began)}"
        )
        for its in failures[:2]:
            complain(its["reason"])
        if failures:
            complain(
                f"not read, or not to their end: {len(failures)} of the sources. The reasons are "
                f"in {store.folder.at('errors')}; the same command tries them again"
            )
