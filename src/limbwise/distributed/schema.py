"""What a shard holds, and how it is written and read.

Parquet: one row a person. JSON lines: one line a frame, as `limbwise run` writes it, with the model
and its version. Both hold the same numbers, rounded alike; frames without people have no row, and
stand in the manifest.

| column | type | is |
|---|---|---|
| source | string | the file as it was named; of a row of a table `table.parquet#row` |
| frame | int32 | from 0 in each source |
| time | float64, null for a still | seconds since the first frame |
| width, height | int32 | of the picture, in pixels |
| person | int32 | from 0 in each frame, best first |
| id | int32, null for a still | who is who in a film |
| score | float32 | 0 to 1 |
| box | float32[4] | left, top, right, bottom of the keypoints, in pixels |
| x, y | float32[K], null where not found | in pixels; the centre of the first pixel is 0 |
| confidence | float32[K] | 0 where not found |
| model, version | string | who found them: version of limbwise and a digest of the weights |

The K keypoints' names stand in the file's metadata under "limbwise", as JSON.
"""

import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from ..outputs.records import Result, record
from ..pose import Pose
from ..skeleton import Skeleton

Record = dict[str, Any]
_PEOPLE = 4096  # in a row group of Parquet


def schema(skeleton: Skeleton) -> Any:
    """The Arrow schema of shards with people of this skeleton."""
    import pyarrow as pa

    def many(count: int) -> Any:
        return pa.list_(pa.float32(), count)

    count = len(skeleton.keypoints)
    return pa.schema(
        [
            ("source", pa.string()), ("frame", pa.int32()), ("time", pa.float64()),
            ("width", pa.int32()), ("height", pa.int32()), ("person", pa.int32()),
            ("id", pa.int32()), ("score", pa.float32()), ("box", many(4)),
            ("x", many(count)), ("y", many(count)), ("confidence", many(count)),
            ("model", pa.string()), ("version", pa.string()),
        ],
        metadata={"limbwise": json.dumps(skeleton.to_dict())},
    )  # fmt: skip


def as_record(result: Result, model: str, version: str) -> Record:
    """A frame as a line of JSON lines; stills have no time."""
    made = record(result)
    return made | {
        "time": None if result.picture else made["time"], "model": model, "version": version
    }  # fmt: skip


def rows(records: Sequence[Record], skeleton: Skeleton) -> Any:
    """The people of frames as an Arrow table."""
    import pyarrow as pa

    nowhere = (None, None, 0.0)
    columns: dict[str, list[Any]] = {name: [] for name in schema(skeleton).names}
    for frame in records:
        for number, person in enumerate(frame["people"]):
            found = [person["keypoints"][name] or nowhere for name in skeleton.keypoints]
            x, y, confidence = zip(*found, strict=True)
            row = {"x": x, "y": y, "confidence": confidence, "person": number}
            row |= {name: person[name] for name in ("id", "score", "box")}
            for name, column in columns.items():
                column.append(row[name] if name in row else frame[name])
    return pa.table(columns, schema=schema(skeleton))


class ShardWriter:
    """Writes frames into an open file as they come, and counts; `empty` has the frames without
    people: source, frame, time, width, height."""

    def __init__(self, file: IO[bytes], form: str, skeleton: Skeleton) -> None:
        self.frames, self.people, self.empty = 0, 0, list[list[Any]]()
        self._file, self._skeleton, self._form = file, skeleton, form
        self._waiting: list[Record] = []
        self._people = 0
        self._table: Any = None

    def add(self, frame: Record) -> None:
        self.frames += 1
        self.people += len(frame["people"])
        if self._form == "jsonl":
            self._file.write(_line(frame))
            return
        if not frame["people"]:
            self.empty.append([frame[k] for k in ("source", "frame", "time", "width", "height")])
            return
        self._waiting.append(frame)
        self._people += len(frame["people"])
        if self._people >= _PEOPLE:
            self._flush()

    def close(self) -> None:
        """What is left, and the end of the file."""
        if self._form == "parquet":
            self._flush()
            self._table.close()

    def _flush(self) -> None:
        import pyarrow.parquet as pq

        if self._table is None:
            self._table = pq.ParquetWriter(self._file, schema(self._skeleton), compression="zstd")
        if self._waiting:
            self._table.write_table(rows(self._waiting, self._skeleton))
        self._waiting, self._people = [], 0


def _line(frame: Record) -> bytes:
    text = json.dumps(frame, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape") + b"\n"


def read_rows(file: Any, empty: Sequence[Sequence[Any]] = ()) -> Iterator[Result]:
    """The frames of a Parquet shard, with those that hold nobody after them."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    skeleton = Skeleton.from_dict(json.loads(table.schema_arrow.metadata[b"limbwise"]))
    head: tuple[Any, ...] = ()
    poses: list[Pose] = []
    for batch in table.iter_batches():
        for row in batch.to_pylist():
            own = tuple(row[name] for name in ("source", "frame", "time", "width", "height"))
            if own != head and poses:
                yield _result(head, poses)
                poses = []
            head = own
            poses.append(_of_row(row, skeleton))
    if poses:
        yield _result(head, poses)
    for frame in empty:
        yield _result(frame, [])


def _of_row(row: Record, skeleton: Skeleton) -> Pose:
    xy = np.array([row["x"], row["y"]], np.float32).T
    return Pose(skeleton, xy, np.array(row["confidence"], np.float32), row["score"], row["id"])


def read_lines(data: bytes, skeleton: Skeleton) -> Iterator[Result]:
    """The frames of a JSON lines shard."""
    for line in data.splitlines():
        frame = json.loads(line)
        head = [frame[name] for name in ("source", "frame", "time", "width", "height")]
        yield _result(head, [_of_person(person, skeleton) for person in frame["people"]])


def _of_person(person: Record, skeleton: Skeleton) -> Pose:
    nowhere = (np.nan, np.nan, 0.0)
    found = np.array(
        [person["keypoints"][name] or nowhere for name in skeleton.keypoints], np.float32
    )
    return Pose(skeleton, found[:, :2], found[:, 2], person["score"], person["id"])


def _result(head: Sequence[Any], poses: list[Pose]) -> Result:
    source, frame, time, width, height = head
    still = time is None
    return Result(source, frame, 0.0 if still else time, width, height, poses, picture=still)
