"""A rate is kept by the best estimator that can, and by a quicker one once it cannot."""

import time

import numpy as np
import pytest

from limbwise.estimator import Estimator
from limbwise.pace import MAX_FRACTION, Paced
from limbwise.pipeline import flow
from limbwise.sources.frames import Frame

IMAGE = np.zeros((48, 64, 3), np.uint8)


class Slow(Estimator):
    """Takes so many milliseconds in each half, and finds nobody."""

    def __init__(self, name: str, look: float, read: float = 0.0) -> None:
        self.name, self.milliseconds, self.height, self.made_by = name, [look, read], 8, None
        self.frames = 0

    def infer(self, image):
        time.sleep(self.milliseconds[0] / 1000)
        return None, None

    def decode(self, said, view, image):
        time.sleep(self.milliseconds[1] / 1000)
        self.frames += 1
        return []

    def __call__(self, image):
        return self.decode(*self.infer(image), image)


def run(paced: Paced, count: int) -> None:
    film = [Frame(IMAGE, "film", n, n / 30) for n in range(count)]
    assert len(list(flow(film, paced))) == count


@pytest.mark.parametrize(
    ("fps", "taken"), [(10, "best"), (1000 * MAX_FRACTION / 70, "best"), (20, "good"),
                       (40, "quick"), (2000, "quick")]
)  # fmt: skip
def test_the_best_that_is_quick_enough_begins(fps: float, taken: str) -> None:
    paced = Paced([Slow("best", 60), Slow("good", 30), Slow("quick", 1)], fps, print)
    milliseconds = paced.start(IMAGE)
    assert paced.estimate.name == taken
    assert milliseconds >= sum(paced.estimate.milliseconds)


@pytest.mark.parametrize("half", [0, 1])
def test_who_becomes_too_slow_is_replaced_and_it_is_told(half: int) -> None:
    """Whichever half of the way is the slow one."""
    told: list[str] = []
    best, quick = Slow("best", 1), Slow("quick", 1)
    paced = Paced([best, quick], 50, told.append)
    paced.start(IMAGE)
    assert paced.estimate is best
    best.milliseconds[half] = 45
    run(paced, 30)
    assert paced.estimate is quick
    assert len(told) == 1
    assert "more than --fps 50 allows" in told[0]
    assert quick.frames > 5


def test_one_slow_frame_changes_nothing_and_the_last_stays() -> None:
    told: list[str] = []
    best = Slow("best", 1)
    paced = Paced([best, Slow("quick", 1)], 50, told.append)
    paced.start(IMAGE)
    run(paced, 12)
    best.milliseconds[0] = 60
    run(paced, 3)
    best.milliseconds[0] = 1
    run(paced, 12)
    assert paced.estimate is best
    best.milliseconds[0] = 60
    alone = Paced([best], 50, told.append)
    alone.start(IMAGE)
    run(alone, 14)
    assert not told


def test_the_command_chooses_and_says_what_it_chose(capsys, tmp_path) -> None:
    from limbwise.cli.app import exit_code
    from limbwise.models.catalogue import SAMPLE

    where = str(tmp_path / "a.jsonl")
    for options, word in ((["--fps", "0.1"], "accurate"), (["--fps", "1000"], "one-stage")):
        assert exit_code(["run", str(SAMPLE), "--json", where, "--precision", "f32", *options]) == 0
        assert f"the model {word}, input size" in capsys.readouterr().err
