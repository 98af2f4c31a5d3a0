"""How the commands speak to a person: one line for what went wrong, a bar for what takes long."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

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

from .errors import BadInput

stderr = Console(stderr=True, highlight=False)


def complain(error: object) -> None:
    stderr.print(f"limbwise: {error}", style="red", markup=False, soft_wrap=True)


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """What a user can mend becomes one line on stderr and exit code 2."""
    try:
        yield
    except BrokenPipeError:  # whoever read our stdout has enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - it is flushed at exit
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        complain("interrupted; what was done is written")
        raise SystemExit(130) from None
    except (BadInput, OSError) as error:
        complain(error)
        raise SystemExit(2) from None


class _Rate(ProgressColumn):
    """Frames per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} fps" if task.speed else "- fps")


def progress(
    items: Iterable[Any], total: int | None, what: str, quiet: bool = False
) -> Iterator[Any]:
    """The items, with a bar, rate and time left on a terminal; silent in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield from items
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()
    with Progress(*columns, TimeRemainingColumn(), console=stderr) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)
