"""COCO keypoint files, read once into a few arrays.

annotations.json -> Labels: whose keypoints are where, how sure, which regions nobody labelled.
What is wrong in the files is collected as faults; only what leaves nothing to train on raises.
"""

import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry import COCO_CORNER
from ..skeleton import BODY_25, MIDPOINTS, Skeleton
from .annotations import SURE, UNSURE, Fault, Floats, Ints, Labels, Piece

# Labels made by a network: their v=1 says "unsure", where COCO's own says "hidden, but here".
_MADE = ("teacher", "agree")
_STRIP = 16  # pixels: how fine the outline of a region is kept
Entry = dict[str, Any]
Paths = str | Path | Sequence[str | Path]


def read(
    annotations: Paths,
    images: Paths,
    skeleton: Skeleton | None = None,
    *,
    sigmas: str | Path | None = None,
    default_sigma: float = 0.05,
) -> Labels:
    """COCO keypoint files and where their pictures are: folders or .tar files, one for all or each.

    Without `skeleton` it is the first file's own (`skeleton_of`); with an empty one only the boxes
    of the people are read, whether or not there are keypoints. BadInput if a file is none, if
    it lacks a keypoint of `skeleton`, or if none of its pictures is found.
    """
    files, places = _paths(annotations), _paths(images)
    if not files or len(places) not in (1, len(files)):
        raise BadInput(f"{len(places)} picture folders for {len(files)} label files: 1, or 1 each")
    found = _Found()
    for number, file in enumerate(files):
        data = load_json(file)
        boxes_only = skeleton is not None and not skeleton.keypoints
        category = box_category(data) if boxes_only else keypoint_category(data, file)
        skeleton = skeleton or skeleton_of(category, file, sigmas, default_sigma)
        sources = _sources(category, skeleton, file)
        rows = _add_pictures(found, data["images"], file, places[number % len(places)])
        _add_annotations(found, data["annotations"], category, rows, sources)
    assert skeleton is not None
    return _labels(found, skeleton)


def keypoint_names(annotations: str | Path) -> tuple[str, ...]:
    """The keypoints that a COCO file labels, in its order; BadInput if it is none."""
    path = Path(annotations)
    return tuple(keypoint_category(load_json(path), path)["keypoints"])


def has_keypoints(annotations: str | Path) -> bool:
    """Whether a COCO file labels any; BadInput if it is none."""
    categories = load_json(Path(annotations))["categories"]
    return any(isinstance(category.get("keypoints"), list) for category in categories)


def box_category(data: Entry) -> Entry:
    """The category of people, else the first, as if it had no keypoints."""
    of_people = [each for each in data["categories"] if each.get("name") == "person"]
    chosen: Entry = (of_people or data["categories"] or [{}])[0]
    return {**chosen, "keypoints": []}


def _paths(paths: Paths) -> list[Path]:
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]


def load_json(path: Path) -> Entry:
    try:
        data: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not a JSON file: {error}") from error
    for part in ("images", "annotations", "categories"):
        entries = data.get(part) if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise BadInput(f"{path} is not a COCO keypoint file: no list '{part}' of objects")
    checked: Entry = data
    return checked


def keypoint_category(data: Entry, path: Path) -> Entry:
    """The first category with keypoints, the annotations of others are passed over; BadInput
    without one."""
    for category in data["categories"]:
        if isinstance(category.get("keypoints"), list):
            found: Entry = category
            return found
    raise BadInput(f"{path} has no category with 'keypoints'")


def skeleton_of(
    category: Entry, path: Path, sigmas: str | Path | None = None, default_sigma: float = 0.05
) -> Skeleton:
    """The skeleton of a category of the file `path`: its pairs count from 1; names that begin with
    left_ and right_ are twins.

    A sigma comes from the JSON file `sigmas`, {name: value}, else from COCO's keypoint of that
    name, else it is `default_sigma`. BadInput without limbs: nothing would hold a body together.
    """
    names, limbs = tuple(category["keypoints"]), category.get("skeleton") or []
    known = dict(zip(BODY_25.keypoints, BODY_25.sigmas, strict=True))
    try:
        pairs = tuple((names[a - 1], names[b - 1]) for a, b in limbs if min(a, b) > 0)
        if not len(pairs) == len(limbs) > 0:
            raise ValueError("'skeleton' needs pairs that count from 1")
        if sigmas:
            path = Path(sigmas)
            known |= {name: float(sigma) for name, sigma in json.loads(path.read_bytes()).items()}
        return Skeleton(names, pairs, tuple(known.get(name, default_sigma) for name in names))
    except (TypeError, ValueError, IndexError, AttributeError, OSError) as error:
        raise BadInput(f"{path} gives no skeleton: {error}") from error


def _sources(category: Entry, skeleton: Skeleton, path: Path) -> tuple[Ints, Ints]:
    """For each keypoint of `skeleton` the two of the file that it lies between, often the same."""
    place = {name: k for k, name in enumerate(category["keypoints"])}
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


def _add_pictures(
    found: _Found, images: list[Entry], file: Path, place: Path
) -> dict[Any, int | None]:
    """The rows of the pictures by their ids; None for those that cannot be used."""
    piece_of = _finder(place)
    rows: dict[Any, int | None] = {}
    for entry in images:
        name = entry.get("file_name")
        size: tuple[Any, Any] = entry.get("height"), entry.get("width")
        piece = piece_of(name) if isinstance(name, str) else None
        if "id" not in entry or not isinstance(name, str):
            problem = "a picture has no id or no file_name"
        elif entry["id"] in rows:
            problem = f"{name} has the id of another picture"
        elif not all(isinstance(side, int) and side > 0 for side in size):
            problem = f"{name} has no height or width"
        elif piece is None:
            problem = f"{name} is not in {place}"
        else:
            rows[entry["id"]] = len(found.ids)
            found.ids.append(entry["id"])
            found.files.append(piece)
            found.sizes.append(size)
            continue
        found.faults.append(Fault(entry.get("id"), None, problem))
        rows.setdefault(entry.get("id"), None)
    if not any(row is not None for row in rows.values()):
        raise BadInput(f"none of the {len(images)} pictures of {file} can be used from {place}")
    return rows


