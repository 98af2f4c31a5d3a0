"""The network away from the event loop: N threads, each with an estimator of its own, and a queue
of bounded length before them."""

import asyncio
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from ..estimator import Estimator

T = TypeVar("T")


class Busy(Exception):  # noqa: N818 - it names a state, not a fault
    """All places before the workers are taken: come again in a moment."""


class Workers:
    """`await run(job)` gives `job(estimator)`, done in one of the threads, first come first.

    waiting: how many jobs may wait for a free estimator; one more is `Busy`.
    """

    def __init__(self, estimators: Sequence[Estimator], waiting: int) -> None:
        self.count, self.waiting = len(estimators), waiting
        self.taken = 0  # places; changed by the event loop's thread only
        self._free: queue.SimpleQueue[Estimator] = queue.SimpleQueue()
        for estimate in estimators:
            self._free.put(estimate)
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="limbwise")

    async def run(self, job: Callable[[Estimator], T], seconds: float | None = None) -> T:
        """Takes a place for the job; Busy if there is none, TimeoutError after `seconds`.

        A job that has begun cannot be stopped: it keeps its place until it ends.
        """
        if self.taken >= self.count + self.waiting:
            raise Busy
        self.taken += 1
        loop = asyncio.get_running_loop()
        future = self._threads.submit(self._with_estimator, job)
        future.add_done_callback(lambda done: self._give_back(loop))
        return await asyncio.wait_for(asyncio.wrap_future(future), seconds)

    async def run_reserved(self, job: Callable[[Estimator], T]) -> T:
        """For a caller who was given a place for good, and has one job at a time: never Busy."""
        return await asyncio.wrap_future(self._threads.submit(self._with_estimator, job))

    def close(self) -> None:
        """Jobs that wait are dropped, those that run come to their end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _with_estimator(self, job: Callable[[Estimator], T]) -> T:
        estimate = self._free.get()
        try:
            return job(estimate)
        finally:
            self._free.put(estimate)

    def _give_back(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop may have ended before the job
            loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self.taken -= 1
