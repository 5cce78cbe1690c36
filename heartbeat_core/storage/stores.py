"""Kinds of stores behind one face: this machine's files, and whatever fsspec opens. ``s3.py`` has the third.

A store moves bytes and raises what its client raises; ``storage`` is what the rest of the project calls, and turns
that into the project's errors. Remote stores ask again after transient errors (``retry``).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from heartbeat_core.errors import ObjectTooLarge
from heartbeat_core.storage.retry import Gate, ask, patience, patience_s
from heartbeat_core.storage.uris import LOCAL

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its URI, its path relative to what was listed, and what the store says of it.

    ``version`` changes when the content does (an ETag, or size and time); None where the store says nothing.
    """

    uri: str
    relative_path: str
    size_bytes: int | None = None
    version: str | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Blob:
    """A whole file, and its version as of when it was read."""

    data: bytes
    version: str | None


class Store(Protocol):
    """What a store can do; URIs are whole ones."""

    def walk(self, folder: str) -> Iterator[Entry]:
        """Yield all files below a folder."""

    def glob(self, pattern: str) -> Iterator[Entry]:
        """Yield the files that match; relative paths start below the part without wildcards."""

    def find(self, uri: str) -> Entry | None:
        """Return what is known of one file without reading it, None where there is none."""

    def is_folder(self, uri: str) -> bool:
        """Tell whether there is a folder, or objects below a prefix."""

    def names(self, folder: str) -> list[str]:
        """Return the names directly below a folder; FileNotFoundError where there is none."""

    def get(self, uri: str, max_bytes: int | None, *, versioned: bool) -> Blob:
        """Read a file whole; ObjectTooLarge where it has more bytes. ``versioned`` asks for its version too."""

    def tail(self, uri: str, n_bytes: int) -> bytes:
        """Read at most the last bytes of a file."""

    def create(self, uri: str, data: bytes) -> bool:
        """Create a file whole unless it is there; tells whether this call did. FileExistsError means no, too."""

    def put(self, uri: str, data: bytes) -> None:
        """Write a file whole, over what is there."""

    def remove(self, uri: str) -> None:
        """Remove one file."""

    def may_pass(self, error: BaseException) -> bool:
        """Tell whether the same request may succeed later."""

    def refuses_us(self, error: BaseException) -> bool:
        """Tell whether an error is about this process's credentials, and not about what was asked for."""


_MAKING_ONE = threading.Lock()


def gate(store: str) -> Gate:
    """Return the gate before one store of this process."""
    with _MAKING_ONE:
        return _gate(store)


class LocalStore:
    """Files of this machine, or of a share that it mounts."""

    def walk(self, folder: str) -> Iterator[Entry]:
        root = _path(folder)

        def children(path: str) -> Iterable[tuple[str, bool]]:
            # A link to a folder is not followed: it may lead back.
            with os.scandir(path) as entries:
                return [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]

        for path in _walk(str(root), children):
            # Neither pipes nor links to folders.
            if os.path.isfile(path) or not os.path.exists(path):
                yield _local_entry(path, os.path.relpath(path, root))

    def glob(self, pattern: str) -> Iterator[Entry]:
        path = pattern.removeprefix(LOCAL)
        root = glob_root(path)
        for found in sorted(fsspec.filesystem("file").glob(path)):
            if os.path.isfile(found):
                yield _local_entry(found, found[len(root) :].lstrip("/"))

    def find(self, uri: str) -> Entry | None:
        path = _path(uri)
        return _local_entry(str(path), path.name) if path.exists() and not path.is_dir() else None

    def is_folder(self, uri: str) -> bool:
        return _path(uri).is_dir()

    def names(self, folder: str) -> list[str]:
        return os.listdir(_path(folder))

    def get(self, uri: str, max_bytes: int | None, *, versioned: bool) -> Blob:
        # Opening a pipe would wait for ever.
        with open(_path(uri), "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError("not a regular file")
            check_size(found.st_size, max_bytes)
            return Blob(file.read(), _local_version(found))

    def tail(self, uri: str, n_bytes: int) -> bytes:
        with open(_path(uri), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - n_bytes))
            return file.read()

    def create(self, uri: str, data: bytes) -> bool:
        path = _path(uri)
        if path.exists():
            return False
        temporary = _write_temporary(path, data)
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return True

    def put(self, uri: str, data: bytes) -> None:
        path = _path(uri)
        temporary = _write_temporary(path, data)
        try:
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def remove(self, uri: str) -> None:
        _path(uri).unlink()

    def may_pass(self, error: BaseException) -> bool:
        return False

    def refuses_us(self, error: BaseException) -> bool:
        return False


