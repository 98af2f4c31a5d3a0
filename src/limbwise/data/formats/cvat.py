"""CVAT for images 1.1: an XML file, an <image> for each picture and a <skeleton> for each person
(docs.cvat.ai/docs/dataset_management/formats/format-cvat).

A keypoint is a <points>: outside="1" says not labelled, occluded="1" hidden. A skeleton has no box
in CVAT; the box of a person is a <box> of the label `<category>_box` in the same group, a crowd is
a <box> of the label `crowd`. The limbs are lines of the label's drawing (svg).
"""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from ...checks import shown
from ...errors import BadInput
from .dataset import (
    NOT_LABELLED,
    Box,
    Dataset,
    Files,
    Keypoint,
    Limbs,
    Person,
    Picture,
    checked_name,
    known_limbs,
    number_of,
    person_of,
    read_text,
)

CROWD = "crowd"
_BOX = "_box"
_NO_SPLIT = "default"  # as CVAT calls it
_EXTENT = 100  # of the drawing of a skeleton


def read(path: Path, images: Path | None = None, category: str | None = None) -> Dataset:
    """A file that CVAT exported as "CVAT for images 1.1".

    Args:
        path: the .xml file.
        images: not needed: the file knows the sizes of its pictures.
        category: the name of the skeleton, of several.

    Raises:
        BadInput: it is no such file, or has no skeleton.
    """
    root = _parsed(path)
    try:
        name, names, limbs = _labels(root, category)
        pictures = tuple(_picture(entry, name, names) for entry in root.iter("image"))
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from error
    if not pictures:
        raise BadInput(f"{path} names no pictures")
    return Dataset(names, pictures, limbs, name)


def _parsed(path: Path) -> ET.Element:
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # which may grow without end
        raise BadInput(f"{path} declares XML entities, which CVAT's files do not")
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not XML: {error}") from error
    if root.tag != "annotations" or root.find("track") is not None:
        raise BadInput(f"{path} is not CVAT's: export the task as 'CVAT for images 1.1'")
    return root


def _labels(root: ET.Element, category: str | None) -> tuple[str, tuple[str, ...], Limbs]:
    """The skeleton's name, its keypoints in the order of the labels, its limbs."""
    labels = list(root.iterfind("meta//labels/label"))
    known = [label for label in labels if label.findtext("type") == "skeleton"]
    skeletons = [_name(label) for label in known]
    if not known:  # as where only the annotations are kept
        skeletons = list(dict.fromkeys(s.get("label", "") for s in root.iter("skeleton")))
    chosen = [name for name in skeletons if category in (None, name)]
    if len(chosen) > 1 and "person" in chosen:
        chosen = ["person"]
    if len(chosen) != 1:
        there = ", ".join(shown(name) for name in skeletons[:9]) or "none"
        raise ValueError(f"it has the skeletons {there}: one is needed; choose with --category")
    name = chosen[0]
    names = [_name(label) for label in labels if label.findtext("parent") == name]
    if not names:
        parts = (p for s in root.iter("skeleton") if s.get("label") == name for p in s)
        names = list(dict.fromkeys(part.get("label", "") for part in parts if part.tag == "points"))
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"the keypoints of {shown(name)} are not different names")
    drawing = next((label.findtext("svg") or "" for label in known if _name(label) == name), "")
    return name, tuple(names), _limbs(drawing, names) or known_limbs(names)


def _name(label: ET.Element) -> str:
    return label.findtext("name") or ""


def _limbs(drawing: str, names: list[str]) -> Limbs:
    """The lines between the circles of a drawing; nothing if it cannot be read."""
    try:
        parts = list(ET.fromstring(f"<svg>{drawing}</svg>").iter())
        places = {
            circle.attrib["data-node-id"]: names.index(circle.attrib["data-label-name"])
            for circle in parts
            if circle.tag == "circle"
        }
        return tuple(
            (places[line.attrib["data-node-from"]], places[line.attrib["data-node-to"]])
            for line in parts
            if line.tag == "line"
        )
    except (ET.ParseError, KeyError, ValueError):
        return ()


def _picture(entry: ET.Element, category: str, names: tuple[str, ...]) -> Picture:
    name = checked_name(entry.get("name"))
    size = (
        int(number_of(entry.get("width"), "width")),
        int(number_of(entry.get("height"), "height")),
    )
    if min(size) < 1:
        raise ValueError(f"{shown(name)} has no width and height of a picture")
    boxes: dict[str, Box] = {}
    people: list[Person] = []
    for box in entry.iterfind("box"):
        if box.get("label") == CROWD:
            people.append(Person((NOT_LABELLED,) * len(names), _box(box), crowd=True))
        elif box.get("label") == category + _BOX and box.get("group_id"):
            boxes[box.attrib["group_id"]] = _box(box)
    found = []
    for skeleton in entry.iterfind("skeleton"):
        if skeleton.get("label") == category:
            box_ = boxes.get(skeleton.get("group_id", ""))
            who = person_of(_keypoints(skeleton, names), box_, size)
            found += [who] if who else []
    split = entry.get("subset", _NO_SPLIT)
    split = "" if split == _NO_SPLIT else split
    return Picture(name, *size, (*found, *people), split)


