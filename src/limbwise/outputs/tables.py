"""People as tables: DataFrames of pandas or polars, and Parquet files. None of the libraries is
needed by anything else, so each is imported where it is used."""

import importlib
import math
from collections.abc import Sequence
from typing import Any

from ..errors import BadInput
from .records import Result, csv_cells, csv_columns

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
    wanted = [library] if library else LIBRARIES
    for name in wanted:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        columns = columns_of(results)
        if name == "pandas":
            columns = {key: _with_nan(key, cells) for key, cells in columns.items()}
        return module.DataFrame(columns)
    raise BadInput(f"a DataFrame needs {' or '.join(wanted)}: pip install {wanted[0]}")


def _with_nan(name: str, cells: list[Any]) -> list[Any]:
    """pandas has nan for a number that is not there."""
    if name in ("source", "frame", "person"):
        return cells
    return [math.nan if cell is None else cell for cell in cells]
