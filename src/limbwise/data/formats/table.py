"""The formats by their names: who reads, who writes, and what a place looks like."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from ...checks import read_json
from ...errors import BadInput, nearest
from . import coco, cvat, label_studio, openpose, yolo
from .dataset import Dataset, Files


class Reader(Protocol):
    """What each format's `read` is."""

    def __call__(
        self, path: Path, images: Path | None = None, category: str | None = None
    ) -> Dataset: ...


class Format(NamedTuple):
    """A format: `folder` if it is never one file, `ending` of the file if it may be, and what it
    has no words for."""

    read: Reader
    write: Callable[[Dataset], Files]
    folder: bool
    ending: str
    crowds: bool = True


FORMATS = {
    "coco": Format(coco.read, coco.write, False, ".json"),
    "crowdpose": Format(coco.read, coco.write_crowdpose, False, ".json"),
    "yolo": Format(yolo.read, yolo.write, True, ".yaml", crowds=False),
    "cvat": Format(cvat.read, cvat.write, False, ".xml"),
    "label-studio": Format(label_studio.read, label_studio.write, False, ".json"),
    "openpose": Format(openpose.read, openpose.write, True, "", crowds=False),
}


def format_of(name: str) -> Format:
    """A format by its name; BadInput, with the nearest one, if there is none."""
    if name not in FORMATS:
        raise BadInput(f"{name!r} is no format of labels{nearest(name, FORMATS)}")
    return FORMATS[name]


def guess_by_content(path: Path) -> str:
    """The name of the format that a file or folder is in; BadInput if that is not clear."""
    if path.is_dir():
        if (path / "data.yaml").is_file():
            return "yolo"
        if any(path.glob(f"*{openpose.ENDING}")):
            return "openpose"
        if any(path.glob("*.json")):
            return "coco"
    elif path.suffix.lower() in (".yaml", ".yml"):
        return "yolo"
    elif path.suffix.lower() == ".xml":
        return "cvat"
    elif path.suffix.lower() == ".json":
        return "label-studio" if isinstance(read_json(path), list) else "coco"
    elif not path.exists():
        raise BadInput(f"{path} is not there")
    raise BadInput(f"{path} does not show its format: name it with --from ({', '.join(FORMATS)})")


def guess_by_name(path: str | Path) -> str:
    """The name of the format that a place to write suggests; BadInput if that is not clear."""
    endings = {".xml": "cvat", ".json": "coco"}
    if (found := endings.get(Path(path).suffix.lower())) is None:
        raise BadInput(f"{path} does not show its format: name it with --to ({', '.join(FORMATS)})")
    return found
