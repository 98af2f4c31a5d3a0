"""From frames to poses with all stages at work at once: reading, network, and whoever takes them.

    frames -> [thread: read] -> [thread: fit and network] -> decode -> (Frame, poses)

Between stages waits one piece at most. Of a live source it is the newest: what came before it is
dropped, so that nothing lags. Of a file every frame is kept: the reader waits.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import monotonic
from typing import Any, Generic, TypeVar

import numpy as np

from .estimator import Estimator
from .pace import Paced
from .pose import Pose
from .sources.frames import Frame

Item = TypeVar("Item")


@dataclass(eq=False)
class Stats:
    """What a run took: seconds from a frame's arrival to its poses for each frame that was shown,
    frames dropped because a newer one was there, and seconds from the first frame to the last.

    Of a `live` source the latency counts; a film's frames wait for their turn, so there it says
    nothing."""

    latencies: list[float] = field(default_factory=list)
    dropped: int = 0
    live: bool = False
    began: float = 0.0
    ended: float = 0.0

    def add(self, arrived: float) -> None:
        """Counts a frame that came at `arrived` (monotonic seconds) and is done now."""
        self.ended = monotonic()
        self.began = self.began or arrived
        self.latencies.append(self.ended - arrived)

    def __str__(self) -> str:
        if not self.latencies:
            return "no frames"
        count, seconds = len(self.latencies), max(self.ended - self.began, 1e-9)
        if not self.live:
            return f"{count} frames in {seconds:.1f} s, {count / seconds:.1f} a second"
        middle, late = np.percentile(self.latencies, (50, 99)) * 1000
        return (
            f"{count} frames, {count / seconds:.1f} a second, {self.dropped} dropped; "
            f"from frame to poses {middle:.0f} ms (median), {late:.0f} ms (99th percentile)"
        )


def flow(
    frames: Iterable[Frame],
    estimate: "Estimator | Paced",
    *,
    live: bool = False,
    stats: Stats | None = None,
) -> Generator[tuple[Frame, list[Pose]], None, None]:
    """Each frame with its poses, in order; reading, networks and the taker run at once.

    What reading or the network raises is raised here, after the poses of all frames before it.

    Args:
        frames: of any source.
        estimate: what finds the people.
        live: a source that does not wait: only frames that there was time for are given.
        stats: where the times of the stages are counted.
    """
    stats = Stats() if stats is None else stats
    stats.live = live

    def dropped() -> None:
        stats.dropped += 1

    infer: Callable[..., tuple[Any, ...]] = estimate.infer
    decode: Callable[..., list[Pose]] = estimate.decode
    arrived = in_thread(((monotonic(), frame) for frame in frames), dropped if live else None)
    inferred = in_thread((time, frame, infer(frame.image)) for time, frame in arrived)
    with closing(inferred):
        for time, frame, seen in inferred:
            poses = decode(*seen, frame.image)
            stats.add(time)
            yield frame, poses


def timed(
    seen: Generator[tuple[Frame, list[Pose]], None, None], stats: Stats
) -> Generator[tuple[Frame, list[Pose]], None, None]:
    """The same, counted; how long each was on its way is not known here, but from its taker's last
    wish on."""
    with closing(seen):
        asked = monotonic()
        for frame, poses in seen:
            stats.add(asked)
            yield frame, poses
            asked = monotonic()


def in_thread(
    items: Iterator[Item], dropped: Callable[[], None] | None = None
) -> Generator[Item, None, None]:
    """The items, got by a thread of their own, which is one ahead.

    With `dropped` it never waits: an item that nobody took yet makes place for the next, and
    `dropped` is called. Closing this ends the thread, which closes `items`.
    """
    place = _Place[Item](dropped)
    thread = Thread(target=place.fill, args=(items,), daemon=True)
    thread.start()
    try:
        yield from place
    finally:
        place.close()
        thread.join(timeout=5)  # longer only where a source hangs


class _Place(Generic[Item]):
    """Room for one item between two threads."""

    def __init__(self, dropped: Callable[[], None] | None) -> None:
        self._changed = Condition()
        self._waiting: list[Item] = []
        self._dropped = dropped
        self._error: BaseException | None = None
        self._ended = self._closed = False

    def fill(self, items: Iterator[Item]) -> None:
        """Runs in the thread."""
        try:
            for item in items:
                if not self._put(item):
                    break
            if isinstance(items, Generator):
                items.close()
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        """False once nobody wants items any more."""
        with self._changed:
            while self._waiting and not self._closed and not self._dropped:
                self._changed.wait()
            if self._waiting and self._dropped and not self._closed:
                self._waiting.clear()
                self._dropped()
            self._waiting.append(item)
            self._changed.notify_all()
            return not self._closed

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if not self._waiting:
                    break
                item = self._waiting.pop()
                self._changed.notify_all()
            yield item
        if self._error:
            raise self._error

    def close(self) -> None:
        """Whoever fills stops at its next item."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
