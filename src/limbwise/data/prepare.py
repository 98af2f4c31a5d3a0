"""Smaller label files from large ones: what training reads, and a few pictures to validate on."""

from pathlib import Path
from random import Random
from typing import Any

from ..atomic import write_json
from ..errors import BadInput
from .coco import keypoint_category, load_json

_PICTURE = ("id", "file_name", "width", "height")
_PERSON = ("id", "image_id", "category_id", "iscrowd", "num_keypoints", "keypoints", "bbox", "area")


def prepare(labels: str | Path, out: str | Path) -> tuple[int, int]:
    """Writes only what training uses, of pictures with somebody's keypoints; how many pictures and
    people that are. BadInput if `labels` is no COCO keypoint file or nobody is labelled in it."""
    data = load_json(Path(labels))
    category = keypoint_category(data, Path(labels))
    people = [entry for entry in data["annotations"] if _is(entry, category)]
    seen = {entry.get("image_id") for entry in people if _has_keypoints(entry)}
    if not seen:
        raise BadInput(f"nobody in {labels} has keypoints")
    pictures = [_only(entry, _PICTURE) for entry in data["images"] if entry.get("id") in seen]
    kept = [_slim(entry) for entry in people if entry.get("image_id") in seen]
    write_json(Path(out), {"images": pictures, "annotations": kept, "categories": [category]})
    return len(pictures), sum(map(_has_keypoints, kept))


def subset(labels: str | Path, out: str | Path, count: int = 250, seed: int = 0) -> int:
    """Writes the labels of `count` random pictures with people (fewer if there are fewer), whole;
    how many they are. BadInput as `prepare`."""
    data = load_json(Path(labels))
    category = keypoint_category(data, Path(labels))
    seen = {entry.get("image_id") for entry in data["annotations"] if _is(entry, category)}
    pictures = [entry for entry in data["images"] if entry.get("id") in seen]
    if not pictures:
        raise BadInput(f"nobody is labelled in {labels}")
    chosen = Random(seed).sample(pictures, min(count, len(pictures)))
    ids = {entry["id"] for entry in chosen}
    kept = [entry for entry in data["annotations"] if entry.get("image_id") in ids]
    write_json(Path(out), {**data, "images": chosen, "annotations": kept})
    return len(chosen)


def _is(entry: dict[str, Any], category: dict[str, Any]) -> bool:
    return bool(entry.get("category_id", category.get("id")) == category.get("id"))


def _has_keypoints(entry: dict[str, Any]) -> bool:
    return any((entry.get("keypoints") or [])[2::3])


def _only(entry: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: entry[name] for name in names if name in entry}


def _slim(entry: dict[str, Any]) -> dict[str, Any]:
    """Outlines only of those without keypoints: their region is masked by it."""
    region = entry.get("iscrowd") or not _has_keypoints(entry)
    return _only(entry, _PERSON + (("segmentation",) if region else ()) + ("labels",))
