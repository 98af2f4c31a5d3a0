"""Files and folders by their address, on this machine or in a store such as S3, all alike.

An address is a path, or `scheme://...`. pyarrow knows s3, gs, hdfs and file; for other schemes
fsspec is asked, if it is there. What goes wrong is one line that names the address.
"""

import glob
import io
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ..atomic import failing_to_write
from ..errors import BadInput

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_KEYS = re.compile(r"credential|authenti|ACCESS_DENIED|Access ?Denied|InvalidAccessKey|403", re.I)
_ABSENT = re.compile(r"NoSuchBucket|bucket does not exist|NO_SUCH_BUCKET|Bucket .* not found", re.I)


def is_remote(address: str) -> bool:
    """Whether it names a scheme, and not a file of this machine."""
    return bool(_SCHEME.match(address))


def without_secrets(address: str) -> str:
    """An address as it may be shown: without the password that it may hold."""
    return re.sub(r"(?<=://)[^/@]*@", "", address)


@contextmanager
def failing_as_bad_input(address: str) -> Iterator[None]:
    """What a file system raises, as BadInput in one line."""
    name = without_secrets(address)
    try:
        yield
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{name} does not exist: is the name right?") from error
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        text = " ".join(str(error).split())
        if not is_remote(address):
            reason = getattr(error, "strerror", None) or text
        elif _ABSENT.search(text):
            reason = "there is no such bucket"
        elif _KEYS.search(text):
            reason = "the store refuses: are there credentials, and may they do this?"
        else:
            reason = text[:200]
        raise BadInput(f"{name} cannot be used: {reason}") from error


@lru_cache(maxsize=64)
def _system(root: str) -> Any:
    """The file system of `scheme://host?options`."""
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(root)[0]
    except (ValueError, NotImplementedError):
        pass
    scheme = root.partition("://")[0]
    try:
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except ImportError as error:
        raise BadInput(f"{scheme}:// needs a package: {error}") from error
    except ValueError as error:
        raise BadInput(f"{scheme}:// is no scheme that pyarrow or fsspec knows") from error


def opened_store(address: str) -> tuple[Any, str]:
    """A remote address as a pyarrow file system and a path in it."""
    with failing_as_bad_input(address):
        bare, question, options = address.partition("?")
        scheme, _, rest = bare.partition("://")
        bucket = rest.partition("/")[0]
        if scheme in ("http", "https"):
            return _system(f"{scheme}://{bucket}"), address
        if not bucket:
            raise BadInput(f"{address} names no bucket: {scheme}://BUCKET/FOLDER")
        path = rest.rpartition("@")[2] if "@" in bucket else rest
        return _system(f"{scheme}://{bucket}{question}{options}"), path.rstrip("/")


def read_bytes(address: str) -> bytes:
    """All of a file."""
    with failing_as_bad_input(address):
        if not is_remote(address):
            return Path(address).read_bytes()
        system, path = opened_store(address)
        with system.open_input_stream(path) as file:
            return bytes(file.read())


@contextmanager
def reading(address: str) -> Iterator[Any]:
    """A file to read from at any place."""
    if not is_remote(address):
        with failing_as_bad_input(address):
            local = Path(address).open("rb")  # noqa: SIM115 - closed below
        with local:
            yield local
        return
    system, path = opened_store(address)
    with failing_as_bad_input(address):
        file = system.open_input_file(path)
    with file:
        yield file


def is_pattern(address: str) -> bool:
    """Whether it stands for several files; the ? of a remote address begins its options."""
    if is_remote(address):
        return bool(set("*[") & set(address))
    return bool(set("*?[") & set(address)) and not Path(address).exists()


def kind(address: str) -> str:
    """What is there: "file", "folder" or "nothing"."""
    if not is_remote(address):
        local = Path(address)
        return "folder" if local.is_dir() else "file" if local.exists() else "nothing"
    from pyarrow import fs

    system, path = opened_store(address)
    with failing_as_bad_input(address):
        found = system.get_file_info(path).type
    return {fs.FileType.Directory: "folder", fs.FileType.File: "file"}.get(found, "nothing")


