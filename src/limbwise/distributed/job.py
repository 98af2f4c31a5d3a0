"""What all workers of a run do alike: the models and options, settled once, before anybody begins.

"fast" is what is quickest on the machine that asks; workers on other machines must not decide for
themselves, or the same picture would give other numbers there. So a job names files and precisions.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..backends import openvino
from ..estimator import MIN_SCORE, Estimator
from ..loading import checked, stages, way
from ..models.catalogue import named, own_height
from ..places import with_weights
from ..skeleton import BODY, COCO, Skeleton


@dataclass(frozen=True)
class Job:
    """The stages with their files and precisions, and the options of `Estimator`."""

    stages: tuple[tuple[Path, str], ...]
    model: str
    version: str
    height: int | None = None
    min_score: float = MIN_SCORE
    max_people: int | None = None
    smooth: bool = True

    def estimator(self, threads: int = 1) -> Estimator:
        """Loads it; what it finds in a picture does not depend on the pictures before."""
        loaded = [openvino.load(path, how, threads) for path, how in self.stages]
        return Estimator(
            loaded[0], person=loaded[1] if len(loaded) > 1 else None, height=self.height,
            min_score=self.min_score, max_people=self.max_people,
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """What makes the numbers, in JSON types: another run must have the same to go on."""
        its = asdict(self)
        return its | {"stages": [[path.name, how] for path, how in self.stages]}


def settled(
    model: str | Path | None = None,
    *,
    person: str | Path | bool | None = None,
    precision: str = "fast",
    height: int | None = None,
    min_score: float = MIN_SCORE,
    max_people: int | None = None,
    smooth: bool = True,
) -> Job:
    """The job that these arguments, those of `limbwise.load`, mean on this machine; BadInput if
    a file is missing or the two networks do not fit together."""
    parts = [stage for stage in stages(model, person) if stage is not None]
    ways = tuple((checked(path), how) for path, how in (way(s, precision, 1) for s in parts))
    bundled = named(model if model or person is not False else "one-stage")
    digest = hashlib.sha256()
    for path, _ in ways:
        for file in with_weights(path):
            digest.update(file.read_bytes())
    name = bundled.name if bundled else Path(str(model)).stem
    version = f"{__version__}-{digest.hexdigest()[:12]}"
    height = height or own_height(model)
    return Job(ways, name, version, height, min_score, max_people, smooth)


def skeleton_of(estimate: Estimator) -> Skeleton:
    """The skeleton of the people that an estimator finds."""
    person = estimate.person
    if person is None or person.description.prior:
        return estimate.runtime.description.skeleton
    its = person.description.skeleton
    return BODY if its.keypoints == COCO.keypoints else its
