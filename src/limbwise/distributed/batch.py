"""A run from sources to an output folder: prepared, done shard by shard, settled.

options -> Plan (job, items) -> Store, locked -> todo -> Ray -> Reports -> settled
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

from ..errors import BadInput
from . import engine
from .job import Job, settled, skeleton_of
from .places import Folder
from .plan import Shard
from .sources import items
from .store import ROOMS, Store, locked, settings
from .todo import Todo, settle, todo
from .work import Report

FORMATS = ("parquet", "jsonl")


@dataclass(frozen=True)
class Options:
    """given: what decides the numbers, as the user gave it; the rest does not."""

    out: str
    given: Mapping[str, Any]
    form: str = "parquet"
    column: str | None = None
    per_shard: int | None = None
    workers: tuple[int | None, int | None] = (None, None)
    address: str = "local"
    cores: int = 1
    again: bool = False


def run(
    sources: Sequence[str],
    options: Options,
    begun: Callable[[Todo], None],
    settle_job: Callable[[Mapping[str, Any]], Job],
    started: Callable[[], None] = lambda: None,
) -> Generator[Report | Store, None, None]:
    """Does what is missing: reports as they come, then the settled store.

    `begun` gets what there is to do, `started` is called when Ray runs. BadInput where the run
    cannot begin or go on; what was done until then is kept.
    """
    engine.need_ray()
    folder = Folder(options.out)
    with ExitStack() as stack:
        found = settings(folder)
        folder.make("", *ROOMS)
        stack.enter_context(locked(folder))
        found = settings(folder)
        if found and options.again:
            Store(options.out, found["format"], skeleton_of_settings(found)).clear()
            found = None
        listed = items(sources, options.column)
        job = _job(found, options, settle_job)
        estimate = job.estimator()
        store = Store(options.out, options.form, skeleton_of(estimate))
        del estimate
        if not found:
            _remember(store, job, options)
        store.tidy()
        left = todo(store, listed, options.per_shard)
        begun(left)
        if left.shards or left.films:
            max_workers = options.workers[1] or max(options.cores, options.workers[0] or 1)
            stack.enter_context(engine.running(options.address, max_workers))
            started()
            workers = _workers(options, max_workers)
            yield from _done(engine.run_shards(job, store, left.shards, workers))
            yield from _done(engine.join_films(job, store, left.films, workers))
            settle(store, left)
            store.tidy()  # of workers that died meanwhile
        yield store


def _workers(options: Options, max_workers: int) -> tuple[int, int]:
    if options.address == "local":
        return min(options.workers[0] or max_workers, max_workers), max_workers
    return engine.cluster_workers(*options.workers)


def _done(reports: Generator[Report, None, None]) -> Generator[Report, None, None]:
    with closing(reports):
        for report in reports:
            if report.fatal:
                raise BadInput(report.fatal)
            yield report


def skeleton_of_settings(found: Mapping[str, Any]) -> Any:
    """The skeleton in settings.json."""
    from ..skeleton import Skeleton

    return Skeleton.from_dict(found["skeleton"])


def _job(
    found: Mapping[str, Any] | None,
    options: Options,
    settle_job: Callable[[Mapping[str, Any]], Job],
) -> Job:
    """The job of the options; in a folder that was begun, with what was measured at its beginning.
    BadInput if the folder was made in another way."""
    if found is None:
        return settle_job(options.given)
    was = {**found["given"], "format": found["format"]}
    asked = {**options.given, "format": options.form}
    for name in sorted({*was, *asked}):
        if was.get(name) != asked.get(name):
            raise _refused(options.out, f"{name} {was.get(name)}", asked.get(name))
    given = dict(options.given)
    if given.pop("fps", None):
        given |= {"model": found["job"]["model"], "height": found["job"]["height"]}
    job = settle_job(given)
    if job.version != found["job"]["version"]:
        raise _refused(options.out, f"model version {found['job']['version']}", job.version)
    ways = zip(job.stages, found["job"]["stages"], strict=True)
    return replace(job, stages=tuple((path, its[1]) for (path, _), its in ways))


def _refused(out: str, was: str, asked: object) -> BadInput:
    return BadInput(
        f"{out} was made with {was}, now it is {asked}: name another folder, or --again to "
        "make all of it anew"
    )


def _remember(store: Store, job: Job, options: Options) -> None:
    content = {
        "format": options.form, "skeleton": store.skeleton.to_dict(), "given": options.given,
        "job": job.settings(),
    }  # fmt: skip
    store.folder.write("settings.json", json.dumps(content, indent=1).encode())


def plain_job(given: Mapping[str, Any]) -> Job:
    """The job of options that need no measuring."""
    return settled(**{name: value for name, value in given.items() if name != "fps"})


def weights(left: Todo) -> dict[str, int]:
    """How many items each shard has that is to be done."""
    several: list[Shard] = left.shards
    return {shard.name: len(shard.items) for shard in several}
