"""What is still to be done in an output folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import plan
from .films import piece_name
from .plan import Shard
from .sources import Item
from .store import Store


@dataclass(frozen=True)
class Todo:
    """shards: groups to estimate; films: those to join when their pieces are there; again: keys
    that failed before; total, done: counts of items."""

    shards: list[Shard]
    films: list[list[Shard]]
    again: frozenset[str] = field(default_factory=frozenset)
    total: int = 0
    done: int = 0


def todo(store: Store, items: Sequence[Item], size: int | None = None) -> Todo:
    """What is missing of the items; sources that failed are missing, too.

    Mostly the names of the shards say it. Where sources came or went since, or some failed, the
    manifest is read, and what it does not name is grouped anew where its group is torn.
    """
    planned, done = plan.shards(items, size), store.done()
    failed = {its["source"] for its in store.failures() if not its["partial"]}
    if failed or not done <= {shard.name for shard in planned}:
        keys = {key for entry in store.entries() for key in entry["sources"]}
        for key in failed & keys:  # mended, and killed before the file went
            store.mend(key)
        failed -= keys
        known = keys | failed
        whole = [s for s in planned if s.name not in done and not known & _keys(s)]
        taken = {key for shard in whole for key in _keys(shard)}
        keys |= taken
        missing = [item for item in items if item.key not in keys]
        left = whole + plan.shards(missing, size)
        for shard in left:  # of the same name is what failed as a whole
            if shard.name in done:
                store.folder.remove(f"manifest/{shard.name}.json")
    else:
        left = [shard for shard in planned if shard.name not in done]
    names = {shard.name for shard in left}
    waiting = set(store.folder.names("films"))
    films = [its for its in plan.films(planned).values() if names & {shard.name for shard in its}]
    pieces = {shard.name: shard for its in films for shard in its}
    shards = [
        *(shard for shard in left if shard.name not in pieces),
        *(s for s in pieces.values() if piece_name(s.name).partition("/")[2] not in waiting),
    ]
    for name in waiting - {piece_name(name).partition("/")[2] for name in pieces}:
        store.folder.remove(f"films/{name}")  # of films that are done
    count = sum(len(shard.items) for shard in left)
    return Todo(shards, films, frozenset(failed), len(items), len(items) - count)


def _keys(shard: Shard) -> set[str]:
    return {item.key for item in shard.items}


def settle(store: Store, todo: Todo) -> None:
    """After the work: what failed before and is in a shard now is broken no more."""
    for shard in [*todo.shards, *(shard for film in todo.films for shard in film)]:
        keys = todo.again & _keys(shard)
        for key in keys & set((store.entry(shard.name) or {}).get("sources", ())) if keys else ():
            store.mend(key)
