"""What others wrote: JSON of any depth, and numbers that must lie within limits.

A file may hold anything where a number belongs: nan, 10^30, a list, a text. Whatever these
functions are given, they return what can be used or raise ValueError with the reason; who reads a
file puts its name before that.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import BadInput

# Every number has its limits: beyond them are gigabytes, hours, or a library's own traceback.
LARGEST_INPUT = 4096  # pixels of the height
MANY_THREADS = 1024
MANY_PEOPLE = 1000
SMALLEST_SCALE, LARGEST_SCALE, MANY_SCALES = 0.1, 8.0, 16


def parsed(text: str | bytes) -> Any:
    """A JSON text as Python's own types; ValueError if it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file; BadInput if there is none."""
    try:
        return parsed(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not a JSON file: {error}") from error


def is_whole(value: Any, low: int, high: int) -> bool:
    """Whether a value is a whole number from `low` to `high`; True and 3.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number from `low` to `high`; nan and True are none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and bool(low <= value <= high) and not math.isnan(value)


def whole(value: Any, low: int, high: int, name: str) -> int:
    """The value; ValueError, with its `name`, unless `is_whole`."""
    if not is_whole(value, low, high):
        raise ValueError(f"{name} is {shown(value)}, not a whole number from {low} to {high}")
    return int(value)


def number(value: Any, low: float, high: float, name: str) -> float:
    """The value; ValueError, with its `name`, unless `is_number`."""
    if not is_number(value, low, high):
        raise ValueError(f"{name} is {shown(value)}, not a number from {low:g} to {high:g}")
    return float(value)


def check_options(limits: Mapping[str, tuple[Any, float, float]]) -> None:
    """BadInput, with its name, for a value that is not within its limits: a whole number where both
    limits are whole. None stands for what is not asked for."""
    for name, (given, low, high) in limits.items():
        value = getattr(given, "item", lambda given=given: given)()  # NumPy's are numbers, too
        try:
            if isinstance(low, int) and isinstance(high, int) and value is not None:
                whole(value, low, high, name)
            elif value is not None:
                number(value, low, high, name)
        except ValueError as error:
            raise BadInput(str(error)) from None


def shown(value: Any, longest: int = 60) -> str:
    """A value in a message of one line: short, and without what a terminal would obey."""
    kind = type(value)
    if kind not in (str, int, float, bool, type(None)):  # which may be as long as the file
        return f"a {kind.__name__}"
    if kind is int and abs(value) >= 10**longest:  # nor does Python write each of them out
        return "an endless number"
    text = value if kind is str else repr(value)
    plain = "".join(each if each.isprintable() else "?" for each in text[: longest + 1])
    return plain if len(text) <= longest else f"{plain[:longest]}..."
