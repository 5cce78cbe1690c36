"""What a store can do, and the store for everything that fsspec opens. ``local`` and ``s3`` have the two others.

A store moves bytes and raises what its client raises. The rest of the project calls ``storage``, which turns that into
the project's own errors. Remote stores repeat a request after a transient error (``retry``).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from heartbeat_core.errors import ObjectTooLarge
from heartbeat_core.storage.failures import is_transient
from heartbeat_core.storage.retry import Gate, ask, patience, patience_s

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its URI, its path relative to what was listed, and what the store says of it.

    Attributes
    ----------
    uri : str
    relative_path : str
        Below what was listed; of ``Store.find``, the name alone.
    size_bytes : int | None
        None where the store says nothing; so for ``version`` and ``modified``.
    version : str | None
        Changes when the content does (an ETag, or size and time).
    modified : datetime | None
        When the content was last modified, with a time zone.
    is_special : bool
        It cannot be read as a file: a FIFO, a socket or a device.
    is_unlisted : bool
        A folder below what was listed that this process may not read; its relative path ends in a slash.
    """

    uri: str
    relative_path: str
    size_bytes: int | None = None
    version: str | None = None
    modified: datetime | None = None
    is_special: bool = False
    is_unlisted: bool = False


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of a whole file, and the version that was read."""

    data: bytes
    version: str | None


class Store(Protocol):
    """What a store can do. Every URI is a whole one."""

    def walk(self, folder: str) -> Iterator[Entry]:
        """Yield all files below a folder."""

    def glob(self, pattern: str) -> Iterator[Entry]:
        """Yield the files that match. Relative paths start below the last folder before the first wildcard."""

    def find(self, uri: str) -> Entry | None:
        """Return what the store says of one file, None where there is no such file."""

    def is_folder(self, uri: str) -> bool:
        """Tell whether a URI is a folder, or a prefix of objects."""

    def names(self, folder: str) -> list[str]:
        """Return the names directly below a folder; FileNotFoundError where there is no such folder."""

    def get(self, uri: str, max_bytes: int | None, *, versioned: bool) -> Blob:
        """Read a whole file.

        Parameters
        ----------
        uri : str
        max_bytes : int | None
            The limit on its size; None for no limit.
        versioned : bool
            Ask for its version, too; without, it may be None.

        Raises
        ------
        ObjectTooLarge
            The file has more bytes than the limit.
        """

    def tail(self, uri: str, n_bytes: int) -> bytes:
        """Read at most the last bytes of a file."""

    def create(self, uri: str, data: bytes) -> bool:
        """Create a whole file unless it exists; tells whether this call did.

        FileExistsError where the store says that the file exists, and it was not looked for.
        """

    def put(self, uri: str, data: bytes) -> None:
        """Write a whole file, over any that exists."""

    def remove(self, uri: str) -> None:
        """Remove one file."""

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether the same request may succeed later."""

    def is_about_credentials(self, error: BaseException) -> bool:
        """Tell whether the store refuses the credentials of this process, whatever the request is."""


_making_gate = threading.Lock()


def gate(store: str) -> Gate:
    """Return the gate that all requests of this process to one store pass through."""
    with _making_gate:
        return _gate(store)


