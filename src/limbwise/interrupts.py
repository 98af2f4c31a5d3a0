"""Ctrl-C, SIGTERM and SIGHUP as one exception, and pieces of work that they do not tear apart.

A frame is drawn into the film and written into the JSON, or neither: between the two nobody is
interrupted.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # not all systems have all of them
_COMPANY = 0.3  # seconds in which several signals are one wish
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """Somebody wants the process to end; `number` is the signal's."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """As shells have it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + int(getattr(stop, "number", signal.SIGINT))


def listen() -> None:
    """From now on each of the signals raises `Stopped`, but for those that nohup or a shell keeps
    away."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    """Once is enough: terminals and services send several, and files are being finished. Only a
    second Ctrl-C, which somebody means, still counts. Whoever took SIGTERM over gets SIGHUP, too:
    a server ends its own way."""
    taken = signal.getsignal(signal.SIGTERM)
    if number not in (signal.SIGINT, signal.SIGTERM) and callable(taken) and taken is not _stop:
        taken(signal.SIGTERM, frame)
        return
    for other in SIGNALS:
        if other != signal.SIGINT:
            # Not SIG_IGN: Python prints a traceback where a signal came a moment before.
            signal.signal(other, _passed_over)
    raise Stopped(number)


def _passed_over(number: int, frame: FrameType | None) -> None:
    """A signal that changes nothing."""


def let_end() -> None:
    """All is written: from now on a signal ends the process at once and without a word, while
    Python waits for threads that are at work."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def held(seconds: float) -> Iterator["Waiting"]:
    """Signals wait for the end of the block: for so long at most, since it may be stuck in a pipe
    that nobody reads. A second Ctrl-C does not wait. Yields what tells which signal waits.

    For blocks of the main thread, which alone hears signals; elsewhere nothing changes.
    """
    waiting = Waiting(seconds)
    if threading.current_thread() is not threading.main_thread():
        yield waiting
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    mine = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in mine:
        signal.signal(number, waiting)
    stopping = False
    try:
        yield waiting
    except Stopped:  # in the block, by what waited or by a block within
        stopping = True
        raise
    finally:
        waiting.end()
        for number in mine:
            over = stopping and number != signal.SIGINT and before[number] is _stop
            signal.signal(number, _passed_over if over else before[number])
    if waiting.number:
        signal.raise_signal(waiting.number)


class Waiting:
    """The signal that came during a block, as its handler; `number` is 0 before one came."""

    def __init__(self, seconds: float) -> None:
        self.number = 0
        self._seconds = seconds
        self._late = False
        self._came = 0.0
        self._timer: threading.Timer | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._late or (self.number and number == signal.SIGINT and self._is_another()):
            raise Stopped(self.number or number)
        if not self.number:
            self.number, self._came = number, time.monotonic()
            self._timer = threading.Timer(self._seconds, self._wake, (threading.get_ident(),))
            self._timer.daemon = True
            self._timer.start()

    def _is_another(self) -> bool:
        """Whether a Ctrl-C is one more wish: with another signal it may have come as its company,
        and of two that have come the one with the lower number is heard first."""
        return self.number == signal.SIGINT or time.monotonic() - self._came > _COMPANY

    def _wake(self, thread: int) -> None:
        """Ends a call that waits for ever, too: the same signal again."""
        self._late = True
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(thread, self.number)

    def end(self) -> None:
        if self._timer:
            self._timer.cancel()
