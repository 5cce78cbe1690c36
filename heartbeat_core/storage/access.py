"""Files and objects by URI: list, read, create.

Any fsspec URL works. A path without a scheme is local and becomes ``file:///…``. What is written by ``create`` is
whole or not there at all, and never overwritten: the first writer wins. On disk that is an exclusive temporary file,
fsync, a hard link to the name and fsync of the folder; elsewhere the store's own conditional create.

Credentials come from each process's own environment (the standard AWS variables for ``s3://``, or the names in
``S3Settings``); no filesystem object is ever stored or sent.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache

import fsspec
from fsspec.core import url_to_fs

from heartbeat_core.errors import InputError, StorageError
from heartbeat_core.settings import S3Settings
from heartbeat_core.storage import retry
from heartbeat_core.storage.stores import Entry, FsspecStore, LocalStore, Store
from heartbeat_core.storage.uris import display, is_local, join, public_uri

_S3 = "s3://"

PROBE_PREFIX = "_probe-"
"""Names of files that find out what a store does; one is left where the process dies meanwhile."""


@dataclass(frozen=True, slots=True)
class Access:
    """How stores are reached; only names, which may travel to workers.

    ``looks_first`` is for a store that ignores the condition of a conditional create.
    """

    s3: S3Settings = field(default_factory=S3Settings)
    looks_first: bool = False


FROM_ENVIRONMENT = Access()
_ACCESS: ContextVar[Access] = ContextVar("access", default=FROM_ENVIRONMENT)


@contextmanager
def using(access: Access, patience_s: float) -> Iterator[None]:
    """Reach stores so in the block, and ask them again for so long after errors that may pass."""
    token = _ACCESS.set(access)
    try:
        with retry.patience(patience_s):
            yield
    finally:
        _ACCESS.reset(token)


def exists(uri: str) -> bool:
    """Tell whether a file or folder is there; raises StorageError where the store does not say."""
    return find(uri) is not None or is_folder(uri)


def find(uri: str) -> Entry | None:
    """Return what is known of a file without reading it, None where there is none; raises as ``exists``."""
    with _answering(uri):
        return store_of(uri).find(uri)


def is_folder(uri: str) -> bool:
    """Tell whether a URI is a folder, or a prefix with objects below it; raises StorageError as ``exists``."""
    with _answering(uri):
        return store_of(uri).is_folder(uri)


def expand_glob(pattern: str) -> Iterator[Entry]:
    """Yield the files that a URI with ``*``, ``?`` or ``[…]`` matches.

    Relative paths start below the part of the pattern that holds no wildcard. Raises StorageError as ``exists``.
    """
    with _answering(pattern):
        yield from store_of(pattern).glob(pattern)


def walk(folder: str) -> Iterator[Entry]:
    """Yield all files below a folder, in an order that depends on nothing but what is there.

    Raises
    ------
    InputError
        The folder, or one below it, may not be read.
    """
    try:
        yield from store_of(folder).walk(folder)
    except store_errors() as error:
        where = getattr(error, "filename", None) or display(public_uri(folder))
        raise InputError(f"{where}: cannot be listed: {reason(error)}") from None


def read(uri: str) -> bytes:
    """Read a whole file or object.

    Raises
    ------
    FileNotFoundError
        It is not there.
    StorageError
        It cannot be read.
    """
    try:
        return store_of(uri).get(uri, None, versioned=False).data
    except FileNotFoundError:
        raise FileNotFoundError(display(public_uri(uri))) from None
    except store_errors() as error:
        raise StorageError(f"{display(public_uri(uri))}: cannot be read: {reason(error)}") from None


def read_tail(uri: str, n_bytes: int) -> bytes:
    """Read at most the last ``n_bytes`` of a file.

    Raises
    ------
    StorageError
        It cannot be read, or is not there.
    """
    try:
        return store_of(uri).tail(uri, n_bytes)
    except store_errors() as error:
        raise StorageError(f"{display(public_uri(uri))}: cannot be read back: {reason(error)}") from None


def create(uri: str, data: bytes) -> bool:
    """Create a file with ``data`` unless it is there already; tells whether this call created it.

    It appears whole or not at all, and is on the disk or acknowledged by the store when this returns. After a lost
    answer a writer meets its own file and is told False: who needs to know reads it.

    Raises
    ------
    StorageError
        It can be neither created nor found there.
    """
    store = store_of(uri)
    try:
        if _ACCESS.get().looks_first and store.find(uri) is not None:
            return False
        return store.create(uri, data)
    except FileExistsError:
        return False
    except store_errors() as error:
        # Some stores answer a lost race with EINVAL: look before believing either.
        if isinstance(error, OSError) and error.errno == errno.EINVAL and exists(uri):
            return False
        raise StorageError(f"{display(public_uri(uri))}: cannot be written: {reason(error)}") from None


def put(uri: str, data: bytes) -> None:
    """Write a file whole, over what is there; for what tells of the moment and is no result.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    try:
        store_of(uri).put(uri, data)
    except store_errors() as error:
        raise StorageError(f"{display(public_uri(uri))}: cannot be written: {reason(error)}") from None


