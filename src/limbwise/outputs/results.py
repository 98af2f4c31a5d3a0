"""Results, frame by frame, to files: JSON lines, JSON, OpenPose JSON, COCO results, CSV, Parquet,
Label Studio.

A file grows under a temporary name and takes its place when the writer is closed, whatever ended
the work: after Ctrl-C it holds what was added so far. The old file stays only where writing itself
fails, as on a full disk, or where the work failed before its first result.

Nothing here writes nan: a keypoint that was not found is null in JSON lines, an empty cell in CSV
and three zeros in the formats of OpenPose and COCO.
"""

import json
import re
import sys
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..atomic import check_writable, failing_to_write, fitting, replacing, writing
from ..errors import BadInput
from ..places import identities, keep
from ..skeleton import BODY, BODY_25, Skeleton
from .label_studio import task
from .records import (
    Result,
    coco_image_id,
    coco_person,
    csv_cells,
    csv_columns,
    csv_line,
    openpose_person,
    record,
)
from .writer import Writer

FORMATS = ("jsonl", "json", "openpose", "coco", "csv", "parquet", "label-studio")


def open_writer(
    path: str | Path,
    format: str,  # noqa: A002
    *,
    points: int = 25,
    inputs: Iterable[Path] = (),
) -> Writer:
    """A writer of results.

    Args:
        path: a file, or "-" for standard output; for openpose a folder.
        format: one of `FORMATS`.
        points: 18 or 25, the layout of openpose.
        inputs: files that are read: none is replaced.

    Raises:
        BadInput: nothing can be written there.
    """
    match format:
        case "jsonl":
            return JsonLines(path)
        case "json":
            return JsonRecords(path)
        case "parquet":
            from .tables import Parquet

            return Parquet(path)
        case "openpose":
            return OpenPose(path, points, inputs)
        case "coco":
            return CocoResults(path)
        case "csv":
            return Csv(path)
        case "label-studio":
            return LabelStudio(path)
    raise BadInput(f"{format!r} is not a format: choose one of {', '.join(FORMATS)}")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


# The formats that are one file.


class _TextFile(Writer):
    """What the formats of one file share: `_text` is added to it, `_end` closes it."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._finish = ExitStack()
        self._open, self._added, self._begun = True, False, False  # begun: there is text in it
        self._torn = False  # within a piece of text
        check_writable(path, stream=True)
        with failing_to_write(path):
            self._file = self._finish.enter_context(writing(path))

    def add(self, result: Result) -> None:
        text = self._text(result)
        self._added = True
        if text:
            self._write(text)
            self._begun = True

    def close(self) -> None:
        if self._open:
            if not self._torn:  # else a pipe is full, and nobody reads its end, either
                self._write(self._end())
            self._open = False
            with failing_to_write(self._path):
                self._finish.close()

    def __exit__(self, *error: Any) -> None:
        if error[0] and not self._added:
            self._discard(*error)
        self.close()

    def _discard(self, *error: Any) -> None:
        self._open = False
        self._finish.__exit__(*error)

    @abstractmethod
    def _text(self, result: Result) -> str: ...

    def _end(self) -> str:
        return ""

    def _write(self, text: str) -> None:
        """Flushed at once: whoever reads a pipe waits for it, and a full disk is noticed now."""
        with failing_to_write(self._path):
            try:
                self._torn = True
                self._file.write(text.encode("utf-8", "surrogateescape"))
                self._file.flush()
                self._torn = False
            except OSError:
                self._discard(*sys.exc_info())
                raise


class JsonLines(_TextFile):
    """One `record` per frame and line."""

    def _text(self, result: Result) -> str:
        return _json(record(result)) + "\n"


class _JsonList(_TextFile):
    """One list, a line for each of its entries."""

    def _text(self, result: Result) -> str:
        lines = [_json(entry) for entry in self._entries(result)]
        return (",\n" if self._begun else "[\n") + ",\n".join(lines) if lines else ""

    def _end(self) -> str:
        return "\n]\n" if self._begun else "[]\n"

    @abstractmethod
    def _entries(self, result: Result) -> list[dict[str, Any]]: ...


class JsonRecords(_JsonList):
    """The records of JSON lines as one JSON list."""

    def _entries(self, result: Result) -> list[dict[str, Any]]:
        return [record(result)]


class CocoResults(_JsonList):
    """The results file of COCO's keypoint task (cocodataset.org/#format-results).

    A picture's image_id is its name where that is a number, as in COCO; other pictures and the
    frames of videos have their index for it. People without a COCO keypoint are left out.
    """

    def _entries(self, result: Result) -> list[dict[str, Any]]:
        image_id = coco_image_id(result)
        people = [coco_person(pose, image_id) for pose in result.poses]
        return [person for person in people if person]


class LabelStudio(_JsonList):
    """Tasks with predictions, one for each picture (labelstud.io/guide/predictions)."""

    def _entries(self, result: Result) -> list[dict[str, Any]]:
        return [task(result)]


class Csv(_TextFile):
    """A row per person and frame; the columns are the keypoints of the first person written."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._skeleton: Skeleton | None = None

    def _text(self, result: Result) -> str:
        if not result.poses:
            return ""
        self._skeleton = self._skeleton or result.poses[0].skeleton
        text = "" if self._begun else csv_line(csv_columns(self._skeleton.keypoints))
        for n, pose in enumerate(result.poses):
            same = pose.skeleton == self._skeleton  # then nothing is to be made, not even a neck
            shown = pose if same else pose.as_skeleton(self._skeleton)
            text += csv_line(csv_cells(result, n, shown))
        return text

    def _end(self) -> str:
        return "" if self._begun else csv_line(csv_columns(()))


# The format that is a folder.


class OpenPose(Writer):
    """A file per frame as OpenPose's --write_json writes it, named after the picture or after the
    video and the frame (CMU-Perceptual-Computing-Lab/openpose, doc/02_output.md)."""

    def __init__(self, folder: str | Path, points: int = 25, inputs: Iterable[Path] = ()) -> None:
        if str(folder) == "-":
            raise BadInput("OpenPose's format is a file per frame: name a folder, not -")
        if points not in (18, 25):
            raise BadInput(f"OpenPose has layouts of 18 and of 25 points, not of {points}")
        with failing_to_write(folder):
            Path(folder).mkdir(exist_ok=True)
        check_writable(Path(folder) / "keypoints.json")
        self._folder = Path(folder)
        self._skeleton = BODY if points == 18 else BODY_25
        self._written: set[str] = set()
        self._inputs = identities(inputs)

    def add(self, result: Result) -> None:
        path = self._folder / _openpose_name(result)
        if path.name in self._written:
            raise BadInput(f"{path} was written from another source: rename {result.source}")
        keep(path, self._inputs)
        people = [openpose_person(pose, self._skeleton) for pose in result.poses]
        with failing_to_write(path), replacing(path) as temporary:
            temporary.write_text(_json({"version": 1.3, "people": people}))
        self._written.add(path.name)


def _openpose_name(result: Result) -> str:
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", Path(result.source).stem)  # as in camera URLs
    number = "" if result.picture else f"_{result.index:012}"
    return fitting(stem, f"{number}_keypoints.json")
