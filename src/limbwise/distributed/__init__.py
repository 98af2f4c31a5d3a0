"""Folders and buckets of pictures and films, on one machine or on many: Ray Data does the work.

    limbwise batch SOURCE... --out DIR

is `run` in batch.py. `poses` gives a Dataset to those who have a pipeline of their own, and
`read_shards` the results of an output folder, frame by frame.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..outputs.records import Result

if TYPE_CHECKING:
    from .dataset import poses

__all__ = ["poses", "read_shards"]


def read_shards(folder: str) -> Iterator[Result]:
    """The frames of an output folder of `limbwise batch`, shard by shard.

    Within a shard frames with people come first, in order. BadInput if it is no such folder.
    """
    from .store import opened

    return opened(folder).results()


def __getattr__(name: str) -> Any:
    """Ray is loaded when somebody asks for it."""
    if name == "poses":
        from .dataset import poses

        return poses
    raise AttributeError(f"module 'limbwise.distributed' has no attribute {name!r}")
