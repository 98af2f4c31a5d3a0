"""A run's log: a JSON line of figures at a time, each step once however often it was resumed."""

import json
import math
from contextlib import suppress
from pathlib import Path

from ..atomic import failing_to_write, replacing
from .loop import Report


def log_to(path: Path, after: int = 0) -> Report:
    """A report that adds a JSON line to a file; the lines of what comes after step `after`, where
    this run begins, are cut off before its first."""
    cut = False

    def report(step: int, figures: dict[str, float]) -> None:
        nonlocal cut
        if not figures:
            return
        line = {"step": step, **{key: round(value, 6) for key, value in figures.items()}}
        with failing_to_write(path):
            if not cut:
                _cut(path, after)
                cut = True
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    return report


def _cut(path: Path, after: int) -> None:
    """Leaves the lines up to a step; of a run that begins anew, none."""
    if not path.is_file():
        return
    kept = [line for line in path.read_text().splitlines(True) if _step_of(line) <= after]
    with replacing(path) as temporary:
        temporary.write_text("".join(kept) if after else "")


def _step_of(line: str) -> float:
    """Infinity for a line that is not whole."""
    with suppress(ValueError, TypeError, KeyError):
        return float(json.loads(line)["step"])
    return math.inf
