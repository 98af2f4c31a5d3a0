"""Pictures by several processes: each reads and estimates, one hands out and writes, in order.

    files -> [process: read, estimator of one thread] -> in the order of the files -> frames, poses

Reading, decoding and both stages scale with the cores so, which threads of one process do not. A
few pictures are on their way at a time, so memory does not grow with the folder.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from .errors import BadInput
from .estimator import Estimator, load
from .geometry import Image
from .pose import Pose
from .sources.frames import VIDEOS, Frame
from .sources.image import check_file, opened, picture_shots
from .sources.video import Report

_AHEAD = 3  # pictures for each process that wait or are done
_estimate: Estimator | None = None  # of a process that estimates

# Of one file: its frames as image or its shape, time and poses, and what is wrong with it.
Seen = tuple[list[tuple[Image | tuple[int, ...], float | None, list[Pose]]], list[str]]


def flow_in_processes(
    files: Sequence[Path],
    arguments: dict[str, Any],
    count: int,
    *,
    on_bad: Report,
    images: bool = True,
) -> Generator[tuple[Frame, list[Pose]], None, None]:
    """The pictures of the files with their poses, in order, by `count` processes.

    Each loads an estimator by the `arguments` of `load`. What cannot be read goes to `on_bad` in
    its turn. Without `images` frames have pictures of the right size and no content. BadInput if a
    file is a film, or a process is lost.
    """
    films = [path for path in files if path.suffix.lower() in VIDEOS.split()]
    if films:
        raise BadInput(f"--processes is for pictures, and {films[0]} is a film: leave it out")
    load(**arguments)  # what is wrong is told once, and what is quickest measured once
    pool = ProcessPoolExecutor(
        count, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(arguments,)
    )
    index = 0
    try:
        for path, seen in _in_order(pool, files, images, _AHEAD * count):
            frames, wrong = seen
            for image, time, poses in frames:
                whole = image if isinstance(image, np.ndarray) else _blank(image)
                still = path if time is None else None
                when = float(index) if time is None else time
                yield Frame(whole, when, index, str(path), still), poses
                index += 1
            for text in wrong:
                on_bad(BadInput(text))
    except BrokenProcessPool as error:
        raise BadInput(
            "a process ended before its time: is there memory for all of them? "
            "Fewer --processes need less"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, files: Iterable[Path], images: bool, ahead: int
) -> Generator[tuple[Path, Seen], None, None]:
    waiting: deque[tuple[Path, Future[Seen]]] = deque()
    for path in files:
        waiting.append((path, pool.submit(_work, path, images)))
        if len(waiting) >= ahead:
            first, done = waiting.popleft()
            yield first, done.result()
    while waiting:
        first, done = waiting.popleft()
        yield first, done.result()


def _blank(shape: tuple[int, ...]) -> Image:
    return np.broadcast_to(np.zeros((), np.uint8), shape)


# What the processes do.


def _begin(arguments: dict[str, Any]) -> None:
    """Ctrl-C is the first process's affair; when that is gone, nobody is left behind."""
    global _estimate
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    _estimate = load(**arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(path: Path, images: bool) -> Seen:
    assert _estimate is not None
    frames: list[Any] = []
    wrong: list[str] = []
    try:
        check_file(path, str(path))
        with (
            opened(path, str(path)) as picture,
            closing(picture_shots(picture, str(path), lambda bad: wrong.append(str(bad)))) as shots,
        ):
            for image, time in shots:
                frames.append((image if images else image.shape, time, _estimate(image)))
    except BadInput as bad:
        wrong.append(str(bad))
    return frames, wrong
