"""How the commands speak to a person: one line for what went wrong, a bar for what takes long."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..errors import BadInput
from ..interrupts import exit_code
from .environment import lack

# What typer raises for options that it cannot take, whichever click it is made with.
WRONG_OPTIONS: type[Exception] = typer.BadParameter.__mro__[2]
EVERY = 5.0  # seconds between two lines where no bar can be drawn
SHOWN_FAULTS = 2  # what else cannot be read is counted

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")

stderr = Console(stderr=True, highlight=False)


_called: ContextVar[Mapping[str, str]] = ContextVar("_called", default={})  # noqa: B039 - never changed


@contextmanager
def calling(names: Mapping[str, str]) -> Iterator[None]:
    """Errors call options by other names: those that whoever started a script knows."""
    token = _called.set(names)
    try:
        yield
    finally:
        _called.reset(token)


def complain(error: object) -> None:
    """One line on stderr for what went wrong."""
    wide = Console(stderr=True, highlight=False, width=max(stderr.width, 80))  # COLUMNS may say 0
    names = _called.get()
    text = _OPTION.sub(lambda found: names.get(found[0], found[0]), str(error))
    wide.print(f"limbwise: {text}", style="red", markup=False, soft_wrap=True)


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """What a user can mend becomes one line on stderr and exit code 2."""
    try:
        yield
    except BrokenPipeError:  # whoever read our stdout has enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - it is flushed at exit
        raise SystemExit(0) from None
    except KeyboardInterrupt as stop:
        notes = getattr(stop, "__notes__", ["what was done is written"])
        complain(f"interrupted; {'; '.join(notes)}")
        raise SystemExit(exit_code(stop)) from None
    except (BadInput, OSError) as error:
        complain(error if isinstance(error, BadInput) else _of_system(error))
        raise SystemExit(2) from None
    except WRONG_OPTIONS as error:
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        if message:
            complain(f"{message} (--help says more)")
        raise SystemExit(2) from None
    except (ImportError, MemoryError, RuntimeError) as error:
        if (text := lack(error)) is None:
            raise
        complain(text)
        raise SystemExit(1) from None


def _of_system(error: OSError) -> str:
    """Without its number, and of a name that is too long both ends."""
    reason, name = error.strerror or str(error), str(error.filename or "")
    name = f"{name[:80]}...{name[-40:]}" if len(name) > 200 else name
    return f"{name}: {reason}" if name else reason


def note(text: str) -> None:
    """A line on stderr that is no complaint."""
    stderr.print(f"limbwise: {text}", highlight=False, soft_wrap=True, markup=False)


def stdout_is_terminal() -> bool:
    """Whether somebody reads standard output as it comes."""
    return sys.stdout is not None and sys.stdout.isatty()


class Reports:
    """Takes what cannot be read among several: names the first, counts the rest, says how many."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: BadInput) -> None:
        self.count += 1
        if self.count <= SHOWN_FAULTS:
            complain(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.count > SHOWN_FAULTS:
            complain(f"and so on: {self.count} in all could not be read, or not to their end")


class _Rate(ProgressColumn):
    """Frames per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} fps" if task.speed else "- fps")


def progress(
    items: Iterable[Any], total: int | None, what: str, quiet: bool = False
) -> Iterator[Any]:
    """The items, with a bar, rate and time left on a terminal; silent in a pipe."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()
    with Progress(*columns, TimeRemainingColumn(), console=stderr) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)


@contextmanager
def counting(done: int, total: int, what: str) -> Iterator[Callable[[int, str], None]]:
    """Takes how many are done, from `done` to `total`, and what to show of them ("": what was
    last): a bar on a terminal, elsewhere a line every few seconds and a last one."""
    if sys.stderr is not None and sys.stderr.isatty():
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), console=stderr) as bar:
            task = bar.add_task(what, total=total, completed=done)
            yield lambda now, about: bar.update(task, completed=now, description=about or None)
        return
    began = printed = time.monotonic()
    last = ""

    def show(now: int, about: str) -> None:
        nonlocal last, printed
        last, at = about or last, time.monotonic()
        if now < total and at - printed < EVERY:
            return
        printed = at
        left = round((at - began) / max(now - done, 1) * (total - now))
        note(f"{what} {now}/{total}, {last}{', ' * bool(last)}{left} s left")

    yield show
