"""One Parquet file of a folder, with errors that name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from heartbeat_core import storage
from heartbeat_core.errors import InputError
from heartbeat_core.formats.parquet import from_parquet, parquet_schema

if TYPE_CHECKING:
    import pyarrow as pa


def read_file(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file.

    Parameters
    ----------
    uri : str
    columns : list[str] | None
        Names of the columns to read; None reads all.

    Returns
    -------
    pa.Table
        With the key-value metadata of the file.

    Raises
    ------
    InputError
        The file is damaged, or lacks one of ``columns``.
    FileNotFoundError, StorageError
        As ``storage.read``.
    """
    with naming(uri):
        return from_parquet(storage.read(uri), columns)


def read_schema(uri: str) -> pa.Schema:
    """Return the columns of one Parquet file, with its key-value metadata; raises as ``read_file``."""
    with naming(uri):
        return parquet_schema(storage.read(uri))


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Put the name of a file before the InputErrors of the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{storage.display(uri)}: {error}") from None
