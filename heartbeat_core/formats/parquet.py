"""Bytes to Arrow tables and back: Parquet parts, their footers, and the tables that users bring.

Nothing here opens a file; ``storage`` moves the bytes. Arrow's own thread pool is never started: the cores have their
workers, and a process that ends while the pool's threads do is aborted now and then (apache/arrow#34314).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heartbeat_core.errors import InputError

Table = pa.Table

FOOTER_TAIL_BYTES = 256 * 2**10
"""What is read of a part's end at once: a footer of all feature sets, 676 columns, takes 150 kB."""
_MAGIC = b"PAR1"

DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What Arrow raises over damaged bytes; it opens no file here, so that an OSError means them too."""


def to_parquet(table: pa.Table) -> bytes:
    """Return ``table`` as one Parquet file with one row group, zstd-compressed.

    Lists of floats do without a dictionary and without statistics, which would only cost time.
    """
    flat = [column.name for column in table.schema if not pa.types.is_list(column.type)]
    text = [column.name for column in table.schema if pa.types.is_string(column.type)]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=text,
        write_statistics=flat,
        row_group_size=max(1, table.num_rows),
        coerce_timestamps="us",
        write_page_checksum=True,
    )
    return sink.getvalue()


def from_parquet(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file.

    Raises
    ------
    InputError
        The bytes are not Parquet, are damaged, or lack a column that was asked for.
    """
    try:
        return _open_parquet(data, columns or ()).read(columns=columns, use_threads=False)
    except DAMAGED as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None


def iter_parquet_rows(data: bytes, columns: Sequence[str], batch_rows: int = 16_384) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one Parquet file as Python values, in the order of ``columns``, None where a cell is null.

    No more than ``batch_rows`` rows are decoded at a time. Damage late in the file is met after the rows before it.

    Raises
    ------
    InputError
        As ``from_parquet``; also a column that is there twice, or a value that Python cannot hold.
    """
    try:
        file = _open_parquet(data, columns)
        twice = sorted(name for name in columns if file.schema_arrow.names.count(name) > 1)
        if twice:
            raise InputError(f"two columns are called {twice[0]!r}")
        for batch in file.iter_batches(batch_size=batch_rows, columns=list(columns), use_threads=False):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except (*DAMAGED, ValueError, OverflowError) as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None


def _open_parquet(data: bytes, columns: Sequence[str]) -> pq.ParquetFile:
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, coerce_int96_timestamp_unit="us")
    missing = sorted(set(columns) - set(file.schema_arrow.names))
    if missing:
        raise InputError(f"no column {', '.join(missing)}")
    return file


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of tables of one schema, in order, with the metadata of the first."""
    return pa.concat_tables(tables)


def footer_length(tail: bytes) -> int:
    """Return how many bytes from the end the footer takes, its length and magic included.

    Raises
    ------
    InputError
        The bytes do not end as Parquet does.
    """
    if len(tail) < 8 or tail[-4:] != _MAGIC:
        raise InputError("not a Parquet file: it does not end with its magic bytes")
    return int.from_bytes(tail[-8:-4], "little") + 8


def footer_rows(tail: bytes) -> int:
    """Return the row count in a Parquet footer, given at least ``footer_length`` bytes from the file's end.

    Raises
    ------
    InputError
        The footer is damaged, or longer than the tail.
    """
    length = footer_length(tail)
    if length > len(tail):
        raise InputError(f"not a Parquet file: its footer takes {length} bytes, and {len(tail)} are there")
    try:
        return int(pq.read_metadata(pa.BufferReader(_MAGIC + tail[-length:])).num_rows)
    except DAMAGED as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())
