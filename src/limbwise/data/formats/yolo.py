"""YOLO-pose: a folder with data.yaml, images/<split>/*.jpg and labels/<split>/*.txt.

A line of a .txt file is a person: class, box (middle, width, height) and the keypoints (x, y and v,
or x and y), all as fractions of the picture's sides
(docs.ultralytics.com/datasets/pose). It knows no crowds, and the names of the keypoints only since
data.yaml may have `kpt_names`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ...checks import is_whole, shown
from ...errors import BadInput
from ...skeleton import Skeleton
from ...sources.image import PICTURES
from .dataset import (
    NOT_LABELLED,
    Box,
    Dataset,
    Files,
    Keypoint,
    Person,
    Picture,
    by_stem,
    checked_name,
    known_limbs,
    known_names,
    number_of,
    read_text,
)
from .sizes import picture_size

SPLITS = ("train", "val", "test")
_DIGITS = 8  # a hundredth of a pixel of a side of 100 000 is 1e-7


def read(path: Path, images: Path | None = None, category: str | None = None) -> Dataset:
    """A YOLO-pose data set.

    Args:
        path: the folder, or its data.yaml.
        images: the folder that data.yaml's paths begin in; None: the one that data.yaml lies in.
        category: the name of the class, of several.

    Raises:
        BadInput: data.yaml has no `kpt_shape`, or a picture or a line cannot be read.
    """
    path = path / "data.yaml" if path.is_dir() else path
    about = _yaml(path)
    try:
        count, numbers = about["kpt_shape"]
        if not (is_whole(count, 1, 1000) and numbers in (2, 3)):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{path} has no kpt_shape such as [17, 3]: it is not of YOLO-pose") from None
    label, category = _class(about, category, path)
    names = _names(about, label, count)
    pictures = [
        _picture(place, name, split, (count, numbers, label))
        for split, place, name in _pictures(about, images or path.parent, path)
    ]
    if not pictures:
        raise BadInput(f"{path} names no pictures")
    return Dataset(names, tuple(pictures), known_limbs(names), category)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise BadInput("YOLO's data.yaml needs PyYAML: pip install 'limbwise[formats]'") from None
    try:
        about = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} is not YAML: {shown(reason, 200)}") from error
    if not isinstance(about, dict):
        raise BadInput(f"{path} is no data.yaml of YOLO: it has no names and values")
    return about


def _class(about: dict[str, Any], category: str | None, path: Path) -> tuple[int, str]:
    entries = about.get("names") or {0: "person"}
    classes = dict(enumerate(entries)) if isinstance(entries, list) else entries
    if not isinstance(classes, dict):
        raise BadInput(f"{path}: names is {shown(classes)}, no list of classes")
    category = category or ("person" if len(classes) > 1 else None)
    for label, name in classes.items():
        if isinstance(label, int) and category in (None, name, str(label)):
            return label, str(name)
    several = ", ".join(str(name) for name in list(classes.values())[:9])
    raise BadInput(f"{path} has the classes {several}: choose one with --category")


def _names(about: dict[str, Any], label: int, count: int) -> tuple[str, ...]:
    names = about.get("kpt_names")
    names = names.get(label) if isinstance(names, dict) else names
    good = isinstance(names, list) and len(names) == count == len({str(name) for name in names})
    return tuple(str(name) for name in names) if good and names else known_names(count)


def _pictures(about: dict[str, Any], base: Path, path: Path) -> Iterator[tuple[str, Path, str]]:
    """Split, file and name of each picture. A split is a folder, several, or a list of files; what
    two splits name, as where all is for training and YOLO needs a val, belongs to the first."""
    root = base / str(about.get("path") or ".")
    root = root if root.is_dir() else base  # `path` is written relative to where others keep data
    seen: set[Path] = set()
    for split in SPLITS:
        places = about.get(split)
        for place in places if isinstance(places, list) else [places] if places else []:
            folder = root / str(place)
            if folder in seen:
                continue
            seen.add(folder)
            if folder.is_dir():
                found = [
                    p for p in sorted(folder.rglob("*")) if p.suffix.lower() in PICTURES.split()
                ]
                yield from ((split, p, p.relative_to(folder).as_posix()) for p in found)
            elif folder.suffix == ".txt":
                lines = [line.strip() for line in read_text(folder).splitlines() if line.strip()]
                yield from (
                    (split, folder.parent / line, PurePosixPath(line).name) for line in lines
                )
            else:
                raise BadInput(f"{path}: {split} is {shown(str(place))}, and {folder} is not there")


def _picture(path: Path, name: str, split: str, what: tuple[int, int, int]) -> Picture:
    size = picture_size(path)
    labels = _labels_of(path)
    people = []
    for n, line in enumerate(read_text(labels).splitlines() if labels.is_file() else (), start=1):
        try:
            who = _person(line.split(), what, size)
        except ValueError as error:
            raise BadInput(f"{labels}, line {n}: {error}") from error
        people += [who] if who else []
    return Picture(name, *size, tuple(people), split)


def _labels_of(picture: Path) -> Path:
    """Where YOLO looks: the last folder called images becomes labels."""
    folder, sep, rest = picture.as_posix().rpartition("/images/")
    moved = f"{folder}/labels/{rest}" if sep else str(picture)
    return Path(moved).with_suffix(".txt")


def _person(words: list[str], what: tuple[int, int, int], size: tuple[int, int]) -> Person | None:
    count, numbers, label = what
    if not words:
        return None
    if len(words) != 5 + count * numbers:
        raise ValueError(f"{len(words)} numbers instead of {5 + count * numbers}")
    its, x, y, w, h, *rest = (number_of(word, "a value") for word in words)
    if its != label:
        return None
    width, height = size
    box: Box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
    keypoints: list[Keypoint] = []
    for k in range(0, len(rest), numbers):
        px, py = rest[k] * width, rest[k + 1] * height
        v = rest[k + 2] if numbers == 3 else 2.0 * (px > 0 or py > 0)
        if v not in (0, 1, 2):
            raise ValueError(f"v of a keypoint is {v:g} instead of 0, 1 or 2")
        keypoints.append((px, py, int(v)) if v else NOT_LABELLED)
    return Person(tuple(keypoints), box)


def write(dataset: Dataset) -> Files:
    """data.yaml and a .txt file a picture.

    Args:
        dataset: the labelled pictures; crowds are left out. Without splits all is `train`, and
            `val` is the same pictures, since YOLO needs both.

    Returns:
        Texts by the names of the files, for `save`.
    """
    named = tuple(replace(p, split=p.split or "train") for p in dataset.pictures)
    files = {"data.yaml": _about(dataset, named)}
    for name, picture in by_stem(named, ".txt").items():
        people = [who for who in picture.people if not who.crowd]
        lines = [_line(who, picture.width, picture.height) for who in people]
        files[f"labels/{name}"] = "".join(f"{line}\n" for line in lines)
    return files


def picture_place(picture: Picture) -> str:
    """Where a picture belongs in the folder."""
    return f"images/{picture.split or 'train'}/{checked_name(picture.name)}"


def _about(dataset: Dataset, pictures: tuple[Picture, ...]) -> str:
    splits = list(dict.fromkeys(picture.split for picture in pictures))
    train = _like(splits, "train") or splits[0]
    places = {"train": train, "val": _like(splits, "val") or train, "test": _like(splits, "test")}
    if odd := set(splits) - set(places.values()):
        raise BadInput(
            f"YOLO knows the splits train, val and test, not {', '.join(sorted(odd))}: "
            "choose one with --split, or rename"
        )
    mirror = Skeleton(dataset.names, (), (0.05,) * len(dataset.names)).mirror
    lines = [f"{split}: images/{place}" for split, place in places.items() if place is not None]
    lines += [f"kpt_shape: [{len(dataset.names)}, 3]", f"flip_idx: {list(mirror)}", "names:"]
    lines += [f"  0: {_quoted(dataset.category)}", "kpt_names:", "  0:"]
    return "\n".join([*lines, *(f"  - {_quoted(name)}" for name in dataset.names)]) + "\n"


def _like(splits: list[str], name: str) -> str | None:
    """The split that is called so, or like it, as person_keypoints_val2017 is."""
    alike = [s for s in splits if name in re.split(r"[^a-z]+", s.lower())]
    return name if name in splits else alike[0] if len(alike) == 1 else None


def _quoted(text: str) -> str:
    """A text as YAML and JSON both write it."""
    return json.dumps(text)


def _line(who: Person, width: int, height: int) -> str:
    left, top = max(who.box[0], 0.0), max(who.box[1], 0.0)
    right, bottom = min(who.box[0] + who.box[2], width), min(who.box[1] + who.box[3], height)
    box = ((left + right) / 2 / width, (top + bottom) / 2 / height,
           max(right - left, 0) / width, max(bottom - top, 0) / height)  # fmt: skip
    words = ["0", *map(_fraction, box)]
    for x, y, v in who.keypoints:
        inside = v and -1 <= x <= width + 1 and -1 <= y <= height + 1  # YOLO refuses others
        place = (min(max(x, 0), width) / width, min(max(y, 0), height) / height)
        words += [*map(_fraction, place), str(v)] if inside else ["0", "0", "0"]
    return " ".join(words)


def _fraction(value: float) -> str:
    return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".") or "0"
