"""The output folder: shards, what is done, what is broken, and who may write.

    settings.json          what the folder was made with; another model or option is refused
    shards/part-*.parquet  or .jsonl
    manifest/part-*.json   one a shard, written after it: its sources, counts and digest
    errors/*.json          one a source that cannot be read, or not to its end: the reason
    films/part-*.npz       poses of pieces of films that wait for the others; gone at the end

A shard counts when the manifest names it. What a killed run left without that is removed by the
next, before it begins: so nothing is lost and nothing is there twice.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from ..errors import BadInput
from ..outputs.records import Result
from ..skeleton import Skeleton
from .places import Folder, reading
from .schema import Record, ShardWriter, read_lines, read_rows

ROOMS = ("shards", "manifest", "errors", "films")
_ENDINGS = {"parquet": ".parquet", "jsonl": ".jsonl"}
_AT_ONCE = 32  # small files of a store that are read at the same time
_LEASE = 120.0  # seconds after which nobody holds a remote folder whose lease was not renewed


class Store:
    """An output folder whose shards have the format `form` and people of `skeleton`."""

    def __init__(self, address: str, form: str, skeleton: Skeleton) -> None:
        self.address, self.form, self.skeleton = address, form, skeleton
        self.folder = Folder(address)

    # Shards and the manifest: what tasks do, anywhere.

    def add(self, name: str, keys: list[str], fill: Callable[[ShardWriter], None]) -> Record:
        """Writes a shard that `fill` fills from the sources `keys`, then its entry; the entry.
        `fill` may take keys out of the list that it could not read."""
        with self.folder.writing(f"shards/{name}{_ENDINGS[self.form]}") as file:
            writer = ShardWriter(file, self.form, self.skeleton)
            fill(writer)
            writer.close()
        entry = {
            "shard": name, "sources": keys, "frames": writer.frames, "people": writer.people,
            "empty": writer.empty,
        }  # fmt: skip
        self.folder.write(f"manifest/{name}.json", json.dumps(entry).encode())
        return entry

    def entry(self, name: str) -> Record | None:
        """What the manifest says of a shard; None if it is not done."""
        if not self.folder.has(f"manifest/{name}.json"):
            return None
        entry: Record = json.loads(self.folder.read(f"manifest/{name}.json"))
        return entry

    def fail(self, key: str, reason: str, *, partial: bool = False) -> None:
        """Says why a source cannot be read; `partial`: what could be read of it is in a shard."""
        content = {"source": key, "reason": reason, "partial": partial}
        self.folder.write(_error(key), json.dumps(content, ensure_ascii=False).encode("utf-8"))

    def mend(self, key: str) -> None:
        """A source that could be read after all."""
        self.folder.remove(_error(key))

    # What is known at the start and at the end of a run.

    def done(self) -> set[str]:
        """The names of the shards that are done."""
        return {Path(name).stem for name in self.folder.names("manifest")}

    def entries(self) -> Iterator[Record]:
        """The whole manifest."""
        names = self.folder.names("manifest")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for data in pool.map(lambda name: self.folder.read(f"manifest/{name}"), names):
                yield json.loads(data)

    def failures(self) -> list[Record]:
        """All that is broken: source, reason, partial."""
        names = self.folder.names("errors")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            data = pool.map(lambda name: self.folder.read(f"errors/{name}"), names)
            return sorted(map(json.loads, data), key=lambda its: str(its["source"]))

    def tidy(self) -> None:
        """Removes what a killed run left: unfinished files, and shards that nothing names."""
        for room in ROOMS:
            for name in self.folder.names(room, partial=True):
                self.folder.remove(f"{room}/{name}")
        done = self.done()
        for name in self.folder.names("shards"):
            if Path(name).stem not in done:
                self.folder.remove(f"shards/{name}")

    def clear(self) -> None:
        """Removes all that a run made; nothing else lies in these folders."""
        for room in ("manifest", "shards", "errors", "films"):
            for name in self.folder.names(room):
                self.folder.remove(f"{room}/{name}")
        self.folder.remove("settings.json")

    def results(self) -> Iterator[Result]:
        """The frames of all shards, shard by shard."""
        for entry in self.entries():
            name = f"shards/{entry['shard']}{_ENDINGS[self.form]}"
            if self.form == "jsonl":
                yield from read_lines(self.folder.read(name), self.skeleton)
                continue
            with reading(self.folder.at(name)) as file:
                yield from read_rows(file, entry["empty"])


def _error(key: str) -> str:
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return f"errors/{digest[:24]}.json"


def settings(folder: Folder) -> Record | None:
    """What an output folder was made with; None for a new one. BadInput if it is something else."""
    if not folder.has("settings.json"):
        if not folder.remote and (others := set(folder.names()) - {*ROOMS, ".lock"}):
            raise BadInput(
                f"{folder.address} holds other files ({min(others)}): name a new or empty folder"
            )
        return None
    try:
        found: Record = json.loads(folder.read("settings.json"))
        Skeleton.from_dict(found["skeleton"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder.at('settings.json')} is damaged: --again starts anew") from error
    return found


def opened(address: str) -> Store:
    """An output folder to read from; BadInput if it is none."""
    found = settings(Folder(address))
    if found is None:
        raise BadInput(f"{address} is no folder that limbwise batch wrote")
    return Store(address, found["format"], Skeleton.from_dict(found["skeleton"]))


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Nobody else writes into the folder meanwhile; BadInput if somebody does."""
    with _leased(folder) if folder.remote or os.name != "posix" else _file_locked(folder):
        yield


def _refused(folder: Folder, holder: str) -> BadInput:
    return BadInput(f"another run writes into {folder.address} ({holder}): wait, or name another")


@contextmanager
def _file_locked(folder: Folder) -> Iterator[None]:
    """By the system's own lock, which ends with the process however that ends."""
    import fcntl

    with Path(folder.at(".lock")).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _refused(folder, file.read() or "a process") from None
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield


@contextmanager
def _leased(folder: Folder) -> Iterator[None]:
    """By a file that says until when; a store has no locks."""
    name, me, ended = "lock.json", _me(), Event()
    if folder.has(name):
        holder = json.loads(folder.read(name))
        if holder["until"] > time.time():
            raise _refused(folder, holder["holder"])

    def renew() -> None:
        content = {"holder": me, "until": time.time() + _LEASE}
        folder.write(name, json.dumps(content).encode())

    def keep() -> None:
        while not ended.wait(_LEASE / 4):
            with suppress(BadInput):  # a store that is away for a moment
                renew()

    renew()
    keeper = Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join(timeout=5)
        with suppress(BadInput, OSError):
            folder.remove(name)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
