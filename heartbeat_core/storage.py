"""Files and objects by URI, through fsspec: list, read, create.

Any fsspec URL works. A path without a scheme is local and becomes ``file:///…``. What is written is created
whole or not at all, and never overwritten: the first writer wins. On disk that is an exclusive temporary
file, fsync, a hard link to the name and fsync of the folder; elsewhere the store's own conditional create.

Credentials come from each process's own environment (the standard AWS variables for ``s3://``); no filesystem
object is ever stored or sent.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from heartbeat_core.config import Limits
from heartbeat_core.errors import (
    InputError,
    ObjectTooLarge,
    RecordingError,
    RecordingNotFound,
    RecordingUnreadable,
    StorageError,
)
from heartbeat_core.recording import Recording, public_uri

READ_AHEAD = 16
"""Recordings that are read at the same time, ahead of the computing."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        # Two retry layers multiply; a listing cache would hide what other processes write.
        "config_kwargs": {
            "retries": {"mode": "standard", "total_max_attempts": 4},
            "connect_timeout": 5,
            "read_timeout": 20,
        },
        "use_listings_cache": False,
    }
}
_LOCAL = "file://"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file below a folder: its URI, its path relative to the folder, its size."""

    uri: str
    relative_path: str
    size_bytes: int | None


def to_uri(text: str) -> str:
    """Return ``text`` as a URI: local paths become absolute ``file://`` ones, the rest stays."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _LOCAL + os.path.abspath(os.path.expanduser(text))
    return _LOCAL + os.path.abspath(rest) if scheme in ("file", "local") else text


def join(folder: str, *names: str) -> str:
    """Return the URI of a name below a folder's URI."""
    return "/".join([folder.rstrip("/"), *names])


def display(uri: str) -> str:
    """Return a URI as a person would type it: local files as paths."""
    return uri.removeprefix(_LOCAL)


def is_local(uri: str) -> bool:
    """Tell whether a URI names this machine's own files."""
    return uri.startswith(_LOCAL)


def exists(uri: str) -> bool:
    """Tell whether a file or folder is there; raises StorageError where the store does not say."""
    filesystem, path = _open(uri)
    with _answering(uri):
        return bool(filesystem.exists(path))


def is_folder(uri: str) -> bool:
    """Tell whether a URI is a folder, or a prefix with objects below it; raises StorageError as ``exists``."""
    filesystem, path = _open(uri)
    with _answering(uri):
        return bool(filesystem.isdir(path))


def size(uri: str) -> int | None:
    """Return a file's size in bytes, None where it has none; raises StorageError as ``exists``."""
    filesystem, path = _open(uri)
    with _answering(uri):
        found: int | None = filesystem.size(path)
    return found


def expand_glob(pattern: str) -> list[Entry]:
    """Return the files that a URI with ``*``, ``?`` or ``[…]`` matches, in order.

    Relative paths start below the part of the pattern that holds no wildcard. Raises StorageError as ``exists``.
    """
    filesystem, path = _open(pattern)
    with _answering(pattern):
        found = filesystem.glob(path, detail=True)
    fixed = path[: min((path.index(sign) for sign in "*?[" if sign in path), default=len(path))]
    root = fixed.rpartition("/")[0]
    return _entries(filesystem, root, found.values())


def walk(folder: str) -> list[Entry]:
    """Return all files below a folder, in order of their paths.

    Raises:
        InputError: the folder, or one below it, may not be read.
    """
    filesystem, root = _open(folder)
    try:
        if is_local(folder):
            return sorted(_walk_local(Path(root)), key=lambda entry: entry.relative_path)
        return _entries(filesystem, root, filesystem.find(root, detail=True).values())
    except _store_errors() as error:
        where = getattr(error, "filename", None) or display(folder)
        raise InputError(f"{where}: cannot be listed: {_reason(error)}") from None


def read(uri: str) -> bytes:
    """Read a whole file or object.

    Raises:
        FileNotFoundError: it is not there.
        StorageError: it cannot be read.
    """
    filesystem, path = _open(uri)
    try:
        data: bytes = filesystem.cat_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(display(uri)) from None
    except _store_errors() as error:
        raise StorageError(f"{display(uri)}: cannot be read: {_reason(error)}") from None
    return data


def read_tail(uri: str, n_bytes: int) -> bytes:
    """Read at most the last ``n_bytes`` of a file.

    Raises:
        StorageError: it cannot be read, or is not there.
    """
    filesystem, path = _open(uri)
    try:
        data: bytes = filesystem.tail(path, n_bytes)
    except _store_errors() as error:
        raise StorageError(f"{display(uri)}: cannot be read back: {_reason(error)}") from None
    return data


def read_recording(recording: Recording, limits: Limits) -> bytes:
    """Read one recording whole.

    Raises:
        RecordingNotFound, RecordingUnreadable: the store does not give it.
        ObjectTooLarge: it has more bytes than the limit, and was not read.
    """
    shown = display(recording.public_uri)
    try:
        filesystem, path = _open(recording.uri)
        n_bytes = filesystem.size(path) if recording.size_bytes is None else recording.size_bytes
        if n_bytes is not None and n_bytes > limits.max_object_bytes:
            raise ObjectTooLarge(f"{shown}: {n_bytes} bytes are over the limit of {limits.max_object_bytes}")
        data: bytes = filesystem.cat_file(path)
    except FileNotFoundError as error:
        # What fsspec's HTTP client says of every failure to ask for the size; the cause tells them apart.
        cause = error.__cause__
        if isinstance(cause, _store_errors()) and getattr(cause, "status", 0) != 404:
            raise RecordingUnreadable(f"{shown}: {_reason(cause)}") from None
        raise RecordingNotFound(f"{shown}: not found") from None
    except (InputError, StorageError) as error:
        raise RecordingUnreadable(str(error)) from None
    except _store_errors(ValueError) as error:  # ValueError: a name that the client does not take
        raise RecordingUnreadable(f"{shown}: {_reason(error)}") from None
    return data


