"""`poses`: the people in many sources as a Ray Dataset."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BadInput
from .engine import need_ray
from .job import Job, settled, skeleton_of
from .plan import Shard, shards
from .schema import rows
from .sources import Item, items
from .work import Worker


def poses(
    source: str | Path | Sequence[str | Path],
    *,
    workers: tuple[int, int | None] = (1, None),
    column: str | None = None,
    per_shard: int | None = None,
    skip_broken: bool = False,
    **options: Any,
) -> Any:
    """A `ray.data.Dataset` with a row for each person, as in shards (schema.py).

    Args:
        source: what `limbwise batch` takes: folders, patterns, lists, tables, films; local or
            remote. A film is one block, with ids of its own.
        workers: how many actors at least, and at most (None: as many as there are cores).
        column: of a Parquet file, the one with paths or bytes.
        per_shard: pictures in a block.
        skip_broken: leave out, with a warning in the worker's log, what cannot be read.
        options: model, person, precision, height, min_score, max_people, smooth, as for `load`.

    Raises:
        BadInput: if Ray is missing or a source cannot be listed. A picture that cannot be read
            raises when the Dataset is run, unless `skip_broken`.
    """
    ray = need_ray()
    job = settled(**options)
    several = [source] if isinstance(source, str | Path) else source
    found = items([str(each) for each in several], column, cut=False)
    groups = [{"shard": shard.to_json()} for shard in shards(found, per_shard)]
    pool = ray.data.ActorPoolStrategy(min_size=workers[0], max_size=workers[1])
    return ray.data.from_items(groups, override_num_blocks=len(groups)).map_batches(
        _Finder, fn_constructor_args=(job, skip_broken), batch_size=1, compute=pool, num_cpus=1
    )


class _Finder:
    """The actor: shards in, tables of people out."""

    def __init__(self, job: Job, skip_broken: bool) -> None:
        self._skip = skip_broken
        self._work = Worker(job)

    def __call__(self, batch: dict[str, Any]) -> Any:
        (text,) = batch["shard"]
        records = [frame for item in Shard.from_json(text).items for frame in self._of(item)]
        return rows(records, skeleton_of(self._work.estimate))

    def _of(self, item: Item) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = []
        try:
            frames.extend(self._work.records(item, self._bad))
        except BadInput as error:
            self._bad(error)
        return frames

    def _bad(self, error: BadInput) -> None:
        if not self._skip:
            raise error
        logging.getLogger("limbwise").warning("%s", error)
