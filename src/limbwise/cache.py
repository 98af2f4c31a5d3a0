"""Where OpenVINO keeps compiled models between two starts: the second takes half as long.

`LIMBWISE_CACHE` names another folder; empty, nothing is kept. What is compiled is run, so nothing
is taken from a folder, or a file, that somebody else may have written: then a folder of this
process alone stands in, and all is compiled anew.
"""

import contextlib
import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path

MAX_MODELS = 20  # compiled models (model, precision, threads, size) of 3 to 10 MB each


def folder() -> Path | None:
    """The folder, made if need be; None where it cannot be written or is turned off."""
    chosen = os.environ.get("LIMBWISE_CACHE")
    if chosen == "":
        return None
    home = None if chosen else _of_the_user()
    path = Path(chosen) if chosen else home and home / "limbwise"
    if path is None:
        return None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        str(path).encode()  # OpenVINO takes names in UTF-8 only
        path = path.resolve()
        if not (is_ours(path) and all(map(_is_safe, path.parents))):
            return private_folder()
    except (UnicodeEncodeError, RuntimeError):
        return private_folder()
    except (OSError, ValueError):
        return None
    if not os.access(path, os.W_OK):
        return None
    with contextlib.suppress(OSError):  # another process may prune at the same time
        for file in path.glob("*.blob"):
            if not is_ours(file):
                file.unlink(missing_ok=True)
    return path


def is_ours(path: Path) -> bool:
    """Whether nobody else can have written a file or folder: it is this user's, and others, the
    group too, may not write to it."""
    if not hasattr(os, "geteuid"):
        return True  # Windows keeps a user's folders to themselves
    its = path.stat()
    return its.st_uid == os.geteuid() and not its.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def prune(path: Path, max_models: int = MAX_MODELS) -> None:
    """Only the `max_models` models made last stay, and only for their owner."""
    with contextlib.suppress(OSError):  # another process may prune too
        blobs = sorted(path.glob("*.blob"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in blobs[max_models:]:
            file.unlink(missing_ok=True)
        for file in blobs[:max_models]:
            if not is_ours(file):
                file.chmod(0o600)


def _is_safe(path: Path) -> bool:
    """Whether nobody but its owner and root can put something else in the place of a folder."""
    if not hasattr(os, "geteuid"):
        return True
    its = path.stat()
    sticky = its.st_mode & stat.S_ISVTX
    return its.st_uid in (0, os.geteuid()) and bool(sticky or not its.st_mode & stat.S_IWOTH)


@cache
def _keeper() -> tempfile.TemporaryDirectory[str] | None:
    with contextlib.suppress(OSError):
        return tempfile.TemporaryDirectory(prefix="limbwise-", ignore_cleanup_errors=True)
    return None


def private_folder() -> Path | None:
    """A folder of this process alone (0700), gone with it."""
    keeper = _keeper()
    return Path(keeper.name) if keeper else None


def _of_the_user() -> Path | None:
    """None for somebody who has no home: a number without a name, as in containers."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