class FsspecStore:
    """Any store that fsspec opens; uses only what all of its filesystems have in common.

    Parameters
    ----------
    filesystem : Any
        An fsspec filesystem.
    name : str
        What this process calls the store. Requests to stores of one name share a gate.
    """

    def __init__(self, filesystem: Any, name: str) -> None:
        self._filesystem = filesystem
        self._gate = gate(name)

    def walk(self, folder: str) -> Iterator[Entry]:
        root = self._path(folder)
        infos: dict[str, dict[str, Any]] = {}

        def children(path: str) -> Iterable[tuple[str, bool]]:
            found = {info["name"]: info for info in self._ask("ls", path, detail=True)}
            infos.update((name, info) for name, info in found.items() if info["type"] != "directory")
            return [(name, info["type"] == "directory") for name, info in found.items() if name != path]

        for path in walk_files(root, children):
            yield self._entry(infos.pop(path), path[len(root) :].lstrip("/"))

    def glob(self, pattern: str) -> Iterator[Entry]:
        path = self._path(pattern)
        root = glob_root(path)
        for name, info in sorted(self._ask("glob", path, detail=True).items()):
            if info["type"] != "directory":
                yield self._entry(info, name[len(root) :].lstrip("/"))

    def find(self, uri: str) -> Entry | None:
        try:
            info = self._ask("info", self._path(uri))
        except FileNotFoundError:
            return None
        return self._entry(info, uri.rpartition("/")[2]) if info["type"] != "directory" else None

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
        check_size(len(data), max_bytes)  # Not every store tells the size beforehand.
        return Blob(data, version)

    def tail(self, uri: str, n_bytes: int) -> bytes:
        data: bytes = self._ask("cat_file", self._path(uri), start=-n_bytes)
        return data

    def create(self, uri: str, data: bytes) -> bool:
        try:
            self._ask("pipe_file", self._path(uri), data, mode="create")
        except FileExistsError:
            # Some filesystems keep listings, and one from before the other writer hides its file.
            self._filesystem.invalidate_cache()
            raise
        return True

    def put(self, uri: str, data: bytes) -> None:
        self._ask("pipe_file", self._path(uri), data)

    def remove(self, uri: str) -> None:
        self._ask("rm_file", self._path(uri))

    def is_transient(self, error: BaseException) -> bool:
        return is_transient(error)

    def is_about_credentials(self, error: BaseException) -> bool:
        return False

    def _path(self, uri: str) -> str:
        path: str = self._filesystem._strip_protocol(uri)
        return path

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        from fsspec.asyn import AsyncFileSystem, sync  # Loaded here because local files do without it.

        filesystem = self._filesystem

        def call(seconds: float) -> Any:
            if isinstance(filesystem, AsyncFileSystem) and hasattr(filesystem, f"_{method}"):
                # A coroutine that hangs can be given up, and a thread cannot.
                coroutine = getattr(filesystem, f"_{method}")
                return sync(filesystem.loop, coroutine, *arguments, timeout=seconds, **options)
            return getattr(filesystem, method)(*arguments, **options)

        try:
            return ask(self._gate, call, is_transient)
        except FileNotFoundError as error:
            # fsspec's HTTP client raises this for every failure to find out a size: only the cause tells what happened.
            # The cause that the filesystem in memory gives is a KeyError.
            cause = error.__cause__
            is_gone = isinstance(cause, FileNotFoundError | LookupError) or getattr(cause, "status", 0) == 404
            if cause is None or is_gone:
                raise
            raise cause from None

    def _entry(self, info: dict[str, Any], relative_path: str) -> Entry:
        uri = self._filesystem.unstrip_protocol(info["name"])
        # A link may lead to a file: reading it will tell.
        is_special = info["type"] not in ("file", "link")
        return Entry(uri, relative_path, info.get("size"), _info_version(info), _info_time(info), is_special)


def check_size(n_bytes: int | None, max_bytes: int | None) -> None:
    """Raise ObjectTooLarge where a file has more bytes than the limit."""
    if n_bytes is not None and max_bytes is not None and n_bytes > max_bytes:
        raise ObjectTooLarge(f"{n_bytes} bytes are over the limit of {max_bytes}")


def glob_root(pattern: str) -> str:
    """Return the last folder of a pattern before its first wildcard."""
    fixed = pattern[: min((pattern.index(sign) for sign in "*?[" if sign in pattern), default=len(pattern))]
    return fixed.rpartition("/")[0]


def glob_matcher(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """Return a function that tells whether a path matches a glob; ValueError where ``**`` is part of a name."""
    from fsspec.utils import glob_translate  # Loaded here because paths without wildcards do without it.

    return re.compile(glob_translate(pattern)).match


def walk_files(root: str, children: Callable[[str], Iterable[tuple[str, bool]]]) -> Iterator[str]:
    """Yield the files below ``root`` in the order of their paths, holding only the names of the folders on the way.

    ``children`` gives the paths in a folder, and whether each is a folder. It is called when the folder's turn comes.
    """

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


def _info_version(info: dict[str, Any]) -> str | None:
    """Return an ETag where the filesystem gives one, else the size with the time where it gives that."""
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
