"""Whatever is read, computed and taken at once is what would come one after another."""

import threading
import time
from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import pytest

from conftest import drawn, standing
from limbwise.backends.base import Backend
from limbwise.description import ORIGINAL
from limbwise.errors import BadInput
from limbwise.estimator import Estimator
from limbwise.pipeline import Stats, flow, in_thread
from limbwise.sources.frames import Frame

SIZE = (160, 160)


def reader(number: int, seconds: float = 0.0) -> Iterator[Frame]:
    """Frames whose first pixel is their number, as fast as told."""
    for index in count() if number < 0 else range(number):
        time.sleep(seconds)
        image = np.full((*SIZE, 3), index % 256, np.uint8)
        yield Frame(image, index / 10, index, "test")


def where_it_is_bright() -> Estimator:
    """Sees a person as far to the right as a picture is bright."""

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        people = [standing(100, 60 + images[0, 0, 0, 0], 30)]
        fields = drawn(people, (images.shape[1] // 8, images.shape[2] // 8))
        return fields.heatmaps[None], fields.limbs.reshape(1, 38, *fields.limbs.shape[2:])

    return Estimator(Backend(ORIGINAL, "bright", run), height=SIZE[0])


def test_every_frame_of_a_file_comes_in_order_with_its_own_poses() -> None:
    estimate = where_it_is_bright()
    found = list(flow(reader(20), estimate))
    assert [frame.index for frame, _ in found] == list(range(20))
    for frame, poses in found:
        (expected,) = estimate(frame.image)
        assert np.array_equal(poses[0].xy, expected.xy, equal_nan=True)


def test_reading_network_and_taking_happen_at_the_same_time() -> None:
    """Each waits at its own frame for the two others, which would not come one after another."""
    meeting = threading.Barrier(3, timeout=20)

    def met(frames: Iterator[Frame], at: int) -> Iterator[Frame]:
        for frame in frames:
            if frame.index == at:
                meeting.wait()
            yield frame

    estimate, looks = where_it_is_bright(), count()
    infer = estimate.infer

    def looking(image: np.ndarray):
        if next(looks) == 4:
            meeting.wait()
        return infer(image)

    estimate.infer = looking
    found = met((frame for frame, _ in flow(met(reader(8), 5), estimate)), 3)
    assert [frame.index for frame in found] == list(range(8))


def test_of_a_live_source_the_newest_frame_wins() -> None:
    stats = Stats()
    shown = []
    for frame, _ in islice(
        flow(reader(-1, 0.002), where_it_is_bright(), live=True, stats=stats), 8
    ):
        shown.append(frame.index)
        time.sleep(0.05)
    assert shown == sorted(set(shown))
    assert shown[-1] > 7 * 8  # about 25 came while one was shown
    assert stats.dropped >= shown[-1] - 12
    # Two stages of one frame each, never a queue; the middle, since the machine may be busy.
    assert np.median(stats.latencies) < 0.25


def test_frames_before_a_failure_are_not_lost() -> None:
    def failing() -> Iterator[Frame]:
        yield from reader(3)
        raise BadInput("the cable is out")

    seen = flow(failing(), where_it_is_bright())
    assert [next(seen)[0].index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(BadInput, match="the cable is out"):
        next(seen)


def test_a_failing_network_fails_the_run() -> None:
    def broken(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        list(flow(reader(3), Estimator(Backend(ORIGINAL, "broken", broken))))


def test_leaving_early_closes_the_source_and_ends_the_threads() -> None:
    closed = threading.Event()

    def source() -> Iterator[Frame]:
        try:
            yield from reader(-1)
        finally:
            closed.set()

    before = set(threading.enumerate())
    for live in (False, True):
        closed.clear()
        seen = flow(source(), where_it_is_bright(), live=live)
        next(seen)
        seen.close()
        assert closed.wait(2)
        assert set(threading.enumerate()) <= before  # of other tests' threads some may end


def test_what_waits_is_one_item_at_most() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    ahead = in_thread(items())
    next(ahead)
    time.sleep(0.1)
    assert len(taken) <= 3  # one given, one waiting, one in the reader's hand
    assert list(ahead) == list(range(1, 100))


def test_stats_count_what_was_shown() -> None:
    stats = Stats()
    assert str(stats) == "no frames"
    list(flow(reader(5), where_it_is_bright(), stats=stats))
    assert str(stats).startswith("5 frames in ")
    assert "ms" not in str(stats)  # a film's frames wait for their turn
    list(flow(reader(5), where_it_is_bright(), live=True, stats=(live := Stats())))
    assert "dropped; from frame to poses" in str(live)
