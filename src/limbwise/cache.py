"""Where OpenVINO keeps compiled models between two starts: the second takes half as long.

`LIMBWISE_CACHE` names another folder; empty, nothing is kept.
"""

import contextlib
import os
import sys
from pathlib import Path

MOST = 20  # compiled models (model, precision, threads, size) of 3 to 10 MB each


def folder() -> Path | None:
    """The folder, made if need be; None where it cannot be written or is not wanted."""
    chosen = os.environ.get("LIMBWISE_CACHE")
    path = Path(chosen) if chosen is not None else _of_the_user() / "limbwise"
    if chosen == "":
        return None
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None


def prune(path: Path, most: int = MOST) -> None:
    """Only the `most` models made last stay."""
    with contextlib.suppress(OSError):  # another process may prune too
        blobs = sorted(path.glob("*.blob"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in blobs[most:]:
            file.unlink(missing_ok=True)


def _of_the_user() -> Path:
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
