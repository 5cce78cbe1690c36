"""Files and objects by URI: list, read, create.

Any fsspec URL works. A path without a scheme is local and becomes ``file:///…``. ``create`` writes a whole file or
none, and never overwrites one: the first writer wins. How depends on the store: see ``local``, ``s3`` and ``stores``.

Credentials come from the environment of each process (the standard AWS variables for ``s3://``, or the names in
``S3Settings``). No filesystem object is ever stored or sent.
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
from typing import TYPE_CHECKING

from heartbeat_core.errors import InputError, StorageError, StoreUnavailable, UsageError
from heartbeat_core.settings import S3Settings
from heartbeat_core.storage import retry
from heartbeat_core.storage.failures import is_transient, reason, store_errors
from heartbeat_core.storage.local import LocalStore
from heartbeat_core.storage.stores import Entry, FsspecStore, Store
from heartbeat_core.storage.uris import display, is_local, join, public_uri

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_S3 = "s3://"
_ATTEMPTS = 5
"""How often a request to S3 is sent for a library that opens files itself."""

PROBE_PREFIX = "_probe-"
"""Beginning of the names of files that test a store. One stays behind where the process dies during the test."""


@dataclass(frozen=True, slots=True)
class Access:
    """How stores are reached. It contains only names and no secrets, so that it may be sent to workers.

    Attributes
    ----------
    s3 : S3Settings
    looks_first : bool
        Makes ``create`` look for the file first, for a store that ignores conditions.
    """

    s3: S3Settings = field(default_factory=S3Settings)
    looks_first: bool = False


FROM_ENVIRONMENT = Access()
_ACCESS: ContextVar[Access] = ContextVar("access", default=FROM_ENVIRONMENT)


@contextmanager
def using(access: Access, patience_s: float) -> Iterator[None]:
    """Use ``access`` in the block, and repeat requests for ``patience_s`` after transient errors."""
    token = _ACCESS.set(access)
    try:
        with retry.patience(patience_s):
            yield
    finally:
        _ACCESS.reset(token)


@contextmanager
def refusals_as(kind: type[UsageError]) -> Iterator[None]:
    """Turn the StorageError of a store that refuses a request into ``kind``: the person has to change something.

    The error of a store that does not answer stays as it is.
    """
    try:
        yield
    except StoreUnavailable:
        raise
    except StorageError as error:
        raise kind(str(error)) from None


def exists(uri: str) -> bool:
    """Tell whether a file or folder exists; raises StorageError where the store does not say."""
    return find(uri) is not None or is_folder(uri)


def find(uri: str) -> Entry | None:
    """Return what the store says of a file, None where there is no such file; raises as ``exists``."""
    with _as_storage_errors(uri):
        return store_of(uri).find(uri)


def describe(uri: str, relative_path: str) -> Entry:
    """Return what can be said of a file without asking a remote store: of a local one its size, version and time.

    It is no error if there is no such file: then the entry holds its names alone.
    """
    return _LOCAL_STORE.describe(uri, relative_path) if is_local(uri) else Entry(public_uri(uri), relative_path)


def is_folder(uri: str) -> bool:
    """Tell whether a URI is a folder, or a prefix of objects; raises as ``exists``."""
    with _as_storage_errors(uri):
        return store_of(uri).is_folder(uri)


def expand_glob(pattern: str) -> Iterator[Entry]:
    """Yield the files that a URI with ``*``, ``?`` or ``[…]`` matches.

    Relative paths start below the last folder of the pattern before its first wildcard.

    Raises
    ------
    InputError
        The pattern is not a glob.
    StorageError
        The store does not answer.
    """
    try:
        with _as_storage_errors(pattern):
            yield from store_of(pattern).glob(pattern)
    except ValueError as error:
        raise InputError(f"{display(public_uri(pattern))}: {error}") from None


def walk(folder: str, *, with_unlisted: bool = False) -> Iterator[Entry]:
    """Yield all files below a folder, in an order that depends on the files alone.

    Parameters
    ----------
    folder : str
    with_unlisted : bool
        Yield a folder below it that this process may not read as an entry, ``is_unlisted``, instead of an error.

    Raises
    ------
    InputError
        The folder, or a folder below it, cannot be read.
    StoreUnavailable
        The store does not answer.
    """
    try:
        for entry in store_of(folder).walk(folder):
            if entry.is_unlisted and not with_unlisted:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), display(entry.uri))
            yield entry
    except store_errors() as error:
        if store_of(folder).is_transient(error):
            raise _storage_error(folder, "cannot be listed: ", error) from None
        where = getattr(error, "filename", None) or display(public_uri(folder))
        raise InputError(f"{where}: cannot be listed: {reason(error)}") from None


def read(uri: str) -> bytes:
    """Read a whole file or object.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    StorageError
        The file cannot be read.
    """
    try:
        return store_of(uri).get(uri, None, versioned=False).data
    except FileNotFoundError:
        raise FileNotFoundError(display(public_uri(uri))) from None
    except store_errors() as error:
        raise _storage_error(uri, "cannot be read: ", error) from None


def read_tail(uri: str, n_bytes: int) -> bytes:
    """Read at most the last ``n_bytes`` of a file.

    Raises
    ------
    StorageError
        There is no such file, or it cannot be read.
    """
    try:
        return store_of(uri).tail(uri, n_bytes)
    except store_errors() as error:
        raise _storage_error(uri, "cannot be read back: ", error) from None


def create(uri: str, data: bytes) -> bool:
    """Create a file with ``data`` unless it exists; tells whether this call created it.

    The file appears whole or not at all. It is on the disk, or acknowledged by the store, when this returns. Where the
    store's answer got lost, the second attempt finds the file of the first, and the call returns False. A caller that
    has to know whose file it is reads it.

    Raises
    ------
    StorageError
        The file does not exist and cannot be created, also where the store says that it exists.
    """
    for _ in range(2):
        try:
            return _try_to_create(uri, data)
        except FileExistsError:
            # A store's word is not believed before the file is seen.
            if exists(uri):
                return False
        # Another writer may have removed the file meanwhile, so that the store is asked once more.
    raise StorageError(
        f"{display(public_uri(uri))}: cannot be written: the store says that it exists, and there is no such file"
    )


def _try_to_create(uri: str, data: bytes) -> bool:
    """Create a file as ``create``; FileExistsError where the store says that it exists."""
    store = store_of(uri)
    try:
        if _ACCESS.get().looks_first and store.find(uri) is not None:
            return False
        return store.create(uri, data)
    except FileExistsError:
        raise
    except store_errors() as error:
        # Some stores answer EINVAL where another writer was first: look whether the file exists.
        if isinstance(error, OSError) and error.errno == errno.EINVAL and exists(uri):
            return False
        raise _storage_error(uri, "cannot be written: ", error) from None


def put(uri: str, data: bytes) -> None:
    """Write a whole file, over any that exists. It is meant for the state of a job, and not for its results.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    try:
        store_of(uri).put(uri, data)
    except store_errors() as error:
        raise _storage_error(uri, "cannot be written: ", error) from None


