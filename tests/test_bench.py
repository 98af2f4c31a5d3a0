"""What is measured is what is said."""

import time

import numpy as np
import pytest

from conftest import drawn, standing
from limbwise.bench import HEIGHTS, height_for, interleaved
from limbwise.runtime import ANCESTOR, Runtime

IMAGE = np.zeros((90, 160, 3), np.uint8)


def slow(ms_per_row: float) -> Runtime:
    """Takes so long for each row of its input, and finds one person."""

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(images.shape[1] * ms_per_row / 1000)
        fields = drawn([standing(80, 60, 30)], (images.shape[1] // 8, images.shape[2] // 8))
        return fields.heatmaps[None], fields.limbs.reshape(1, 38, *fields.limbs.shape[2:])

    return Runtime(ANCESTOR, "slow", run)


@pytest.mark.parametrize("fps", [5, 10])
def test_the_largest_height_that_keeps_the_rate_is_taken(fps: float) -> None:
    height, taken = height_for(slow(0.25), IMAGE, fps, seconds=60)
    assert taken <= 800 / fps
    higher = HEIGHTS[HEIGHTS.index(height) + 1 :]
    assert not higher or higher[0] * 0.25 + 20 > 800 / fps


def test_a_machine_too_slow_for_any_gets_the_least() -> None:
    height, taken = height_for(slow(0.25), IMAGE, 1000)
    assert (height, taken > 0) == (HEIGHTS[0], True)


def test_each_job_is_timed_as_often_and_the_least_is_the_least() -> None:
    calls: list[str] = []
    timings = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert calls == ["a", "b"] + ["a", "b"] * 3
    assert all(0 < each.least <= each.median for each in timings.values())
