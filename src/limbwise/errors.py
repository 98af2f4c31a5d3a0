"""What a user can mend: shown as one line, without a traceback."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


class BadInput(ValueError):  # noqa: N818 - it names what is bad, not what went wrong inside
    """A file, model or value that cannot be used; the message names it and the remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that nobody knows, to end an error with."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def named_options(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """The function, which answers an option that it does not have with the nearest that it has."""
    known = inspect.signature(function).parameters

    @wraps(function)
    def checked(*args: Given.args, **options: Given.kwargs) -> Made:
        for name in options:
            if name not in known:
                raise TypeError(f"{function.__name__} has no option {name}: {nearest(name, known)}")
        return function(*args, **options)

    return checked
