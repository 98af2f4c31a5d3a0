"""Ray: where the work is done, on this machine or on many.

Ray Data hands shards to actors, each an estimator of its own with one thread, and starts more of
them while shards wait. A task writes its shard itself and reports a few numbers, so nothing large
comes back. What is lost with a process or a machine is done again somewhere else by Ray.
"""

import logging
import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import BadInput
from .films import join
from .job import Job
from .plan import Shard
from .store import Store
from .work import Report, Worker

SECONDS = 10.0  # that an address has to answer
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"  # an empty frame of HTTP/2
MEMORY = 150_000_000  # bytes of Ray's object store on this machine: only reports go through it


class ShardActor:
    """The actor: what Ray Data calls with shards, one at a time."""

    def __init__(self, job: Job, store: Store) -> None:
        self._work, self._store = Worker(job), store

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return _rows([self._work(Shard.from_json(text), self._store) for text in batch["shard"]])


class FilmActor:
    """Ray Data's task for films that were cut; a film each."""

    def __init__(self, job: Job, store: Store) -> None:
        self._job, self._store = job, store

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return _rows([self._join(list(map(Shard.from_json, film))) for film in batch["film"]])

    def _join(self, film: list[Shard]) -> Report:
        try:
            join(self._job, self._store, film)
        except (BadInput, OSError) as error:
            return Report(
                film[0].name, fatal=f"{film[0].items[0].name} could not be joined: {error}"
            )
        return Report(film[0].name)


def _rows(reports: Sequence[Report]) -> dict[str, Any]:
    rows = [report.row() for report in reports]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _rows_of(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    columns = [values.tolist() for values in batch.values()]
    return (dict(zip(batch, row, strict=True)) for row in zip(*columns, strict=True))


@contextmanager
def running(address: str, workers: int, memory: int = MEMORY) -> Iterator[None]:
    """Ray, as long as the block lasts: "local" starts it in this machine with so many workers,
    "auto" and ray://host:port join a cluster. BadInput where there is none."""
    ray = need_ray()
    if ray.is_initialized():
        yield
        return
    _quiet()
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        options |= {
            "num_cpus": workers, "object_store_memory": memory, "include_dashboard": False
        }  # fmt: skip
    else:
        _reach(address)
    try:
        with _silent():
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())[:160]
        raise BadInput(
            f"no Ray cluster lets us in at {address}: {reason} (one that asks for a token wants "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN)"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def need_ray() -> Any:
    """The module; BadInput with the remedy where Ray Data is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import pyarrow  # noqa: F401
        import ray
        import ray.data
    except ImportError as error:
        raise BadInput("Ray Data is missing: pip install 'limbwise[batch]'") from error
    return ray


@contextmanager
def _silent() -> Iterator[None]:
    """Ray's own processes and C++ code write to standard error as they begin."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _quiet() -> None:
    """What Ray says of itself would stand between our own lines."""
    import ray.data

    for name in ("ray", "ray.data", "ray.train", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _reach(address: str) -> None:
    """BadInput where nobody answers: Ray itself would try for half a minute, or for ever. What it
    speaks is gRPC, and so HTTP/2, where whoever is greeted greets back (RFC 9113, section 3.4)."""
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        raise BadInput(f"--address {address} is not auto, local, ray://HOST:PORT or HOST:PORT")
    try:
        with socket.create_connection((host, int(port)), timeout=SECONDS) as peer:
            peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS)
            if not peer.recv(1):
                raise OSError("it hangs up")
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"no Ray cluster answers at {address}: is it up, and the port right?"
        ) from error


def run_shards(
    job: Job, store: Store, shards: Sequence[Shard], workers: tuple[int, int]
) -> Generator[Report, None, None]:
    """Does the shards with from `workers[0]` to `workers[1]` actors; reports as they come."""
    rows = [{"shard": shard.to_json()} for shard in shards]
    yield from _mapped(ShardActor, rows, job, store, workers)


def join_films(
    job: Job, store: Store, films: Sequence[Sequence[Shard]], workers: tuple[int, int]
) -> Generator[Report, None, None]:
    """Joins the films all of whose pieces are there."""
    waiting = set(store.folder.names("films"))
    whole = [film for film in films if all(f"{shard.name}.npz" in waiting for shard in film)]
    rows = [{"film": [shard.to_json() for shard in film]} for film in whole]
    yield from _mapped(FilmActor, rows, job, store, workers)


def _mapped(
    actor: type, rows: list[dict[str, Any]], job: Job, store: Store, workers: tuple[int, int]
) -> Generator[Report, None, None]:
    if rows and _is_client():
        yield from _through(actor, rows, job, store, workers)
    elif rows:
        yield from _reports(actor, rows, job, store, workers)


def _reports(
    actor: type, rows: list[dict[str, Any]], job: Job, store: Store, workers: tuple[int, int]
) -> Generator[Report, None, None]:
    import ray.data

    pool = ray.data.ActorPoolStrategy(
        min_size=min(workers[0], len(rows)), max_size=workers[1], max_tasks_in_flight_per_actor=2
    )
    reports = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        actor, fn_constructor_args=(job, store), batch_size=1, compute=pool, num_cpus=1
    )
    try:
        # Row by row Ray would hold each report back until there is the next
        for batch in reports.iter_batches(batch_size=None, prefetch_batches=0):
            for row in _rows_of(batch):
                yield Report(**row)
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines or [type(error).__name__])[-1][:200]
        raise BadInput(
            f"Ray could not go on: {reason}. The same command begins where it stopped"
        ) from error


def _is_client() -> bool:
    """Whether this process stands outside of the cluster, where Ray Data cannot run."""
    from ray.util.client import ray as client

    return bool(client.is_connected())


def _through(*work: Any) -> Generator[Report, None, None]:
    """The same by an actor in the cluster, which is gone when this process is."""
    import ray

    inside = ray.remote(num_cpus=0)(_Inside).remote(*work)
    while (row := ray.get(inside.more.remote())) is not None:
        yield Report(**row)


class _Inside:
    """Drives Ray Data inside the cluster, report by report."""

    def __init__(self, *work: Any) -> None:
        _quiet()
        self._reports = _reports(*work)

    def more(self) -> dict[str, Any] | None:
        report = next(self._reports, None)
        return None if report is None else report.row()


def cluster_workers(min_workers: int | None, max_workers: int | None) -> tuple[int, int]:
    """The minimum and maximum number of workers: those that were asked for, else as many as the
    cluster has cores."""
    import ray

    cores = max(int(ray.cluster_resources().get("CPU", 1)), 1)
    upper = max_workers or max(cores, min_workers or 1)
    return min(min_workers or 1, upper), upper