def read_recordings(
    recordings: Iterable[Recording], limits: Limits
) -> Iterator[tuple[Recording, bytes | RecordingError]]:
    """Yield each recording, in order, with its bytes or the named error that stands for them.

    A few are read ahead of the computing, side by side, which hides a store's latency.
    """

    def attempt(recording: Recording) -> tuple[Recording, bytes | RecordingError]:
        try:
            return recording, read_recording(recording, limits)
        except RecordingError as error:
            return recording, error

    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="read-ahead") as pool:
        pending = iter(recordings)
        queue = deque(pool.submit(attempt, one) for one in islice(pending, READ_AHEAD))
        while queue:
            future = queue.popleft()
            queue.extend(pool.submit(attempt, one) for one in islice(pending, 1))
            yield future.result()


def create(uri: str, data: bytes) -> bool:
    """Create a file with ``data`` unless it is there already; tells whether this call created it.

    It appears whole or not at all, and is on the disk or acknowledged by the store when this returns.

    Raises:
        StorageError: it can be neither created nor found there.
    """
    try:
        if is_local(uri):
            return _create_local(Path(display(uri)), data)
        filesystem, path = _open(uri)
        filesystem.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except _store_errors() as error:
        # Some stores answer a lost race with EINVAL: look before believing either.
        if isinstance(error, OSError) and error.errno == errno.EINVAL and exists(uri):
            return False
        raise StorageError(f"{display(uri)}: cannot be written: {_reason(error)}") from None
    return True


def list_names(folder: str) -> list[str]:
    """Return the names directly below a folder, in order; none where there is no folder.

    Raises:
        StorageError: the folder may not be read.
    """
    filesystem, path = _open(folder)
    try:
        return sorted(name.rstrip("/").rpartition("/")[2] for name in filesystem.ls(path, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except _store_errors() as error:
        raise StorageError(f"{display(folder)}: cannot be listed: {_reason(error)}") from None


def remove(uri: str) -> None:
    """Remove one file of ours that is no longer needed."""
    filesystem, path = _open(uri)
    with _answering(uri):
        filesystem.rm_file(path)


def check_writable(folder: str) -> None:
    """Create and remove a file in a folder, before the work whose result belongs there.

    Raises:
        StorageError: the folder cannot be written.
    """
    probe = join(folder, f".probe-{secrets.token_hex(8)}")
    create(probe, b"")
    remove(probe)


def _open(uri: str) -> tuple[Any, str]:
    if is_local(uri):
        # url_to_fs would take '::' in a file's name for fsspec's chain of URLs.
        return fsspec.filesystem("file"), display(uri)
    scheme = uri.partition("://")[0]
    try:
        filesystem, path = url_to_fs(uri, **_OPTIONS.get(scheme, {}))
    except (ValueError, ImportError) as error:
        known = ", ".join(sorted(name for name in fsspec.available_protocols() if len(name) < 8))
        raise InputError(f"{public_uri(uri)}: {_reason(error)} (schemes that fsspec knows: {known})") from None
    except _store_errors() as error:  # Some clients connect when they are made.
        raise StorageError(f"{public_uri(uri)}: {_reason(error)}") from None
    return filesystem, path


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Turn what a store's client raises, while the block asks it something, into StorageError."""
    try:
        yield
    except _store_errors() as error:
        raise StorageError(f"{display(public_uri(uri))}: {_reason(error)}") from None


def _entries(filesystem: Any, root: str, found: Iterable[dict[str, Any]]) -> list[Entry]:
    files = sorted((info["name"], info.get("size")) for info in found if info["type"] == "file")
    return [Entry(filesystem.unstrip_protocol(path), path[len(root) :].lstrip("/"), size) for path, size in files]


def _walk_local(root: Path) -> Iterator[Entry]:
    def stop(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(root, onerror=stop):
        for name in names:
            path = Path(folder, name)
            if path.exists() and not path.is_file():
                continue  # Opening a pipe would wait for ever.
            size = path.stat().st_size if path.exists() else None
            yield Entry(_LOCAL + str(path), str(path.relative_to(root)), size)


def _create_local(path: Path, data: bytes) -> bool:
    if path.exists():
        return False
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
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def _store_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what a store's client raises, and ``more``.

    s3fs translates the service's answers to OSError, not its client's own errors. Their packages are loaded when
    something has failed, since every process would pay for them.
    """
    import aiohttp
    from botocore.exceptions import BotoCoreError

    return OSError, BotoCoreError, aiohttp.ClientError, *more


def _reason(error: BaseException) -> str:
    import aiohttp

    # The texts of aiohttp's errors hold the URL with its query, which may be secret.
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP status {error.status}"
    if isinstance(error, aiohttp.InvalidURL):
        return "not a valid URL"
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return " ".join(text.split()) or type(error).__name__