def walk(address: str) -> Iterator[str]:
    """The files of a folder and of those in it, in order; not those that begin with a dot."""
    if is_remote(address):
        yield from sorted(_remote_files(address))
        return
    with failing_as_bad_input(address), os.scandir(address) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    for entry in inside:
        if entry.name.startswith("."):
            continue
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path)
            elif entry.is_file():
                yield entry.path


def _remote_files(address: str) -> Iterator[str]:
    from pyarrow import fs

    system, path = opened_store(address)
    front, options = _front(address, path)
    with failing_as_bad_input(address):
        for info in system.get_file_info(fs.FileSelector(path, recursive=True)):
            hidden = any(part.startswith(".") for part in info.path[len(path) :].split("/"))
            if info.type == fs.FileType.File and not hidden:
                yield front + info.path + options


def _front(address: str, path: str) -> tuple[str, str]:
    """What stands before and after the path in an address."""
    bare, question, options = address.partition("?")
    return bare.rstrip("/").removesuffix(path), question + options


def matching(pattern: str) -> list[str]:
    """The files that a pattern with * ? [ or ** means, in order."""
    if not is_remote(pattern):
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - it may be absolute
        return sorted(path for path in found if Path(path).is_file())
    bare, question, options = pattern.partition("?")
    parts = bare.split("/")
    fixed = next(n for n, part in enumerate(parts) if set("*[") & set(part))
    base = "/".join(parts[:fixed]) + question + options
    rest = parts[fixed:]
    length = len("/".join(parts[:fixed])) + 1
    return [
        file
        for file in sorted(_remote_files(base))
        if _fits(file.partition("?")[0][length:].split("/"), rest)
    ]


def _fits(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[n:], pattern[1:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


class Folder:
    """A folder to write into: files appear in it whole or not at all.

    On this machine they are written under another name and renamed; a store such as S3 shows a
    file only once all of it is there.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/") or "/"
        self.remote = is_remote(address)

    def at(self, name: str) -> str:
        """The address of a file in it."""
        if not self.remote:
            return str(Path(self.address) / name)
        bare, question, options = self.address.partition("?")
        return f"{bare.rstrip('/')}/{name}{question}{options}"

    def make(self, *names: str) -> None:
        """Makes it and the folders `names` in it; a store has no folders."""
        for name in names if not self.remote else ():
            with failing_to_write(self.at(name)):
                Path(self.at(name)).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that appears as `name` when the block ends well."""
        if self.remote:
            with io.BytesIO() as file:
                yield file
                self._upload(name, file.getvalue())
            return
        path = Path(self.at(name))
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        try:
            with temporary.open("wb") as local:
                yield local
                local.flush()
                os.fsync(local.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _upload(self, name: str, data: Any) -> None:
        system, path = opened_store(self.at(name))
        with failing_as_bad_input(self.at(name)), system.open_output_stream(path) as stream:
            stream.write(data)

    def write(self, name: str, data: bytes) -> None:
        with self.writing(name) as file:
            file.write(data)

    def read(self, name: str) -> bytes:
        return read_bytes(self.at(name))

    def has(self, name: str) -> bool:
        if not self.remote:
            return Path(self.at(name)).is_file()
        from pyarrow import fs

        system, path = opened_store(self.at(name))
        with failing_as_bad_input(self.at(name)):
            return bool(system.get_file_info(path).type == fs.FileType.File)

    def names(self, within: str = "", *, partial: bool = False) -> list[str]:
        """The names of the files in it, or in a folder of it; `partial`: those left unfinished."""
        if not self.remote:
            try:
                with os.scandir(self.at(within)) as entries:
                    found = [entry.name for entry in entries]
            except FileNotFoundError:
                return []
            unfinished = [name for name in found if name.endswith(".partial")]
            return sorted(unfinished if partial else set(found) - set(unfinished))
        from pyarrow import fs

        system, path = opened_store(self.at(within) if within else self.address)
        with failing_as_bad_input(self.address):
            selector = fs.FileSelector(path, allow_not_found=True)
            infos = system.get_file_info(selector)
        return [] if partial else sorted(info.base_name for info in infos if info.base_name)

    def remove(self, name: str) -> None:
        """A file that may be gone already."""
        if not self.remote:
            Path(self.at(name)).unlink(missing_ok=True)
            return
        system, path = opened_store(self.at(name))
        with suppress(FileNotFoundError):
            system.delete_file(path)
