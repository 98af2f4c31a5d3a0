"""What is to be worked on: folders, patterns, lists and tables become single items, in order.

    source -> expanded -> Item: a picture, a picture in a table's row, or a film or a piece of one

An item is what is read at once. Its key names it for good: the manifest says by keys what is done.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BadInput
from ..sources.frames import VIDEOS, is_live
from ..sources.image import PICTURES
from ..sources.video import cuttable_length
from . import places

PIECE = 60.0  # seconds of a film that are one item
_LISTS = (".txt", ".lst")
_TABLES = (".parquet", ".pq")
_NAMES = ("path", "source", "url", "uri", "file", "image", "bytes", "picture")  # of columns
_ASKED = 16  # films whose headers are read at once


class Item(NamedTuple):
    """kind "picture", "row" (a picture in row `row` of a Parquet file) or "film"; of a film that
    is cut, `start` is the second at which its piece begins, and `end` where, but for the last."""

    kind: str
    source: str
    row: int = -1
    column: str = ""
    start: float | None = None
    end: float | None = None

    @property
    def key(self) -> str:
        """As in the W3C's media fragments: film.mp4#t=60,120."""
        if self.start is None:
            return self.name
        return f"{self.name}#t={self.start:g},{'' if self.end is None else f'{self.end:g}'}"

    @property
    def name(self) -> str:
        """What the results call the source; bytes that are no text are escaped."""
        shown = places.without_secrets(self.source)
        shown = shown.encode("utf-8", "backslashreplace").decode()
        return shown if self.row < 0 else f"{shown}#{self.row}"


def items(sources: Sequence[str], column: str | None = None, *, cut: bool = True) -> list[Item]:
    """All items of the sources, each once, in order; BadInput if there are none, or a source is
    none that can be listed. With `cut`, long films become pieces where their kind allows it."""
    found: dict[str, Item] = {}
    for source in sources:
        before = len(found)
        for item in _expanded(source, column):
            found.setdefault(item.key, item)
        if len(found) == before and not any(source == its.source for its in found.values()):
            raise BadInput(f"{places.without_secrets(source)} holds no pictures and no films")
    return list(_cut(found.values()) if cut else found.values())


def _expanded(source: str, column: str | None) -> Iterator[Item]:
    if not source:
        raise BadInput("the name of a source is empty: is a variable not set?")
    if is_live(source) and not source.lower().startswith("http"):
        raise BadInput(f"{source} has no end: limbwise run takes cameras and streams")
    suffix = _suffix(source)
    if places.is_pattern(source):
        matches = places.matching(source)
        if not matches:
            raise BadInput(f"no file is called {source}: is the pattern right?")
        for file in matches:
            yield from _of_file(file) if _known(file) else ()
    elif suffix in _LISTS:
        lines = places.read_bytes(source).decode("utf-8", "surrogateescape").splitlines()
        yield from (item for line in lines if line.strip() for item in _of_file(line.strip()))
    elif suffix in _TABLES:
        yield from _of_table(source, column)
    elif (kind := places.kind(source)) == "folder":
        for file in places.walk(source):
            yield from _of_file(file) if _known(file) else ()
    elif kind == "file":
        yield from _of_file(source)
    else:
        shown = places.without_secrets(source)
        raise BadInput(f"{shown} does not exist: are the name and its place right?")


def _suffix(address: str) -> str:
    bare = address.partition("?")[0] if places.is_remote(address) else address
    return Path(bare).suffix.lower()


def _known(address: str) -> bool:
    return _suffix(address) in PICTURES.split() + VIDEOS.split()


def _of_file(address: str) -> Iterator[Item]:
    yield Item("film" if _suffix(address) in VIDEOS.split() else "picture", address)


def _of_table(address: str, column: str | None) -> Iterator[Item]:
    """The rows of a Parquet file: bytes of pictures, or their paths."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with places.reading(address) as file:
        try:
            table = pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"{address} is not a Parquet file that can be read") from error
        schema = table.schema_arrow
        chosen = _column(address, schema, column)
        if holds_bytes(schema.field(chosen).type):
            for row in range(table.metadata.num_rows):
                yield Item("row", address, row, chosen)
            return
        for batch in table.iter_batches(columns=[chosen]):
            for path in batch.column(0).to_pylist():
                if path:
                    yield from _of_file(path)


def _column(address: str, schema: Any, chosen: str | None) -> str:
    import pyarrow as pa

    def usable(name: str) -> bool:
        kind = schema.field(name).type
        return holds_bytes(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)

    names = [name for name in schema.names if usable(name)]
    if chosen is not None:
        if chosen not in names:
            raise BadInput(f"{address} has no column {chosen} of paths or bytes: it has {names}")
        return chosen
    named = [name for name in names if name.lower() in _NAMES]
    if len(named) == 1 or len(names) == 1:
        return str((named or names)[0])
    raise BadInput(
        f"which column of {address} holds the paths or pictures? "
        f"Say it with --column: it has {', '.join(names) or 'none of text or bytes'}"
    )


def holds_bytes(kind: Any) -> bool:
    """Whether a column's type is bytes, or a struct with bytes as data sets of pictures have it."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(kind.field(n).name == "bytes" for n in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _cut(several: Any) -> Iterator[Item]:
    """Films of more than a piece and a half in pieces; how long they are is read from as many at
    once as do not wait for each other's disk or store."""
    ordered = iter(several)
    with ThreadPoolExecutor(_ASKED) as pool:
        while some := list(islice(ordered, 1024)):
            if any(item.kind == "film" for item in some):
                for parts in pool.map(_pieces, some):
                    yield from parts
            else:
                yield from some


def _pieces(item: Item, length: Callable[[Any], float] = cuttable_length) -> list[Item]:
    if item.kind != "film":
        return [item]
    try:
        with places.reading(item.source) as file:
            seconds = length(file)
    except (BadInput, OSError):
        return [item]  # whoever reads it will say what is wrong
    count = int(seconds / PIECE + 0.5)
    if count < 2:
        return [item]
    starts = [PIECE * n for n in range(count)]
    ends = [*starts[1:], None]
    return [item._replace(start=a, end=b) for a, b in zip(starts, ends, strict=True)]
