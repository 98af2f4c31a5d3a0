"""Label Studio's JSON: a list of tasks, each a picture with the regions that somebody or a model
drew on it (labelstud.io/guide/task_format).

A person is a rectangle, a keypoint a region whose parent is the rectangle; places are percents of
the picture. Label Studio has no word for a hidden keypoint: it is a choice `hidden` of the region.
Which labels there are, and in which order, says the labelling interface: XML that is written beside
the tasks (tasks.json, tasks.xml), to be pasted into the project's settings, and read from there.
"""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ...checks import is_whole, read_json, shown
from ...errors import BadInput
from ...skeleton import COCO
from ...sources.image import MAX_PIXELS, PICTURES
from .dataset import (
    NOT_LABELLED,
    Box,
    Dataset,
    Files,
    Keypoint,
    Person,
    Picture,
    checked_name,
    known_limbs,
    number_of,
    person_of,
    read_text,
)

CROWD, HIDDEN = "crowd", "hidden"
BOX, KEYPOINT, VISIBILITY, IMAGE = (
    "box",
    "keypoint",
    "visibility",
    "image",
)  # names in the interface
LOCAL = "/data/local-files/?d="  # how Label Studio calls files of its local storage
_POINT = 0.5  # percent of the picture's width: how large a keypoint is drawn

Entry = dict[str, Any]


def read(path: Path, images: Path | None = None, category: str | None = None) -> Dataset:
    """Tasks as Label Studio exports them ("JSON"), or as they are written here.

    Annotations count, where there are none the first prediction. A keypoint belongs to the
    rectangle that is its parent, else to the smallest one round it.

    Args:
        path: the .json file; an .xml file of the same name is its labelling interface.
        images: not needed: regions know the size of their picture.
        category: the label of the rectangles, of several.

    Raises:
        BadInput: it is no such file, or a region cannot be used.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(
        isinstance(t, dict) and isinstance(t.get("data"), dict) for t in tasks
    ):
        raise BadInput(f"{path} is no list of Label Studio's tasks: export the project as JSON")
    results = [_result(task) for task in tasks]
    interface = path.with_suffix(".xml")
    try:
        names, category = (
            _from_interface(interface, category)
            if interface.is_file()
            else _from_tasks(results, category)
        )
        pictures = tuple(
            _picture(task, result, names, category)
            for task, result in zip(tasks, results, strict=True)
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise error if isinstance(error, BadInput) else BadInput(f"{path}: {error}") from error
    return Dataset(names, pictures, known_limbs(names), category)


def _result(task: Entry) -> list[Entry]:
    done = [a for a in _entries(task.get("annotations")) if not a.get("was_cancelled")]
    chosen = (done or _entries(task.get("predictions")) or [{}])[0]
    return _entries(chosen.get("result"))


def _entries(value: Any) -> list[Entry]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _from_interface(path: Path, category: str | None) -> tuple[tuple[str, ...], str]:
    try:
        root = ET.fromstring(read_text(path))
    except (ET.ParseError, RecursionError) as error:
        raise BadInput(f"{path} is not XML: {error}") from error
    labels = [
        [label.get("value", "") for tag in root.iter(kind) for label in tag.iter("Label")]
        for kind in ("KeyPointLabels", "RectangleLabels")
    ]
    if not labels[0]:
        raise BadInput(f"{path} has no KeyPointLabels: it is no labelling interface of keypoints")
    return tuple(labels[0]), _category(labels[1], category)


def _from_tasks(results: list[list[Entry]], category: str | None) -> tuple[tuple[str, ...], str]:
    """COCO's names where all are of them, else those that occur, in the order of the alphabet."""
    found = {kind: set[str]() for kind in ("keypointlabels", "rectanglelabels")}
    for region in (region for result in results for region in result):
        for kind, labels in found.items():
            labels |= {_label(region, kind)} - {""}
    names = found["keypointlabels"]
    if not names:
        raise ValueError("nobody has labelled a keypoint")
    known = COCO.keypoints if names <= set(COCO.keypoints) else tuple(sorted(names))
    return known, _category(sorted(found["rectanglelabels"]), category)


