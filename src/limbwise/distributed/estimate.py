"""`--dry-run`: how long a run will take, and what it will cost, from a sample that is measured."""

import random
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from ..errors import BadInput
from ..sources.video import film_length
from . import places
from .job import Job
from .sources import Item
from .work import Worker, shots

PICTURES, FILMS, FRAMES = 24, 4, 24  # that are measured


@dataclass(frozen=True)
class Estimate:
    """frames of all sources, seconds of one core for all, and how many of the sample were broken
    of how many."""

    pictures: int
    films: int
    frames: float
    seconds: float
    broken: int
    tried: int


def estimate(job: Job, items: Sequence[Item], seed: int = 0) -> Estimate:
    """Measures some pictures and the beginnings of some films with one thread."""
    draw = random.Random(seed)
    pictures = [item for item in items if item.kind != "film"]
    films = [item for item in items if item.kind == "film"]
    work = Worker(job)
    some = draw.sample(pictures, min(PICTURES, len(pictures)))
    its = [_seconds(work, item, None) for item in some]
    few = draw.sample(films, min(FILMS, len(films)))
    theirs = [_seconds(work, item, FRAMES) for item in few]
    a_picture = _mean([seconds / frames for seconds, frames in its if frames])
    a_frame = _mean([seconds / frames for seconds, frames in theirs if frames])
    lengths = [_length(item) for item in few]
    frames = _mean(lengths) * len(films)
    broken = sum(not count for _, count in its + theirs)
    seconds = a_picture * len(pictures) + a_frame * frames
    names = {item.name for item in films}
    return Estimate(
        len(pictures), len(names), len(pictures) + frames, seconds, broken, len(some) + len(few)
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _seconds(work: Worker, item: Item, max_frames: int | None) -> tuple[float, int]:
    """What the first `max_frames` frames take, reading included; the first warms up."""
    warm = next(iter(_images(item, 1)), None)
    if warm is None:
        return 0.0, 0
    work.estimate(warm)
    began = time.perf_counter()
    images = _images(item, max_frames)
    for image in images:
        work.estimate(image)
    return time.perf_counter() - began, len(images)


def _images(item: Item, max_frames: int | None) -> list:  # type: ignore[type-arg]
    try:
        with closing(shots(item, lambda bad: None)) as its:
            return [image for image, _ in islice(its, max_frames)]
    except BadInput:
        return []


def _length(item: Item) -> float:
    """Frames of a film, or of its piece."""
    try:
        with places.reading(item.source) as file:
            count = film_length(file) or 0
    except (BadInput, OSError):
        return 0.0
    return float(count)