def _box(entry: ET.Element) -> Box:
    left, top, right, bottom = (number_of(entry.get(s), s) for s in ("xtl", "ytl", "xbr", "ybr"))
    return left, top, right - left, bottom - top


def _keypoints(skeleton: ET.Element, names: tuple[str, ...]) -> list[Keypoint]:
    found: dict[str, Keypoint] = {}
    for points in skeleton.iterfind("points"):
        x, _, y = points.get("points", "").partition(",")
        v = 0 if points.get("outside") == "1" else 1 if points.get("occluded") == "1" else 2
        place = number_of(x, "a keypoint's x"), number_of(y, "a keypoint's y")
        found[points.get("label", "")] = (*place, v) if v else NOT_LABELLED
    return [found.get(name, NOT_LABELLED) for name in names]


def write(dataset: Dataset) -> Files:
    """One file; its labels, with the drawing of the skeleton, stand in <meta>.

    Args:
        dataset: the labelled pictures.

    Returns:
        Texts by the names of the files, for `save`.

    Raises:
        BadInput: a name holds a character that XML cannot.
    """
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    holder = "project" if any(dataset.splits) else "task"  # splits are subsets of a project
    meta = ET.SubElement(ET.SubElement(root, "meta"), holder)
    _write_labels(ET.SubElement(meta, "labels"), dataset)
    if holder == "project":
        meta = ET.SubElement(meta, "tasks")
    for split in dataset.splits or ("",):
        task = ET.SubElement(meta, "task") if holder == "project" else meta
        ET.SubElement(task, "subset").text = split or _NO_SPLIT
    for n, picture in enumerate(dataset.pictures):
        sizes = {"width": str(picture.width), "height": str(picture.height)}
        about = {"id": str(n), "name": picture.name} | sizes
        if holder == "project":
            about["subset"] = picture.split or _NO_SPLIT
        image = ET.SubElement(root, "image", about)
        for group, who in enumerate(picture.people, start=1):
            _write_person(image, dataset, who, group)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode", xml_declaration=False)
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text):
        raise BadInput("a name holds a character that XML cannot: rename it")
    return {"": f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'}


def _write_labels(labels: ET.Element, dataset: Dataset) -> None:
    kinds = [(dataset.category, "skeleton"), (dataset.category + _BOX, "rectangle")]
    kinds += [(CROWD, "rectangle"), *((name, "points") for name in dataset.names)]
    for name, kind in kinds:
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = name
        ET.SubElement(label, "type").text = kind
        ET.SubElement(label, "attributes")
        if kind == "skeleton":
            ET.SubElement(label, "svg").text = drawing(dataset)
        if kind == "points":
            ET.SubElement(label, "parent").text = dataset.category


def drawing(dataset: Dataset) -> str:
    """The skeleton as CVAT draws it: the keypoints on a circle, as nobody knows where they are."""
    places = []
    for k in range(len(dataset.names)):
        angle = 2 * math.pi * k / len(dataset.names)
        places.append(
            (_EXTENT * (0.5 + 0.4 * math.sin(angle)), _EXTENT * (0.5 - 0.4 * math.cos(angle)))
        )
    svg = ET.Element("svg")
    for a, b in dataset.limbs:
        ends = {"x1": places[a][0], "y1": places[a][1], "x2": places[b][0], "y2": places[b][1]}
        about = {key: f"{value:.2f}" for key, value in ends.items()}
        nodes = {"data-type": "edge", "data-node-from": str(a + 1), "data-node-to": str(b + 1)}
        ET.SubElement(svg, "line", about | nodes | {"stroke": "black", "stroke-width": "0.5"})
    for k, ((x, y), name) in enumerate(zip(places, dataset.names, strict=True), start=1):
        about = {
            "r": "1.5",
            "cx": f"{x:.2f}",
            "cy": f"{y:.2f}",
            "stroke": "black",
            "fill": "#b3b3b3",
        }
        node = {"data-type": "element node", "data-element-id": str(k), "data-node-id": str(k)}
        ET.SubElement(svg, "circle", about | node | {"data-label-name": name})
    return "".join(ET.tostring(part, encoding="unicode") for part in svg)


def _write_person(image: ET.Element, dataset: Dataset, who: Person, group: int) -> None:
    left, top, width, height = who.box
    sides = {"xtl": left, "ytl": top, "xbr": left + width, "ybr": top + height}
    about = {"source": "manual", "occluded": "0", "z_order": "0", "group_id": str(group)}
    label = CROWD if who.crowd else dataset.category + _BOX
    ET.SubElement(
        image, "box", {"label": label} | about | {s: _number(v) for s, v in sides.items()}
    )
    if who.crowd:
        return
    its = {"label": dataset.category, "source": "manual", "z_order": "0", "group_id": str(group)}
    skeleton = ET.SubElement(image, "skeleton", its)
    for name, (x, y, v) in zip(dataset.names, who.keypoints, strict=True):
        state = {"outside": str(int(v == 0)), "occluded": str(int(v == 1))}
        place = {"points": f"{_number(x)},{_number(y)}"}
        ET.SubElement(skeleton, "points", {"label": name, "source": "manual"} | state | place)


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