def list_names(folder: str) -> list[str]:
    """Return the names directly below a folder, in order; none where there is no folder.

    Raises
    ------
    StorageError
        The folder may not be read.
    """
    try:
        return sorted(store_of(folder).names(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except store_errors() as error:
        raise StorageError(f"{display(public_uri(folder))}: cannot be listed: {reason(error)}") from None


def remove(uri: str) -> None:
    """Remove one file of ours that is no longer needed; that it is gone already is no error."""
    with _answering(uri):
        try:
            store_of(uri).remove(uri)
        except FileNotFoundError:
            return


def check_writable(folder: str) -> None:
    """Create and remove a file in a folder, before the work whose result belongs there.

    Raises
    ------
    StorageError
        The folder cannot be written.
    """
    probe = join(folder, f".probe-{secrets.token_hex(8)}")
    create(probe, b"")
    remove(probe)


def honours_conditions(folder: str) -> bool:
    """Tell whether the store of a folder lets the first writer win; some take the request and ignore the condition.

    Raises
    ------
    StorageError
        The folder cannot be written.
    """
    if is_local(folder):
        return True
    probe = join(folder, f"{PROBE_PREFIX}{secrets.token_hex(8)}")
    try:
        create(probe, b"first")
        return not create(probe, b"second") and read(probe) == b"first"
    finally:
        remove(probe)


def store_of(uri: str) -> Store:
    """Return the store that a URI lies in, as this process reaches it.

    Raises
    ------
    InputError
        Nothing knows the scheme.
    StorageError
        The store cannot be reached at all.
    """
    if is_local(uri):
        return _LOCAL_STORE
    try:
        if uri.startswith(_S3):
            with _MAKING_ONE:
                return _s3_store(_ACCESS.get().s3)
    except store_errors() as error:  # A profile that is not there.
        raise StorageError(f"{uri}: {reason(error)}") from None
    try:
        filesystem, _ = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        known = ", ".join(sorted(name for name in fsspec.available_protocols() if len(name) < 8))
        raise InputError(f"{public_uri(uri)}: {reason(error)} (schemes that fsspec knows: {known})") from None
    except store_errors() as error:  # Some clients connect when they are made.
        raise StorageError(f"{public_uri(uri)}: {reason(error)}") from None
    scheme, _, rest = public_uri(uri).partition("://")
    is_web = scheme in ("http", "https")
    return FsspecStore(filesystem, is_transient, f"{scheme} {rest.partition('/')[0]}" if is_web else scheme)


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request to a web server or another store may succeed later."""
    import aiohttp

    passing = (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, TimeoutError, ConnectionError)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientResponseError):
            return cause.status >= 500 or cause.status in (408, 429)
        if isinstance(cause, passing):
            return True
        cause = cause.__cause__
    return False


def store_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what a store's client raises, and ``more``.

    s3fs translates the service's answers to OSError, not its client's own errors. Their packages are loaded when
    something has failed, since every process would pay for them.
    """
    import aiohttp
    from botocore.exceptions import BotoCoreError

    return OSError, BotoCoreError, aiohttp.ClientError, *more


def reason(error: BaseException) -> str:
    """Return why a store's client failed, in one line and without what may be secret."""
    import aiohttp

    # The texts of aiohttp's errors hold the URL with its query, which may be secret.
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP status {error.status}"
    if isinstance(error, aiohttp.InvalidURL):
        return "not a valid URL"
    # So does fsspec's of what is not there.
    if isinstance(error, FileNotFoundError):
        return os.strerror(errno.ENOENT)
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return " ".join(text.split()) or type(error).__name__


_LOCAL_STORE = LocalStore()
# Threads that all begin with the same bucket would each make a store of their own.
_MAKING_ONE = threading.Lock()


@lru_cache(maxsize=8)
def _s3_store(settings: S3Settings) -> Store:
    # s3fs and botocore take half a second to load.
    from heartbeat_core.storage.s3 import S3Store

    return S3Store(settings)


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Turn what a store's client raises, while the block asks it something, into StorageError."""
    try:
        yield
    except store_errors() as error:
        raise StorageError(f"{display(public_uri(uri))}: {reason(error)}") from None
