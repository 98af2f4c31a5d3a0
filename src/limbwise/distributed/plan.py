"""Items in groups: a shard is what one task computes and writes, whole or not at all.

Items keep their order; a group's name is a digest of its keys. So the same sources make the same
shards on every run, and whether a shard is there says whether its sources are done.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from .sources import Item

SMALLEST, LARGEST = 32, 1000  # pictures in a shard, unless somebody says how many
SHARDS = 1000  # that are aimed at between the two
FIRST = 4  # pictures in the first two, from which on two and two have twice as many


class Shard(NamedTuple):
    """A group of items, and the name that its file has, without ending."""

    name: str
    items: tuple[Item, ...]

    def to_json(self) -> str:
        """All that a task needs to know."""
        return json.dumps([self.name, self.items])

    @classmethod
    def from_json(cls, text: str) -> "Shard":
        name, items = json.loads(text)
        return cls(name, tuple(Item(*item) for item in items))


def shard_of(items: Sequence[Item]) -> Shard:
    """The shard of these items."""
    digest = hashlib.sha256(
        "\n".join(item.key for item in items).encode("utf-8", "surrogateescape")
    )
    return Shard(f"part-{digest.hexdigest()[:20]}", tuple(items))


def shards(items: Sequence[Item], size: int | None = None) -> list[Shard]:
    """Pictures in groups of `size`, a film or a piece of one by itself.

    Where nobody says a size the first groups are small: something is done soon, and what is wrong
    shows soon, while workers that compile their networks are slow.
    """
    usual = size or min(max(len(items) // SHARDS, SMALLEST), LARGEST)
    return [shard_of(group) for group in _groups(items, usual if size else FIRST, usual)]


def _groups(items: Iterable[Item], first: int, usual: int) -> Iterator[list[Item]]:
    group: list[Item] = []
    done = 0
    for item in items:
        film, size = item.kind == "film", min(first << min(done // 2, 16), usual)
        if group and (film or len(group) == size or group[-1].kind == "film"):
            yield group
            group, done = [], done + 1
        group.append(item)
    if group:
        yield group


def films(several: Collection[Shard]) -> dict[str, list[Shard]]:
    """The shards of films that were cut, by the film, in their order."""
    found: dict[str, list[Shard]] = {}
    for shard in several:
        if shard.items[0].start is not None:
            found.setdefault(shard.items[0].source, []).append(shard)
    return found
