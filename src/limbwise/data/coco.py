"""COCO keypoint files as a few arrays.

CocoFile (coco_file.py) -> Labels: whose keypoints are where, how sure, which regions nobody
labelled. What is wrong in the files is collected as faults; only what leaves nothing to train on
raises.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import is_whole, number, read_json, shown
from ..errors import BadInput
from ..geometry import COCO_CORNER
from ..skeleton import BODY_25, MAX_SIGMA, MIDPOINTS, MIN_SIGMA, Skeleton
from ..sources.image import MAX_PIXELS
from .annotations import LABELLED, UNCERTAIN, Fault, Floats, Ints, Labels, Piece, finder
from .coco_file import (
    CocoFile,
    Entry,
    Labelled,
    area_of,
    box_of,
    is_id,
    keypoints_of,
    picture_fault,
    read_coco,
)
from .outlines import STRIP, strips

# Labels made by a network: their v=1 says "unsure", where COCO's own says "hidden, but here".
_MADE = ("teacher", "agree")
Files = Labelled | Sequence[Labelled]
Paths = str | Path | Sequence[str | Path]


def read(
    annotations: Files,
    images: Paths,
    skeleton: Skeleton | None = None,
    *,
    sigmas: str | Path | None = None,
    default_sigma: float = 0.05,
    category: str | int | None = None,
) -> Labels:
    """COCO keypoint files to labels.

    Args:
        annotations: one file or several, or such as are parsed.
        images: folders or .tar files with the pictures, one for all files or one for each.
        skeleton: of the labels; the first file's own (`skeleton_of`) if None. With an empty one
            only the boxes of the people are read, whether or not there are keypoints.
        sigmas: a JSON file, a keypoint's name to its OKS sigma.
        default_sigma: of keypoints that are neither there nor COCO's.
        category: as in `read_coco`.

    Raises:
        BadInput: a file is none or lacks a keypoint of `skeleton`, or none of its pictures is
            found.
    """
    files = [annotations] if isinstance(annotations, Labelled) else list(annotations)
    places = [Path(path) for path in ([images] if isinstance(images, str | Path) else images)]
    if not files or len(places) not in (1, len(files)):
        raise BadInput(f"{len(places)} picture folders for {len(files)} label files: 1, or 1 each")
    found = _Found()
    for n, each in enumerate(files):
        file = read_coco(each, category)
        skeleton = skeleton or skeleton_of(file, sigmas, default_sigma)
        names = file.keypoints if skeleton.keypoints else ()
        sources = _sources(names, skeleton, file.path)
        rows = _add_pictures(found, file, places[n % len(places)])
        _add_annotations(found, file, len(names), rows, sources)
    assert skeleton is not None
    return _labels(found, skeleton)


def skeleton_of(
    file: CocoFile, sigmas: str | Path | None = None, default_sigma: float = 0.05
) -> Skeleton:
    """The skeleton of a file's category: its pairs count from 1; names that begin with left_ and
    right_ are of the two sides.

    A sigma comes from the JSON file `sigmas`, {name: value}, else from COCO's keypoint of that
    name, else it is `default_sigma`. BadInput without limbs: nothing would hold a body together.
    """
    names, path = file.keypoints, file.path
    limbs = file.category.entry.get("skeleton") or []
    known = dict(zip(BODY_25.keypoints, BODY_25.sigmas, strict=True))
    try:
        pairs = tuple((names[a - 1], names[b - 1]) for a, b in limbs if min(a, b) > 0)
        if not len(pairs) == len(limbs) > 0:
            raise ValueError("'skeleton' needs pairs that count from 1")
        if sigmas:
            path = Path(sigmas)
            known |= {
                name: number(sigma, MIN_SIGMA, MAX_SIGMA, shown(name))
                for name, sigma in read_json(path).items()
            }
        return Skeleton(names, pairs, tuple(known.get(name, default_sigma) for name in names))
    except (TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path} gives no skeleton: {error}") from error


def _sources(names: Sequence[str], skeleton: Skeleton, path: Path) -> tuple[Ints, Ints]:
    """For each keypoint of `skeleton` the two of the file that it lies between, often the same."""
    place = {name: k for k, name in enumerate(names)}
    pairs = [
        (name, name) if name in place else MIDPOINTS.get(name, (name, name))
        for name in skeleton.keypoints
    ]
    if missing := sorted({name for pair in pairs for name in pair} - set(place)):
        raise BadInput(f"{path} does not label {', '.join(missing)}: choose another skeleton")
    both = np.array([(place[a], place[b]) for a, b in pairs], np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@dataclass(eq=False)
class _Found:
    """What was read so far; people and regions begin with the row of their picture."""

    ids: list[int] = field(default_factory=list)
    files: list[Piece] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    people: list[tuple[int, NDArray[Any], NDArray[Any], Floats, float]] = field(
        default_factory=list
    )
    regions: list[tuple[int, Floats]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def _add_pictures(found: _Found, file: CocoFile, place: Path) -> dict[int, int | None]:
    """The rows of the pictures by their ids; None for those that cannot be used."""
    piece_of = finder(place)
    rows: dict[int, int | None] = {}
    for entry in file.images:
        size: Any = entry.get("height"), entry.get("width")
        problem = picture_fault(entry, rows)
        if not problem and not _can_be_a_size(size):
            problem = f"{shown(entry['file_name'])} has no height or width of a picture"
        piece = None if problem else piece_of(entry["file_name"])
        if piece is None:
            problem = problem or f"{shown(entry['file_name'])} is not in {place}"
            its = entry["id"] if is_id(entry.get("id")) else None
            found.faults.append(Fault(its, None, problem))
            if its is not None:
                rows.setdefault(its, None)
            continue
        rows[entry["id"]] = len(found.ids)
        found.ids.append(entry["id"])
        found.files.append(piece)
        found.sizes.append(size)
    if not any(row is not None for row in rows.values()):
        count = len(file.images)
        raise BadInput(f"none of the {count} pictures of {file.path} can be used from {place}")
    return rows


def _can_be_a_size(size: tuple[Any, Any]) -> bool:
    whole = all(is_whole(side, 1, MAX_PIXELS) for side in size)
    return whole and bool(size[0] * size[1] <= MAX_PIXELS)


def _add_annotations(
    found: _Found,
    file: CocoFile,
    count: int,
    rows: dict[int, int | None],
    sources: tuple[Ints, Ints],
) -> None:
    """People, and regions where there are people without keypoints."""
    seen: set[int] = set()
    for entry in file.annotations:
        image, its = (e if is_id(e := entry.get(key)) else None for key in ("image_id", "id"))
        faults: list[str] = []
        if its is None:
            faults.append("has no id")
        elif its in seen:
            faults.append("has the id of another annotation")
        else:
            seen.add(its)
        if image is None or image not in rows:
            faults.append("belongs to no picture of the file")
        elif (row := rows[image]) is not None:
            _add_annotation(found, entry, row, sources, count, faults)
        found.faults += [Fault(image, its, text) for text in faults]


def _add_annotation(
    found: _Found,
    entry: Entry,
    row: int,
    sources: tuple[Ints, Ints],
    count: int,
    faults: list[str],
) -> None:
    height, width = found.sizes[row]
    box = _box(entry, faults)
    xy, state = _keypoints(entry, count, (width, height), faults)
    nowhere = box is None if not count else not state.any()
    if entry.get("iscrowd") or nowhere:
        if box is not None:
            found.regions += [
                (row, strip) for strip in _strips(entry, box, (height, width), faults)
            ]
        return
    if box is None:
        box = _round(xy[state > 0])
    area = area_of(entry)
    if not area:
        faults.append("has no area: that of its box counts")
        area = float((box[2] - box[0]) * (box[3] - box[1]))
    first, second = sources
    middle = (xy[first] + xy[second]) / 2
    surest = np.minimum(state[first], state[second])
    found.people.append((row, middle, surest, box, area))


def _box(entry: Entry, faults: list[str]) -> Floats | None:
    """left, top, right, bottom; None if there is none."""
    box = box_of(entry, faults)
    if box is None:
        return None
    left, top, width, height = box
    if not (width > 0 and height > 0):
        faults.append("has a bbox without area")
        return None
    return np.array([left, top, left + width, top + height], np.float32) - COCO_CORNER


def _round(xy: NDArray[Any]) -> Floats:
    """A person's box, as far as it is known from the keypoints: wider by a quarter."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    margin = (high - low) / 8
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def _keypoints(
    entry: Entry, count: int, size: tuple[int, int], faults: list[str]
) -> tuple[Floats, NDArray[Any]]:
    """xy (count, 2) and state (count,), UNLABELLED if they make no sense; `size` is (W, H)."""
    before = len(faults)
    values, labelled = keypoints_of(entry, count, faults)
    stated, known = entry.get("num_keypoints"), np.count_nonzero(labelled)
    if count and stated not in (None, known) and len(faults) == before:
        faults.append(f"has {known} keypoints but says {shown(stated)}")
    if not known:
        return np.zeros((count, 2), np.float32), values[:, 2]
    xy, v = values[:, :2], values[:, 2]
    width, height = size
    inside = ((xy >= -1) & (xy <= (width + 1, height + 1))).all(
        axis=1
    )  # what rounding does is no fault
    if outside := np.count_nonzero(labelled & ~inside):
        faults.append(f"has {outside} keypoints outside the picture")
    state = np.where(v == 1, UNCERTAIN if entry.get("labels") in _MADE else LABELLED, v)
    xy = np.where(inside.reshape(-1, 1), xy - COCO_CORNER, 0)
    return xy.astype(np.float32), state * inside