def list_names(folder: str) -> list[str]:
    """Return the names directly below a folder, in order; none where there is no such folder.

    Raises
    ------
    StorageError
        The folder cannot be read.
    """
    try:
        return sorted(store_of(folder).names(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except store_errors() as error:
        raise _storage_error(folder, "cannot be listed: ", error) from None


def list_parts(folder: str) -> list[str]:
    """Return the names of the Parquet files in a folder, in order; raises as ``list_names``.

    A writer that was killed may have left temporary files, which are not among them.
    """
    return [name for name in list_names(folder) if name.endswith(".parquet")]


def part_uris(folder: str) -> list[str]:
    """Return the URIs of the Parquet files in a folder, in order; raises as ``list_names``."""
    return [join(folder, name) for name in list_parts(folder)]


def remove(uri: str) -> None:
    """Remove one file of our own. It is no error if the file does not exist."""
    with _as_storage_errors(uri):
        try:
            store_of(uri).remove(uri)
        except FileNotFoundError:
            return


def check_writable(folder: str) -> None:
    """Check that a folder can be written to, by creating and removing a file there.

    Raises
    ------
    StorageError
        The folder cannot be written to.
    """
    probe = join(folder, f".probe-{secrets.token_hex(8)}")
    create(probe, b"")
    remove(probe)


def honours_conditions(folder: str) -> bool:
    """Tell whether the store of a folder obeys a conditional create; some stores ignore the condition.

    Raises
    ------
    StorageError
        The folder cannot be written to.
    """
    if is_local(folder):
        return True
    probe = join(folder, f"{PROBE_PREFIX}{secrets.token_hex(8)}")
    create(probe, b"first")
    try:
        return not create(probe, b"second") and read(probe) == b"first"
    finally:
        remove(probe)


def store_of(uri: str) -> Store:
    """Return the store that a URI lies in.

    Raises
    ------
    InputError
        fsspec does not know the scheme.
    StorageError
        The store cannot be reached.
    """
    if is_local(uri):
        return _LOCAL_STORE
    try:
        if uri.startswith(_S3):
            with _making_s3_store:
                return _s3_store(_ACCESS.get().s3)
    except store_errors() as error:  # The profile does not exist, for example.
        raise StorageError(f"{uri}: {reason(error)}") from None
    import fsspec  # Loaded here because local files do without it.

    try:
        filesystem, _ = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        known = ", ".join(sorted(name for name in fsspec.available_protocols() if len(name) < 8))
        raise InputError(f"{public_uri(uri)}: {reason(error)} (schemes that fsspec knows: {known})") from None
    except store_errors() as error:  # Some clients connect when they are made.
        kind = StoreUnavailable if is_transient(error) else StorageError
        raise kind(f"{public_uri(uri)}: {reason(error)}") from None
    scheme, _, rest = public_uri(uri).partition("://")
    is_web = scheme in ("http", "https")
    return FsspecStore(filesystem, f"{scheme} {rest.partition('/')[0]}" if is_web else scheme)


def filesystem_of(uri: str) -> AbstractFileSystem | None:
    """Return the fsspec filesystem of a URI, for a library that opens files itself; None for local files.

    Nothing here repeats its requests, so that of S3 does.

    Raises
    ------
    InputError, StorageError
        As ``store_of``.
    """
    if is_local(uri):
        return None
    store_of(uri)  # Raises where there is no such store.
    # Imported here because local files do without them.
    if not uri.startswith(_S3):
        import fsspec

        return fsspec.core.url_to_fs(uri)[0]
    from heartbeat_core.storage.s3 import make_filesystem

    return make_filesystem(_ACCESS.get().s3, _ATTEMPTS)


_LOCAL_STORE = LocalStore()
# Without a lock, threads that begin at the same time would each make a store for the same bucket.
_making_s3_store = threading.Lock()


@lru_cache(maxsize=8)
def _s3_store(settings: S3Settings) -> Store:
    # s3fs and botocore take half a second to load.
    from heartbeat_core.storage.s3 import S3Store

    return S3Store(settings)


def _storage_error(uri: str, failed: str, error: BaseException) -> StorageError:
    kind = StoreUnavailable if store_of(uri).is_transient(error) else StorageError
    return kind(f"{display(public_uri(uri))}: {failed}{reason(error)}")


@contextmanager
def _as_storage_errors(uri: str) -> Iterator[None]:
    """Turn what a store's client raises in the block into StorageError."""
    try:
        yield
    except store_errors() as error:
        raise _storage_error(uri, "", error) from None
