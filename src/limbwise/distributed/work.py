"""What one task does: a shard's sources are read, estimated and written, whole or not at all.

Shard -> frames of each item -> Estimator -> Tracker, for films -> ShardWriter -> Report
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..outputs.records import Result
from ..pose import Pose
from ..sources.image import opened, picture_shots
from ..sources.video import Shots, film_piece, film_shots
from ..track import Tracker
from . import places
from .films import write_piece
from .job import Job
from .plan import Shard
from .schema import Record, ShardWriter, as_record
from .sources import Item
from .store import Store

Notify = Callable[[BadInput], None]


@dataclass(frozen=True)
class Report:
    """What came of a shard; `fatal` says why the run cannot go on, such as a full disk."""

    shard: str
    frames: int = 0
    people: int = 0
    failed: int = 0
    seconds: float = 0.0
    fatal: str = ""

    def row(self) -> dict[str, Any]:
        return asdict(self)


class Worker:
    """One estimator with one thread, and what it does shard by shard."""

    def __init__(self, job: Job) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.job, self.estimate = job, job.estimator()

    def __call__(self, shard: Shard, store: Store) -> Report:
        """Does a shard, unless it is done: a task may run twice where a machine was lost."""
        began = time.perf_counter()
        with _fatal(shard) as lost:
            piece = shard.items[0].start is not None
            if not piece and (done := store.entry(shard.name)):
                return Report(shard.name, done["frames"], done["people"])
            frames, people, failed = (
                self._piece(shard, store) if piece else self._whole(shard, store)
            )
            return Report(shard.name, frames, people, failed, time.perf_counter() - began)
        return Report(shard.name, fatal=lost[0])

    def _whole(self, shard: Shard, store: Store) -> tuple[int, int, int]:
        """A shard of pictures, or of a film that is not cut."""
        keys = [item.key for item in shard.items]
        failed: list[tuple[str, str, bool]] = []

        def fill(writer: ShardWriter) -> None:
            for item in shard.items:
                before = writer.frames
                try:
                    for frame in self.records(item, bad.append):
                        writer.add(frame)
                except BadInput as error:
                    bad.append(error)
                if bad:
                    partial = writer.frames > before
                    failed.append((item.key, str(bad[0]), partial))
                    if not partial:
                        keys.remove(item.key)
                    bad.clear()
            for key, reason, partial in failed:
                store.fail(key, reason, partial=partial)

        bad: list[BadInput] = []
        entry = store.add(shard.name, keys, fill)
        return entry["frames"], entry["people"], len(failed)

    def _piece(self, shard: Shard, store: Store) -> tuple[int, int, int]:
        """A piece of a film: its people get ids when all pieces are there."""
        (item,) = shard.items
        bad: list[BadInput] = []
        seen: list[tuple[float, tuple[int, int], list[Pose]]] = []
        try:
            with closing(shots(item, bad.append)) as its:
                for image, when in its:
                    seen.append((when or 0.0, image.shape[:2], self.estimate(image)))
        except BadInput as error:
            store.fail(item.key, str(error))
            return 0, 0, 1
        if bad:
            store.fail(item.key, str(bad[0]), partial=True)
        write_piece(store.folder, shard.name, seen)
        return len(seen), sum(len(poses) for _, _, poses in seen), len(bad)

    def records(self, item: Item, bad: Notify) -> Iterator[Record]:
        """The frames of a picture or of a whole film, each as a record."""
        follow = Tracker(smooth=self.job.smooth)
        with closing(shots(item, bad)) as its:
            for index, (image, when) in enumerate(its):
                poses: list[Pose] = list(self.estimate(image))
                if when is not None:
                    poses = follow.update(poses, when)
                height, width = image.shape[:2]
                still = when is None
                result = Result(item.name, index, when or 0.0, width, height, poses, picture=still)
                yield as_record(result, self.job.model, self.job.version)


def shots(item: Item, bad: Notify) -> Shots:
    """The pictures of an item with their times, None for a still; BadInput if it has none, damage
    after some of them goes to `bad`."""
    if item.kind == "film":
        if not places.is_remote(item.source):
            yield from _film(Path(item.source), item, bad)
            return
        with places.reading(item.source) as file:
            yield from _film(file, item, bad)
        return
    file = _bytes_of_row(item) if item.kind == "row" else None
    if file is None and places.is_remote(item.source):
        file = BytesIO(places.read_bytes(item.source))
    with opened(file or Path(item.source), item.name) as picture:
        yield from picture_shots(picture, item.name, bad)


def _film(source: Any, item: Item, bad: Notify) -> Shots:
    if item.start is None:
        return film_shots(source, item.name, False, bad)
    return film_piece(source, item.name, item.start, item.end, bad)


def _bytes_of_row(item: Item) -> BytesIO:
    """The picture in a row of a Parquet file."""
    group, first = _row_group(item.source, item.column, item.row)
    value = group[item.row - first].as_py() if item.row - first < len(group) else None
    if isinstance(value, dict):
        value = value.get("bytes")
    if not value:
        raise BadInput(f"{item.name} is empty")
    return BytesIO(value)


_last: dict[tuple[str, str], tuple[int, Any]] = {}  # the row group that was read last


def _row_group(address: str, column: str, row: int) -> tuple[Any, int]:
    """The column in the row group that holds a row, and that group's first row. The rows of a shard
    follow each other, so one group is kept."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, values = _last.get((address, column), (0, ()))
    if first <= row < first + len(values):
        return values, first
    with places.reading(address) as file:
        try:
            table, first = pq.ParquetFile(file), 0
            for number in range(table.metadata.num_row_groups):
                count = table.metadata.row_group(number).num_rows
                if row < first + count:
                    values = table.read_row_group(number, columns=[column]).column(0)
                    break
                first += count
        except (pa.ArrowException, OSError, KeyError) as error:
            raise BadInput(f"{address} cannot be read as Parquet any more: {error}") from error
    _last.clear()
    _last[address, column] = first, values
    return values, first


@contextmanager
def _fatal(shard: Shard) -> Iterator[list[str]]:
    """What is no fault of a source: the list gets the reason."""
    lost: list[str] = []
    try:
        yield lost
    except OSError as error:
        lost.append(f"{shard.name} could not be written: {error.strerror or error}")
    except BadInput as error:
        lost.append(str(error))