def _category(labels: Sequence[str], category: str | None) -> str:
    able = [label for label in labels if label != CROWD]
    if category is None and len(able) > 1:
        able = [label for label in able if label == "person"]
    if category is not None:
        able = [category]
    if len(able) > 1 or (labels and not able and set(labels) != {CROWD}):
        raise ValueError(f"the rectangles are {', '.join(labels)}: choose one with --category")
    return able[0] if able else "person"


def _label(region: Entry, kind: str) -> str:
    value = region.get("value")
    labels = value.get(kind) if isinstance(value, dict) else None
    return str(labels[0]) if isinstance(labels, list) and labels else ""


def _picture(task: Entry, result: list[Entry], names: tuple[str, ...], category: str) -> Picture:
    name, data = _name(_url(task["data"])), task["data"]
    sizes = [(r.get("original_width"), r.get("original_height")) for r in result]
    sizes.append((data.get("width"), data.get("height")))
    width, height = next((s for s in sizes if all(s)), (None, None))
    if not (is_whole(width, 1, MAX_PIXELS) and is_whole(height, 1, MAX_PIXELS)):
        raise ValueError(f"nothing tells the size of {shown(name)}: no region has original_width")
    size = int(width or 0), int(height or 0)
    people = tuple(_people(result, names, category, size, name))
    return Picture(name, *size, people, str(data.get("split") or ""))


def _url(data: Entry) -> Any:
    """What a task calls its picture, under whichever key its project has."""
    texts = [value for value in data.values() if isinstance(value, str)]
    pictures = (t for t in texts if PurePosixPath(t).suffix.lower() in PICTURES.split())
    return data.get(IMAGE) or next(pictures, None)


def _name(url: Any) -> str:
    """A picture's name: of local files all, of other URLs the last part without what Label Studio
    puts before the names of what is uploaded."""
    parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    if local := parse_qs(parts.query).get("d"):
        return checked_name(local[0].lstrip("/"))
    last = PurePosixPath(unquote(parts.path)).name
    return checked_name(re.sub(r"^[0-9a-f]{8}-", "", last) if "/upload/" in parts.path else last)


def _people(
    result: list[Entry], names: tuple[str, ...], category: str, size: tuple[int, int], name: str
) -> Iterator[Person]:
    boxes: dict[str, tuple[str, Box]] = {}
    for region in result:
        if (label := _label(region, "rectanglelabels")) in (category, CROWD):
            boxes[str(region.get("id"))] = label, _box(region, size)
    hidden = {str(r.get("id")) for r in result if _label(r, "choices") == HIDDEN}
    found: dict[str, list[Keypoint]] = {its: [NOT_LABELLED] * len(names) for its in boxes}
    people = {its: box for its, (label, box) in boxes.items() if label == category}
    for region in result:
        if (label := _label(region, "keypointlabels")) not in names:
            continue
        x, y = _place(region, "x", size[0]), _place(region, "y", size[1])
        parent = str(region.get("parentID"))
        whose = parent if parent in boxes else _smallest_round(x, y, people)
        keypoints = found.setdefault(whose, [NOT_LABELLED] * len(names))
        k = names.index(label)
        if keypoints[k] != NOT_LABELLED:
            raise ValueError(f"{shown(name)} has two {label} of one person: draw a box round each")
        keypoints[k] = (x, y, 1 if str(region.get("id")) in hidden else 2)
    for its, keypoints in found.items():
        label, box = boxes.get(its, (category, None))
        if who := person_of(keypoints, box, size, crowd=label == CROWD):
            yield who


def _smallest_round(x: float, y: float, boxes: Mapping[str, Box]) -> str:
    inside = [
        (w * h, its)
        for its, (left, top, w, h) in boxes.items()
        if left <= x <= left + w and top <= y <= top + h
    ]
    return min(inside)[1] if inside else ""


def _place(region: Entry, side: str, pixels: int) -> float:
    return number_of(region["value"].get(side), side) / 100 * pixels


