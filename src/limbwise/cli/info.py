"""`limbwise info FILE`: what a model, film, picture, folder or label file is, in a few lines."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..backends import openvino
from ..backends.base import is_checkpoint, need_torch
from ..checks import read_json, shown
from ..data.coco_file import read_coco
from ..description import Description
from ..errors import BadInput
from ..models.catalogue import CATALOGUE, Bundled
from ..sources.frames import VIDEOS, files
from ..sources.image import PICTURES, check_file, opened, pages
from ..sources.video import film_facts
from .terminal import failing_in_one_line

Facts = dict[str, object]


@failing_in_one_line()
def info(
    file: Annotated[
        str, typer.Argument(help="A model or a bundled one's name, a film, picture or label file.")
    ],
) -> None:
    """What a file is: a model, a film, a picture, a folder or a label file."""
    facts = _facts(file)
    width = max(map(len, facts))
    for name, value in facts.items():
        echo(f"{name:{width}}  {value}")


def echo(text: str) -> None:
    """To standard output, in whatever letters it takes."""
    letters = getattr(sys.stdout, "encoding", None) or "ascii"
    typer.echo(text.encode(letters, "backslashreplace").decode(letters))


def _facts(file: str) -> Facts:
    path = Path(file)
    if file in CATALOGUE and not path.is_file():
        return _bundled(CATALOGUE[file])
    if path.is_dir():
        return _folder(path)
    check_file(path, str(path))
    ending = path.suffix.lower()
    if ending in (".onnx", ".xml"):
        return _model(path, openvino.load(path, "f32", 1, False).description)
    if is_checkpoint(path):
        return _checkpoint(path)
    if ending == ".json":
        return _labels(path)
    kinds: list[Callable[[Path], Facts]] = [_picture, _film]
    if ending in VIDEOS.split():
        kinds.reverse()
    for kind in kinds:
        try:
            return kind(path)
        except BadInput as bad:
            if ending in (VIDEOS, PICTURES)[kind is _picture].split():
                raise bad from None
    raise BadInput(f"{path} is no model, film, picture or label file that limbwise knows")


def _bundled(model: Bundled) -> Facts:
    stages = [stage.plain for stage in (model.first, model.second) if stage]
    return {
        "kind": "bundled model",
        "does": model.about,
        **({"input": f"{model.height} pixels on the longer side"} if model.height else {}),
        **model.figures,
        "files": ", ".join(f"{path.name} ({_megabytes(path)})" for path in stages),
        "licence": "Apache-2.0",
    }


def _folder(path: Path) -> Facts:
    endings = Counter(file.suffix.lower() for file in files(str(path), recursive=True))
    pictures = sum(count for ending, count in endings.items() if ending in PICTURES.split())
    return {
        "kind": "folder, with those in it",
        "pictures": pictures,
        "films": endings.total() - pictures,
        "endings": ", ".join(f"{count} {ending}" for ending, count in endings.most_common()),
    }


def _model(path: Path, its: Description) -> Facts:
    size = f"{its.height} pixels {'high' if its.fit == 'height' else 'on the longer side'}"
    if its.crop:
        size = f"crops of one person, {its.crop[0]} x {its.crop[1]} pixels (height x width)"
        size += ", and prior keypoints" if its.prior else ""
    keypoints = its.skeleton.keypoints
    return {
        "kind": "model" + (", second stage" if its.crop else ""),
        "name": shown(its.name, 80),
        "file": _megabytes(path),
        "input": size,
        "finds": " and ".join(
            ["boxes of people"] * its.boxes + [f"{len(keypoints)} keypoints"] * bool(keypoints)
        ),
        **({"keypoints": shown(", ".join(keypoints), 600)} if keypoints else {}),
        "limbs": len(its.skeleton.limbs),
    }


def _checkpoint(path: Path) -> Facts:
    need_torch()
    from ..networks.checkpoint import load

    checkpoint = load(path)
    count = sum(each.numel() for each in checkpoint.network.parameters())
    facts = _model(path, checkpoint.description)
    return {**facts, "kind": "checkpoint", "parameters": f"{count / 1e6:.2f} million"}


def _labels(path: Path) -> Facts:
    content = read_json(path)
    if isinstance(content, list):
        return _list(path, content)
    labels = read_coco(path)
    its = labels.category
    people = labels.annotations
    return {
        "kind": "COCO labels",
        "pictures": len(labels.images),
        "annotations": len(people),
        "crowds": sum(bool(entry.get("iscrowd")) for entry in people),
        "category": f"{shown(its.name, 80)} (id {its.id})",
        "categories": len(content["categories"]),
        "keypoints": shown(", ".join(its.keypoints), 600) if its.keypoints else "none: boxes only",
    }


def _list(path: Path, content: list[Any]) -> Facts:
    first = content[0] if content and isinstance(content[0], dict) else {}
    if "image_id" in first:
        return {"kind": "COCO results", "people": len(content)}
    if "people" in first or not content:
        return {"kind": "people found by limbwise run", "frames": len(content)}
    raise BadInput(f"{path} is a list of nothing that limbwise knows")


def _picture(path: Path) -> Facts:
    with opened(path, str(path)) as picture:
        turned = picture.getexif().get(0x0112, 1)
        return {
            "kind": "picture",
            "form": picture.format,
            "size": f"{picture.width} x {picture.height} pixels",
            "colours": picture.mode,
            "frames": pages(picture, str(path)),
            "turned": "no" if turned == 1 else f"yes, by EXIF orientation {turned}",
            "file": _megabytes(path),
        }


def _film(path: Path) -> Facts:
    return {"kind": "film", **film_facts(path), "file": _megabytes(path)}


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.2f} MB"
