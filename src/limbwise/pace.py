"""A rate that is kept: of several estimators the best that is quick enough, and while it runs a
quicker one as soon as it is not.

How long a frame takes depends on the people in it and on what else the machine does, so a
measurement before the start is not enough.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .estimator import Estimator
from .geometry import Image
from .models.catalogue import DEFAULT
from .pose import Pose

MAX_FRACTION = 0.8  # of a frame's time, what estimating it may take before the start
_FRAMES = 12  # of which the median is held against a frame's time
_ROUNDS = 4

Notify = Callable[[str], None]


class Paced:
    """An `Estimator` to a film (pipeline.py), which changes to the next of `rungs`, best first,
    once the median of a dozen frames takes longer than `fps` allows; `notify` hears of it.

    The two halves of the way run at once in a film, so the slower one of them sets the rate.
    """

    def __init__(self, rungs: Sequence[Estimator], fps: float, notify: Notify) -> None:
        self.rungs, self.fps, self.notify = list(rungs), fps, notify
        self.rung = 0
        self._taken: deque[float] = deque(maxlen=_FRAMES)

    @property
    def estimate(self) -> Estimator:
        """The one at work."""
        return self.rungs[self.rung]

    def start(self, image: Image) -> float:
        """Chooses the first rung that an image takes few enough milliseconds in, and returns them;
        the last if none is quick enough."""
        taken = 0.0
        for number in range(len(self.rungs)):
            self.rung = number
            taken = min(_milliseconds(self.estimate, image) for _ in range(_ROUNDS))
            if taken <= 1000 * MAX_FRACTION / self.fps:
                break
        return taken

    def infer(self, image: Image) -> tuple[Any, ...]:
        """As the estimator's, and with which one, and how long it took."""
        began, estimate = time.perf_counter(), self.estimate
        return (*estimate.infer(image), estimate, time.perf_counter() - began)

    def decode(
        self, output: Any, view: Any, estimate: Estimator, taken: float, image: Image
    ) -> list[Pose]:
        """As the estimator's; steps down where the rate is not held."""
        began = time.perf_counter()
        poses = estimate.decode(output, view, image)
        if estimate is self.estimate:
            self._count(max(taken, time.perf_counter() - began))
        return poses

    def _count(self, seconds: float) -> None:
        self._taken.append(seconds)
        median = sorted(self._taken)[len(self._taken) // 2]
        slow = len(self._taken) == _FRAMES and median > 1 / self.fps
        if slow and self.rung + 1 < len(self.rungs):
            self.rung += 1
            self._taken.clear()
            self.notify(
                f"a frame took {1000 * median:.0f} ms, more than --fps {self.fps:g} allows: now "
                f"{described(self.estimate)}"
            )


def _milliseconds(estimate: Estimator, image: Image) -> float:
    began = time.perf_counter()
    estimate(image)
    return 1000 * (time.perf_counter() - began)


def described(estimate: Estimator) -> str:
    """An estimator in a few words: its bundled name, if it has one, and the size of its input."""
    made = estimate.made_by or {"model": ""}
    name = DEFAULT if made["model"] is None else made["model"]
    return f"{f'the model {name}, ' if name else ''}input size {estimate.height}"