def _box(region: Entry, size: tuple[int, int]) -> Box:
    (width, height) = size
    left, top = _place(region, "x", width), _place(region, "y", height)
    return left, top, _place(region, "width", width), _place(region, "height", height)


def write(dataset: Dataset) -> Files:
    """The tasks and, beside them, the labelling interface.

    Args:
        dataset: the labelled pictures.

    Returns:
        Texts by the names of the files, for `save`.
    """
    tasks = []
    for picture in dataset.pictures:
        size = picture.width, picture.height
        data = image_data(picture.name, size) | ({"split": picture.split} if picture.split else {})
        regions = [
            region
            for n, who in enumerate(picture.people)
            for region in person_regions(
                f"p{n}", who, dataset.names, size, CROWD if who.crowd else dataset.category
            )
        ]
        tasks.append({"data": data, "annotations": [{"result": regions}]})
    text = json.dumps(tasks, allow_nan=False)
    return {"": text, ".xml": labelling_interface(dataset.names, dataset.category)}


def image_data(name: str, size: tuple[int, int]) -> Entry:
    """What a task says of its picture: where Label Studio's local storage has it, and its size."""
    return {IMAGE: LOCAL + quote(name), "width": size[0], "height": size[1]}


def person_regions(
    its: str,
    who: Person,
    names: Sequence[str],
    size: tuple[int, int],
    label: str,
    scores: Sequence[float] = (),
) -> list[Entry]:
    """A person as regions: the rectangle, called `its`, and what is labelled of the keypoints;
    `scores`, of a model, are of the rectangle and of each keypoint."""
    width, height = size
    left, top, w, h = who.box
    box = {"x": left / width, "y": top / height, "width": w / width, "height": h / height}
    values: Entry = {key: 100 * value for key, value in box.items()}
    about = {
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    rectangle = {"id": its, "type": "rectanglelabels", "from_name": BOX} | about
    regions = [rectangle | {"value": values | {"rotation": 0, "rectanglelabels": [label]}}]
    for k, (x, y, v) in enumerate(who.keypoints):
        if not v:
            continue
        place = {"x": 100 * x / width, "y": 100 * y / height, "width": _POINT}
        part = about | {
            "id": f"{its}k{k}",
            "parentID": its,
            "score": scores[k + 1] if scores else None,
        }
        part = {key: value for key, value in part.items() if value is not None}
        shape = {"type": "keypointlabels", "from_name": KEYPOINT}
        regions.append(part | shape | {"value": place | {"keypointlabels": [names[k]]}})
        if v == 1:
            shape = {"type": "choices", "from_name": VISIBILITY}
            regions.append(part | shape | {"value": place | {"choices": [HIDDEN]}})
    if scores:
        regions[0]["score"] = scores[0]
    return regions


def labelling_interface(names: Sequence[str], category: str = "person") -> str:
    """What to paste into the project's settings, Labeling Interface, Code.

    Args:
        names: of the keypoints.
        category: what the rectangle round each is called.

    Returns:
        XML (labelstud.io/tags).
    """
    view = ET.Element("View")
    ET.SubElement(view, "Image", {"name": IMAGE, "value": f"${IMAGE}", "zoom": "true"})
    boxes = ET.SubElement(view, "RectangleLabels", {"name": BOX, "toName": IMAGE})
    for value in (category, CROWD):
        ET.SubElement(boxes, "Label", {"value": value})
    points = ET.SubElement(view, "KeyPointLabels", {"name": KEYPOINT, "toName": IMAGE})
    for k, value in enumerate(names):  # model_index: the order in Label Studio's own exports
        colour = {"left": "#ff8c00", "right": "#1e90ff"}.get(value.partition("_")[0], "#2e8b57")
        about = {"value": value, "background": colour, "model_index": str(k)}
        ET.SubElement(points, "Label", about)
    about = {"name": VISIBILITY, "toName": IMAGE, "perRegion": "true", "whenTagName": KEYPOINT}
    ET.SubElement(ET.SubElement(view, "Choices", about), "Choice", {"value": HIDDEN})
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"
