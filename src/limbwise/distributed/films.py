"""Films that were cut: pieces are estimated in any order, anywhere; then one task goes through the
poses of all of them in order and says who is who.

Finding people takes nearly all of the time, following them hardly any. So nothing is lost by
following in one go, and the ids and smoothed keypoints are those of a film that was never cut.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..outputs.records import Result
from ..pose import Pose
from ..skeleton import Skeleton
from ..track import Tracker
from .job import Job
from .places import Folder
from .plan import Shard
from .schema import ShardWriter, as_record
from .store import Store

Seen = tuple[float, tuple[int, int], list[Pose]]  # time, (height, width), poses


def piece_name(shard: str) -> str:
    """Where the poses of a piece wait."""
    return f"films/{shard}.npz"


def write_piece(folder: Folder, shard: str, seen: Sequence[Seen]) -> None:
    """Keeps the frames of a piece, bit for bit."""
    poses = [pose for _, _, found in seen for pose in found]
    keypoints = poses[0].xy.shape[0] if poses else 0
    arrays: dict[str, Any] = {
        "times": np.array([time for time, _, _ in seen]),
        "sizes": np.array([size for _, size, _ in seen], np.int32).reshape(-1, 2),
        "counts": np.array([len(found) for _, _, found in seen], np.int64),
        "xy": np.array([pose.xy for pose in poses], np.float32).reshape(-1, keypoints, 2),
        "confidence": np.array([p.confidence for p in poses], np.float32).reshape(-1, keypoints),
        "scores": np.array([pose.score for pose in poses]),
    }
    with folder.writing(piece_name(shard)) as file:
        np.savez(file, **arrays)


def read_piece(folder: Folder, shard: str, skeleton: Skeleton) -> Iterator[Seen]:
    """The frames that `write_piece` kept."""
    with np.load(io.BytesIO(folder.read(piece_name(shard)))) as its:
        arrays = {name: its[name] for name in its.files}
    first = 0
    for time, size, count in zip(arrays["times"], arrays["sizes"], arrays["counts"], strict=True):
        people = range(first, first + int(count))
        first += int(count)
        poses = [
            Pose(skeleton, arrays["xy"][n], arrays["confidence"][n], float(arrays["scores"][n]))
            for n in people
        ]
        yield float(time), (int(size[0]), int(size[1])), poses


def join(job: Job, store: Store, pieces: Sequence[Shard]) -> None:
    """Writes the shards of a film all of whose pieces wait, in order; then the pieces go."""
    follow, index = Tracker(smooth=job.smooth), 0
    for shard in pieces:
        records = []
        for time, (height, width), poses in read_piece(store.folder, shard.name, store.skeleton):
            people = follow.update(poses, time)
            result = Result(shard.items[0].name, index, time, width, height, people)
            records.append(as_record(result, job.model, job.version))
            index += 1

        def fill(writer: ShardWriter, records: list[Any] = records) -> None:
            for record in records:
                writer.add(record)

        store.add(shard.name, [item.key for item in shard.items], fill)
    for shard in pieces:
        store.folder.remove(piece_name(shard.name))