def _finder(place: Path) -> Callable[[str], Piece | None]:
    """From the name of a picture to where it is in a folder or .tar file, None if it is not."""
    if place.is_dir():
        return lambda name: Piece(place / name, name) if (place / name).is_file() else None
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


def _add_annotations(
    found: _Found,
    annotations: list[Entry],
    category: Entry,
    rows: dict[Any, int | None],
    sources: tuple[Ints, Ints],
) -> None:
    """People, and regions where there are people without keypoints."""
    seen: set[Any] = set()
    for entry in annotations:
        if entry.get("category_id", category.get("id")) != category.get("id"):
            continue
        faults: list[str] = []
        if entry.get("id") in seen:
            faults.append("has the id of another annotation")
        seen.add(entry.get("id"))
        if entry.get("image_id") not in rows:
            faults.append("belongs to no picture of the file")
        elif (row := rows[entry["image_id"]]) is not None:
            _add_annotation(found, entry, row, sources, len(category["keypoints"]), faults)
        found.faults += [Fault(entry.get("image_id"), entry.get("id"), text) for text in faults]


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
    area = entry.get("area")
    if not isinstance(area, int | float) or not 0 < area < np.inf:
        faults.append("has no area: that of its box counts")
        area = (box[2] - box[0]) * (box[3] - box[1])
    first, second = sources
    middle = (xy[first] + xy[second]) / 2
    surest = np.minimum(state[first], state[second])
    found.people.append((row, middle, surest, box, float(area)))


def _box(entry: Entry, faults: list[str]) -> Floats | None:
    """left, top, right, bottom; None if there is none."""
    try:
        left, top, width, height = (float(value) for value in entry["bbox"])
    except (KeyError, TypeError, ValueError):
        faults.append("has no bbox of four numbers")
        return None
    if not (np.isfinite([left, top, width, height]).all() and width > 0 and height > 0):
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
    """xy (count, 2) and state (count,), all ABSENT where they make no sense; `size` is (W, H)."""
    nobody = np.zeros((count, 2), np.float32), np.zeros(count)
    if not count:
        return nobody
    try:
        values = np.array(entry["keypoints"], np.float64)
    except (KeyError, TypeError, ValueError):
        if not entry.get("iscrowd"):
            faults.append("has no keypoints of numbers")
        return nobody
    if values.shape != (3 * count,):
        faults.append(f"has {values.size} numbers as keypoints instead of {3 * count}")
        return nobody
    xy, v = values.reshape(-1, 3)[:, :2], values[2::3]
    labelled = int((v > 0).sum())
    if entry.get("num_keypoints", labelled) != labelled:
        faults.append(f"has {labelled} keypoints but says {entry['num_keypoints']}")
    good = np.isfinite(xy).all(axis=1) & ((v == 0) | (v == 1) | (v == 2))
    inside = ((xy >= -1) & (xy <= np.add(size, 1))).all(axis=1)  # what rounding does is no fault
    if not good.all():
        faults.append(f"has {(~good).sum()} keypoints that are no numbers, or v other than 0, 1, 2")
    if (outside := good & (v > 0) & ~inside).any():
        faults.append(f"has {outside.sum()} keypoints outside the picture")
    state = np.where(v == 1, UNSURE if entry.get("labels") in _MADE else SURE, v)
    used = good & inside
    xy = np.where(used[:, None], xy - COCO_CORNER, 0)
    return xy.astype(np.float32), state * used


def _strips(
    entry: Entry, box: Floats, size: tuple[int, int], faults: list[str]
) -> Iterable[Floats]:
    """The box of a region as strips that follow its outline, where COCO gives one and it is large.

    Boxes are tested in a moment on any device and need no masks; a crowd's own box would take half
    a picture out of the training.
    """
    outline = entry.get("segmentation")
    if not outline or box[3] - box[1] < 2 * _STRIP:
        return [box]
    try:
        mask = _mask(outline, size)
    except (KeyError, TypeError, ValueError, cv2.error):
        faults.append("has a segmentation that cannot be read: its box counts")
        return [box]
    strips = []
    for top in range(0, size[0], _STRIP):
        columns = np.flatnonzero(mask[top : top + _STRIP].any(axis=0))
        if len(columns):
            bottom = min(top + _STRIP, size[0])
            strips.append(np.array([columns[0], top, columns[-1] + 1, bottom], np.float32))
    return [strip - 0.5 for strip in strips] or [box]


def _mask(outline: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) of COCO's polygons, or of its run lengths, which go down the columns."""
    if isinstance(outline, dict):
        runs = np.array(outline["counts"], np.int64)  # ValueError if they are compressed
        values = np.arange(len(runs)) % 2
        return np.repeat(values, runs).reshape(size[::-1]).T.astype(np.uint8)
    mask = np.zeros(size, np.uint8)
    polygons = [np.array(flat, np.float32).reshape(-1, 2) for flat in outline]
    cv2.fillPoly(mask, [np.rint(polygon - COCO_CORNER).astype(np.int32) for polygon in polygons], 1)
    return mask


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
