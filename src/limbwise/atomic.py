"""Whole files or none: written under a temporary name beside the place, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import BadInput


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields the temporary path to write; renames it on success, removes it on an exception.

    The suffix is kept, since many writers choose their format by it. What was not written at all
    changes nothing. BadInput if the folder does
    not exist or cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    check_writable(path)
    try:
        yield temporary
        if temporary.exists():
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """BadInput, naming the remedy, if a file cannot be made at `path`."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give the name of a file in it")
    if not path.parent.is_dir():
        raise BadInput(f"the folder {path.parent} does not exist: make it, or choose another")
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"the folder {path.parent} is not writable: choose another")


def write_json(path: Path, content: Any) -> None:
    """Writes plain JSON types to a file."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))
