"""Smaller label files from large ones: what training reads, and a few pictures to validate on."""

from pathlib import Path
from random import Random

from ..atomic import write_json
from ..errors import BadInput
from .coco_file import CocoFile, Entry, Labelled, is_id, keypoints_of, read_coco

_PICTURE = ("id", "file_name", "width", "height")
_PERSON = ("id", "image_id", "category_id", "iscrowd", "num_keypoints", "keypoints", "bbox", "area")


def prepare(
    labels: Labelled, out: str | Path, category: str | int | None = None
) -> tuple[int, int]:
    """Writes only what training uses, of pictures with somebody's keypoints; how many pictures and
    people that are. BadInput if `labels` is no COCO keypoint file or nobody is labelled in it."""
    file = read_coco(labels, category)
    count = len(file.keypoints)
    seen = {entry["image_id"] for entry in _people(file) if _has_keypoints(entry, count)}
    if not seen:
        raise BadInput(f"nobody in {file.path} has keypoints")
    pictures = [_only(e, _PICTURE) for e in file.images if is_id(e.get("id")) and e["id"] in seen]
    kept = [_slim(entry, count) for entry in _people(file) if entry["image_id"] in seen]
    categories = [file.category.entry]
    write_json(Path(out), {"images": pictures, "annotations": kept, "categories": categories})
    return len(pictures), sum(_has_keypoints(entry, count) for entry in kept)


def subset(
    labels: Labelled,
    out: str | Path,
    count: int = 250,
    seed: int = 0,
    category: str | int | None = None,
) -> int:
    """Writes the labels of `count` random pictures with people (fewer if there are fewer), whole;
    how many they are. BadInput as `prepare`."""
    file = read_coco(labels, category)
    seen = {entry["image_id"] for entry in _people(file)} if file.keypoints else set()
    pictures = [entry for entry in file.images if is_id(entry.get("id")) and entry["id"] in seen]
    if not pictures or count < 1:
        raise BadInput(f"nobody is labelled in {count} pictures of {file.path}")
    chosen = Random(seed).sample(pictures, min(count, len(pictures)))
    ids = {entry["id"] for entry in chosen}
    entries = file.content["annotations"]
    kept = [e for e in entries if is_id(e.get("image_id")) and e["image_id"] in ids]
    write_json(Path(out), file.having(chosen, kept).content)
    return len(chosen)


def _people(file: CocoFile) -> list[Entry]:
    """Those who are in some picture."""
    return [entry for entry in file.annotations if is_id(entry.get("image_id"))]


def _has_keypoints(entry: Entry, count: int) -> bool:
    return bool(keypoints_of(entry, count, [])[1].any())


def _only(entry: Entry, names: tuple[str, ...]) -> Entry:
    return {name: entry[name] for name in names if name in entry}


def _slim(entry: Entry, count: int) -> Entry:
    """Outlines only of those without keypoints: their region is masked by it."""
    region = entry.get("iscrowd") or not _has_keypoints(entry, count)
    return _only(entry, _PERSON + (("segmentation",) if region else ()) + ("labels",))
