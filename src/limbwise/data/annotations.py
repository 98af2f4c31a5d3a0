"""What is labelled in which picture: a few arrays for a whole data set."""

import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..skeleton import Skeleton

# What a label says of a keypoint, in the order of COCO's visibility: of a hidden one that a person
# labelled it is LABELLED, too; UNCERTAIN are those that a program labelled without being sure.
UNLABELLED, UNCERTAIN, LABELLED = 0, 1, 2

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Fault(NamedTuple):
    """What is wrong with a picture or with one of its annotations."""

    image_id: int | None
    annotation_id: int | None
    text: str


class Piece(NamedTuple):
    """A file, or the `size` bytes of one from `start` on."""

    path: Path
    name: str
    start: int = 0
    size: int = -1

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


def finder(place: Path) -> Callable[[str], Piece | None]:
    """From the name of a picture to where it is in a folder or .tar file, None if it is not."""
    if place.is_dir():
        return lambda name: Piece(place / name, name) if os.path.isfile(place / name) else None  # noqa: PTH113 - it takes any name
    try:
        with tarfile.open(place, "r:") as tar:
            members = [member for member in tar if member.isfile()]
    except (OSError, tarfile.TarError) as error:
        raise BadInput(f"{place} is no folder and no uncompressed .tar file: {error}") from error
    pieces: dict[str, Piece] = {}
    for member in members:
        name = member.name.removeprefix("./")
        pieces[name] = Piece(place, name, member.offset_data, member.size)
        pieces.setdefault(Path(name).name, pieces[name])  # images/1.jpg is found as 1.jpg
    return pieces.get


@dataclass(frozen=True, eq=False)
class Labels:
    """N pictures with P people and R regions, in pixels as limbwise counts them (geometry.py).

    sizes (N, 2) height and width; keypoints (P, K, 2), state (P, K) UNLABELLED, UNCERTAIN or
    LABELLED; boxes (P, 4) left top right bottom, areas (P,); regions (R, 4), boxes of people
    without keypoints. The people of picture n are rows people_from[n] to
    people_from[n + 1], its regions likewise.
    """

    skeleton: Skeleton
    ids: tuple[int, ...]
    files: tuple[Piece, ...]
    sizes: Ints
    keypoints: Floats
    state: NDArray[np.int8]
    boxes: Floats
    areas: Floats
    people_from: Ints
    regions: Floats
    regions_from: Ints
    faults: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def people(self, n: int) -> slice:
        """The rows of the people of picture n."""
        return slice(int(self.people_from[n]), int(self.people_from[n + 1]))

    def subset(self, pictures: Sequence[int] | NDArray[Any]) -> "Labels":
        """These pictures only, in this order."""
        chosen = np.asarray(pictures, np.int64)
        people, people_from = _rows(self.people_from, chosen)
        regions, regions_from = _rows(self.regions_from, chosen)
        of_people = ("keypoints", "state", "boxes", "areas")
        return replace(
            self,
            ids=tuple(self.ids[n] for n in chosen),
            files=tuple(self.files[n] for n in chosen),
            sizes=self.sizes[chosen],
            people_from=people_from,
            regions=self.regions[regions],
            regions_from=regions_from,
            **{name: getattr(self, name)[people] for name in of_people},
        )


def _rows(begin: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """The rows of the chosen pictures, and where each picture's begin among them."""
    counts = begin[chosen + 1] - begin[chosen]
    after = np.append(0, counts.cumsum())
    return np.arange(after[-1]) + np.repeat(begin[chosen] - after[:-1], counts), after
