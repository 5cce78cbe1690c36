"""Bytes to Arrow tables and back: Parquet files and their footers.

Nothing here opens a file; ``storage`` moves the bytes. Arrow's thread pool is never started. The workers already use
all cores, and a process that ends while the pool still runs is sometimes aborted (apache/arrow#34314).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heartbeat_core.errors import InputError

Table = pa.Table

FOOTER_TAIL_BYTES = 512 * 2**10
"""Bytes that are read from the end of a file for its footer. That of the default features (1464) takes 420 kB."""
_MAGIC = b"PAR1"

DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
"""Errors that Arrow raises for damaged bytes. No file is opened here, so that an OSError means damage, too."""


def to_parquet(table: pa.Table) -> bytes:
    """Return ``table`` as one Parquet file with one row group, zstd-compressed.

    Lists of floats get no dictionary and no statistics, which would cost time and gain nothing.
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
        The bytes are not Parquet, are damaged, or lack one of ``columns``.
    """
    try:
        return _open_parquet(data, columns or ()).read(columns=columns, use_threads=False)
    except DAMAGED as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None


def parquet_schema(data: bytes) -> pa.Schema:
    """Return the columns of one Parquet file, with its key-value metadata; raises as ``from_parquet``."""
    try:
        return _open_parquet(data, ()).schema_arrow
    except DAMAGED as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None


def iter_parquet_rows(data: bytes, columns: Sequence[str], batch_rows: int = 16_384) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one Parquet file as Python values, in the order of ``columns``, None where a cell is null.

    At most ``batch_rows`` rows are decoded at a time, so that damage late in the file is found after the good rows.

    Raises
    ------
    InputError
        As ``from_parquet``. Also where two columns have one name, or a value is too large for Python's type.
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
    """Return the rows of tables with the same schema, in order, with the metadata of the first."""
    return pa.concat_tables(tables)


def footer_length(tail: bytes) -> int:
    """Return the length of the footer at the end of a file, including its length field and magic bytes.

    Raises
    ------
    InputError
        The bytes do not end like a Parquet file.
    """
    if len(tail) < 8 or tail[-4:] != _MAGIC:
        raise InputError("not a Parquet file: it does not end with its magic bytes")
    return int.from_bytes(tail[-8:-4], "little") + 8


def footer_rows(tail: bytes) -> int:
    """Return the row count in a Parquet footer, from at least the last ``footer_length`` bytes of the file.

    Raises
    ------
    InputError
        The footer is damaged, or longer than the tail.
    """
    length = footer_length(tail)
    if length > len(tail):
        raise InputError(f"not a Parquet file: its footer takes {length} bytes, and only {len(tail)} were read")
    try:
        return int(pq.read_metadata(pa.BufferReader(_MAGIC + tail[-length:])).num_rows)
    except DAMAGED as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split())
