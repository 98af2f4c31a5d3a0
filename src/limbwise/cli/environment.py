"""What a process is given by whoever starts it, put right where it is less than libraries need."""

import os
from pathlib import Path

from ..cache import private_folder

# How libraries say that memory, threads or files have run out, by themselves or by ulimit.
_LACKS = (
    "start new thread", "bad_alloc", "bad allocation", "annot allocate", "ailed to allocate",
    "can't alloc", "failed to map", "temporarily unavailable", "Cannot load library",
    "Too many open files", "not enough memory",
)  # fmt: skip


def prepare() -> None:
    """For the commands, before anything else is done."""
    _keep_closed()
    _find_home()


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _keep_closed() -> None:
    """A closed stdin, stdout or stderr is given to nobody else: a file that is opened next would
    get its number, and with it what a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _find_home() -> None:
    """A user without a name and without HOME, as in containers: OpenVINO's telemetry looks for a
    home as soon as it is imported."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(private_folder() or "/")


def lack(error: BaseException) -> str | None:
    """What to say of an error where the machine has no more to give; None of any other."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not isinstance(error, MemoryError) and not any(word in str(error) for word in _LACKS):
        return None
    reason = f" ({lines[-1][:160]})" if lines else ""
    return f"memory, threads or open files do not suffice here{reason}: see ulimit -a"