class FsspecStore:
    """Any store that fsspec opens, by what all of its filesystems have in common.

    Parameters
    ----------
    filesystem : Any
        An fsspec filesystem.
    is_transient : Callable[[BaseException], bool]
        Which of its errors may pass.
    name : str
        What this process calls the store; requests to one store share a gate.
    """

    def __init__(self, filesystem: Any, is_transient: Callable[[BaseException], bool], name: str) -> None:
        self._filesystem = filesystem
        self._is_transient = is_transient
        self._gate = gate(name)

    def walk(self, folder: str) -> Iterator[Entry]:
        root = self._path(folder)
        infos: dict[str, dict[str, Any]] = {}

        def children(path: str) -> Iterable[tuple[str, bool]]:
            found = {info["name"]: info for info in self._ask("ls", path, detail=True)}
            infos.update((name, info) for name, info in found.items() if info["type"] == "file")
            return [(name, info["type"] == "directory") for name, info in found.items() if name != path]

        for path in _walk(root, children):
            yield self._entry(infos.pop(path), path[len(root) :].lstrip("/"))

    def glob(self, pattern: str) -> Iterator[Entry]:
        path = self._path(pattern)
        root = glob_root(path)
        for name, info in sorted(self._ask("glob", path, detail=True).items()):
            if info["type"] == "file":
                yield self._entry(info, name[len(root) :].lstrip("/"))

    def find(self, uri: str) -> Entry | None:
        try:
            info = self._ask("info", self._path(uri))
        except FileNotFoundError:
            return None
        return self._entry(info, uri.rpartition("/")[2]) if info["type"] == "file" else None

    def is_folder(self, uri: str) -> bool:
        return bool(self._ask("isdir", self._path(uri)))

    def names(self, folder: str) -> list[str]:
        return [name.rstrip("/").rpartition("/")[2] for name in self._ask("ls", self._path(folder), detail=False)]

    def get(self, uri: str, max_bytes: int | None, *, versioned: bool) -> Blob:
        ends_at = time.monotonic() + patience_s()
        version = None
        if max_bytes is not None or versioned:
            info = self._ask("info", self._path(uri))
            check_size(info.get("size"), max_bytes)
            version = _info_version(info)
        with patience(max(0.0, ends_at - time.monotonic())):
            data: bytes = self._ask("cat_file", self._path(uri))
        check_size(len(data), max_bytes)  # Not every store tells the size before.
        return Blob(data, version)

    def tail(self, uri: str, n_bytes: int) -> bytes:
        data: bytes = self._ask("cat_file", self._path(uri), start=-n_bytes)
        return data

    def create(self, uri: str, data: bytes) -> bool:
        self._ask("pipe_file", self._path(uri), data, mode="create")
        return True

    def put(self, uri: str, data: bytes) -> None:
        self._ask("pipe_file", self._path(uri), data)

    def remove(self, uri: str) -> None:
        self._ask("rm_file", self._path(uri))

    def may_pass(self, error: BaseException) -> bool:
        return self._is_transient(error)

    def refuses_us(self, error: BaseException) -> bool:
        return False

    def _path(self, uri: str) -> str:
        path: str = self._filesystem._strip_protocol(uri)
        return path

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        filesystem = self._filesystem

        def call(seconds: float) -> Any:
            if isinstance(filesystem, AsyncFileSystem) and hasattr(filesystem, f"_{method}"):
                # So that what hangs is given up, which a thread cannot be.
                coroutine = getattr(filesystem, f"_{method}")
                return sync(filesystem.loop, coroutine, *arguments, timeout=seconds, **options)
            return getattr(filesystem, method)(*arguments, **options)

        try:
            return ask(self._gate, call, self._is_transient)
        except FileNotFoundError as error:
            # What fsspec's HTTP client says of every failure to ask for the size; the cause tells them apart.
            # Memory's is a KeyError.
            cause = error.__cause__
            is_gone = isinstance(cause, FileNotFoundError | LookupError) or getattr(cause, "status", 0) == 404
            if cause is None or is_gone:
                raise
            raise cause from None

    def _entry(self, info: dict[str, Any], relative_path: str) -> Entry:
        uri = self._filesystem.unstrip_protocol(info["name"])
        return Entry(uri, relative_path, info.get("size"), _info_version(info), _info_time(info))


def check_size(n_bytes: int | None, max_bytes: int | None) -> None:
    """Raise ObjectTooLarge where a file has more bytes than are taken."""
    if n_bytes is not None and max_bytes is not None and n_bytes > max_bytes:
        raise ObjectTooLarge(f"{n_bytes} bytes are over the limit of {max_bytes}")


def glob_root(pattern: str) -> str:
    """Return the folder that holds all that a pattern can match."""
    fixed = pattern[: min((pattern.index(sign) for sign in "*?[" if sign in pattern), default=len(pattern))]
    return fixed.rpartition("/")[0]


def _walk(root: str, children: Callable[[str], Iterable[tuple[str, bool]]]) -> Iterator[str]:
    """Yield the files below ``root`` in the order of their paths, holding the names of the open folders only."""

    def ordered(path: str) -> list[tuple[str, bool]]:
        found = ((name + "/" if is_folder else name, is_folder) for name, is_folder in children(path))
        return sorted(found, reverse=True)

    stack = ordered(root)
    while stack:
        path, is_folder = stack.pop()
        if is_folder:
            stack += ordered(path[:-1])
        else:
            yield path


@lru_cache(maxsize=1024)
def _gate(store: str) -> Gate:
    return Gate()


def _path(uri: str) -> Path:
    return Path(uri.removeprefix(LOCAL))


def _local_entry(path: str, relative_path: str) -> Entry:
    try:
        found = os.stat(path)
    except OSError:  # A link that leads nowhere: reading it will say so.
        return Entry(LOCAL + path, relative_path)
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return Entry(LOCAL + path, relative_path, found.st_size, _local_version(found), modified)


def _local_version(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}"


def _write_temporary(path: Path, data: bytes) -> Path:
    """Write and sync a hidden file beside ``path``; nothing is left of it where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from None
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _info_version(info: dict[str, Any]) -> str | None:
    """Return the first that a filesystem tells of: an ETag, or a time with the size."""
    for name in ("ETag", "etag", "md5Hash"):
        if info.get(name):
            return str(info[name]).strip('"')
    modified = _info_time(info)
    return None if modified is None else f"{info.get('size')}-{modified.isoformat()}"


def _info_time(info: dict[str, Any]) -> datetime | None:
    for name in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    return None
