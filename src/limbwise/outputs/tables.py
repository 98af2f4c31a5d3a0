"""People as tables: DataFrames of pandas or polars, and Parquet files. None of the libraries is
needed by anything else, so each is imported where it is used."""

import importlib
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..atomic import check_writable, failing_to_write, replacing
from ..errors import BadInput
from ..skeleton import Skeleton
from .records import Result, csv_cells, csv_columns
from .writer import Writer

ROWS = 1000  # of a Parquet file that are written together
LIBRARIES = ("pandas", "polars")


def columns_of(results: Sequence[Result]) -> dict[str, list[Any]]:
    """The columns of the .csv files, a row per person; None where a keypoint was not found. The
    keypoints are those of the first person."""
    people = [(one, n, pose) for one in results for n, pose in enumerate(one.poses)]
    skeleton = people[0][2].skeleton if people else None
    names = csv_columns(skeleton.keypoints if skeleton else ())
    rows = [
        csv_cells(one, n, pose if pose.skeleton == skeleton else pose.as_skeleton(skeleton))
        for one, n, pose in people
        if skeleton
    ]
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def dataframe(results: Sequence[Result], library: str | None = None) -> Any:
    """The same as a DataFrame; BadInput if the library is not installed."""
    if library not in (None, *LIBRARIES):
        raise BadInput(f"{library} makes no DataFrames that limbwise knows: choose pandas, polars")
    libraries = [library] if library else LIBRARIES
    for name in libraries:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        columns = columns_of(results)
        if name == "pandas":
            columns = {key: _with_nan(key, cells) for key, cells in columns.items()}
        return module.DataFrame(columns)
    raise BadInput(f"a DataFrame needs {' or '.join(libraries)}: pip install {libraries[0]}")


def _with_nan(name: str, cells: list[Any]) -> list[Any]:
    """pandas has nan for a number that is not there."""
    if name in ("source", "frame", "person"):
        return cells
    return [math.nan if cell is None else cell for cell in cells]


class Parquet(Writer):
    """Apache Parquet with the columns of the .csv files, in groups of rows, so that memory does
    not grow with the length of a film. The columns are the keypoints of the first person."""

    def __init__(self, path: str | Path) -> None:
        try:
            import pyarrow.parquet
        except ImportError:
            raise BadInput(f"{path}: .parquet needs pyarrow: pip install pyarrow") from None
        self._arrow, self._path = pyarrow, path
        check_writable(path)
        self._files = ExitStack()
        self._file: Any = None
        self._skeleton: Skeleton | None = None
        self._rows: list[list[object]] = []
        self._added, self._open = False, True

    def add(self, result: Result) -> None:
        self._added = True
        for n, pose in enumerate(result.poses):
            self._skeleton = self._skeleton or pose.skeleton
            same = pose.skeleton == self._skeleton
            self._rows.append(
                csv_cells(result, n, pose if same else pose.as_skeleton(self._skeleton))
            )
        if len(self._rows) >= ROWS:
            self._flush()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._flush()
            with failing_to_write(self._path):
                self._files.close()

    def __exit__(self, *error: Any) -> None:
        if error[0] and not self._added:
            self._open = False
            self._files.__exit__(*error)
        self.close()

    def _flush(self) -> None:
        with failing_to_write(self._path):
            try:
                if self._file is None:
                    self._start()
                columns = list(zip(*self._rows, strict=True)) or [()] * len(self._schema)
                table = dict(zip(self._schema.names, columns, strict=True))
                self._file.write_table(self._arrow.table(table, schema=self._schema))
                self._rows = []
            except OSError as error:
                self._open = False
                self._files.__exit__(type(error), error, None)
                raise

    def _start(self) -> None:
        arrow = self._arrow
        kinds = {"source": arrow.string(), "frame": arrow.int64(), "person": arrow.int64()}
        names = csv_columns(self._skeleton.keypoints if self._skeleton else ())
        self._schema = arrow.schema([(name, kinds.get(name, arrow.float64())) for name in names])
        temporary = self._files.enter_context(replacing(self._path))
        self._file = self._files.enter_context(arrow.parquet.ParquetWriter(temporary, self._schema))