def _strips(
    entry: Entry, box: Floats, size: tuple[int, int], faults: list[str]
) -> Iterable[Floats]:
    """The box of a region, or strips that follow its outline where COCO gives one and it is
    large."""
    outline = entry.get("segmentation")
    if not outline or box[3] - box[1] < 2 * STRIP:
        return [box]
    try:
        return strips(outline, size) or [box]
    except (TypeError, ValueError, OverflowError):
        faults.append("has a segmentation that cannot be read: its box counts")
        return [box]


def _labels(found: _Found, skeleton: Skeleton) -> Labels:
    people = sorted(found.people, key=lambda person: person[0])
    regions = sorted(found.regions, key=lambda region: region[0])
    count, k = len(people), len(skeleton.keypoints)
    return Labels(
        skeleton,
        tuple(found.ids),
        tuple(found.files),
        np.array(found.sizes, np.int64),
        np.array([xy for _, xy, _, _, _ in people], np.float32).reshape(count, k, 2),
        np.array([state for _, _, state, _, _ in people], np.int8).reshape(count, k),
        np.array([box for _, _, _, box, _ in people], np.float32).reshape(count, 4),
        np.array([area for _, _, _, _, area in people], np.float32),
        _begin([row for row, *_ in people], len(found.ids)),
        np.array([box for _, box in regions], np.float32).reshape(len(regions), 4),
        _begin([row for row, _ in regions], len(found.ids)),
        tuple(found.faults),
    )


def _begin(rows: list[int], count: int) -> Ints:
    """Where each picture's rows begin, (N + 1,), from the sorted pictures of the rows."""
    return np.append(0, np.bincount(np.array(rows, np.int64), minlength=count).cumsum())
