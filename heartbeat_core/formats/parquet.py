"""Bytes to Arrow tables and back: Parquet files and their footers.

Nothing here opens a file; ``storage`` moves the bytes. Arrow's thread pool is never started. The workers already use
all cores, and a process that ends while the pool still runs is sometimes aborted (apache/arrow#34314).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heartbeat_core.errors import InputError

Table = pa.Table

FOOTER_TAIL_BYTES = 512 * 2**10
"""Bytes that are read from the end of a file for its footer. That of the default features (1473) takes 430 kB."""
ROW_GROUP_BYTES = 32 * 2**20
"""Size of a row group in memory: some 75,000 predictions, or 800 recordings with their aligned frames."""
_MAGIC = b"PAR1"

DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
"""Errors that Arrow raises for damaged bytes. No file is opened here, so that an OSError means damage, too."""


class PartWriter:
    """Writes one Parquet file into memory, zstd-compressed, as rows come.

    Rows are held until they fill a row group, so that the memory is bounded by one row group and the compressed file.
    Lists of floats get no dictionary and no statistics, which would cost time and gain nothing. Single floats are not
    compressed: of a thousand features zstd saves nothing where a part has a hundred rows and 3 % of the file where it
    has many, and takes half the time of writing them and a quarter of that of reading them.

    Parameters
    ----------
    row_group_bytes : int
        Size of a row group in memory.
    """

    def __init__(self, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._row_group_bytes = row_group_bytes
        self._sink = io.BytesIO()
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []
        self._held_bytes = 0

    def add(self, table: pa.Table) -> None:
        """Add rows; all tables have the same schema, and the first one's metadata is written."""
        if self._writer is None:
            self._writer = _open_writer(self._sink, table.schema)
        self._held.append(table)
        self._held_bytes += table.nbytes
        if self._held_bytes >= self._row_group_bytes:
            self._write()

    def finish(self) -> bytes:
        """Return the whole file.

        Raises
        ------
        ValueError
            No table was added, so that the schema is not known.
        """
        if self._writer is None:
            raise ValueError("no table was added")
        if self._held:
            self._write()
        self._writer.close()
        return self._sink.getvalue()

    def _write(self) -> None:
        rows = pa.concat_tables(self._held)
        self._held, self._held_bytes = [], 0
        if self._writer is not None and rows.num_rows:
            n_groups = -(-rows.nbytes // self._row_group_bytes)
            self._writer.write_table(rows, row_group_size=-(-rows.num_rows // max(1, n_groups)))


def _open_writer(sink: io.BytesIO, schema: pa.Schema) -> pq.ParquetWriter:
    packed = [
        f"{column.name}.list.element" if pa.types.is_list(column.type) else column.name
        for column in schema
        if not pa.types.is_float32(column.type)
    ]
    return pq.ParquetWriter(
        sink,
        schema,
        compression=dict.fromkeys(packed, "zstd"),
        compression_level=dict.fromkeys(packed, 1),
        use_dictionary=[column.name for column in schema if pa.types.is_string(column.type)],
        write_statistics=[column.name for column in schema if not pa.types.is_list(column.type)],
        coerce_timestamps="us",
        write_page_checksum=True,
    )


def to_parquet(table: pa.Table) -> bytes:
    """Return ``table`` as one Parquet file, as ``PartWriter`` writes it."""
    writer = PartWriter()
    writer.add(table)
    return writer.finish()


def from_parquet(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file.

    Parameters
    ----------
    data : bytes
        The whole file.
    columns : list[str] | None
        The columns that are read, in this order; None reads all.

    Raises
    ------
    InputError
        The bytes are not Parquet, are damaged, or lack one of ``columns``.
    """
    try:
        found = _open_parquet(data).read(columns=columns, use_threads=False)
    except DAMAGED as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None
    if columns is not None and found.num_columns != len(columns):  # The names of a thousand columns take 2 ms.
        _check_columns(found.column_names, columns)
    return found


def parquet_schema(data: bytes) -> pa.Schema:
    """Return the columns of one Parquet file, with its key-value metadata.

    Raises
    ------
    InputError
        The bytes are not Parquet, or are damaged.
    """
    try:
        return _open_parquet(data).schema_arrow
    except DAMAGED as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None


def iter_parquet_rows(data: bytes, columns: Sequence[str], batch_rows: int = 16_384) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one Parquet file as Python values, in the order of ``columns``, None where a cell is null.

    At most ``batch_rows`` rows are decoded at a time, so that damage late in the file is found after the good rows.

    Parameters
    ----------
    data : bytes
        The whole file.
    columns : Sequence[str]
    batch_rows : int

    Raises
    ------
    InputError
        As ``from_parquet``. Also where two columns have one name, or a value is too large for Python's type.
    """
    try:
        file = _open_parquet(data)
        names = file.schema_arrow.names
        _check_columns(names, columns)
        twice = sorted(name for name in columns if names.count(name) > 1)
        if twice:
            raise InputError(f"two columns are called {twice[0]!r}")
        for batch in file.iter_batches(batch_size=batch_rows, columns=list(columns), use_threads=False):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except (*DAMAGED, ValueError, OverflowError) as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None


def _open_parquet(data: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, coerce_int96_timestamp_unit="us")


def _check_columns(names: Sequence[str], wanted: Sequence[str]) -> None:
    missing = sorted(set(wanted) - set(names))
    if missing:
        raise InputError(f"no column {', '.join(missing)}")


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of tables with the same schema, at least one, in order, with the metadata of the first."""
    return pa.concat_tables(tables)


def footer_length(tail: bytes) -> int:
    """Return the length of the footer at the end of a file in bytes, including its length field and magic bytes.

    Parameters
    ----------
    tail : bytes
        The end of the file, at least 8 bytes.

    Raises
    ------
    InputError
        The bytes do not end like a Parquet file.
    """
    if len(tail) < 8 or tail[-4:] != _MAGIC:
        raise InputError("not a Parquet file: it does not end with its magic bytes")
    return int.from_bytes(tail[-8:-4], "little") + 8


def footer_rows(tail: bytes) -> int:
    """Return the row count in a Parquet footer.

    Parameters
    ----------
    tail : bytes
        At least the last ``footer_length`` bytes of the file.

    Raises
    ------
    InputError
        The footer is damaged, or longer than the tail.
    """
    return footer_facts(tail).n_rows


@dataclass(frozen=True, slots=True)
class FooterFacts:
    """What a Parquet footer says of its file.

    Attributes
    ----------
    n_rows : int
    n_columns : int
        Leaf columns: a list counts as one.
    metadata : dict[str, str]
        Its key-value entries, without Arrow's own schema.
    """

    n_rows: int
    n_columns: int
    metadata: dict[str, str]


def footer_facts(tail: bytes) -> FooterFacts:
    """Return what a Parquet footer says of its file; takes and raises as ``footer_rows``."""
    length = footer_length(tail)
    if length > len(tail):
        raise InputError(f"not a Parquet file: its footer takes {length} bytes, and only {len(tail)} were read")
    try:
        found = pq.read_metadata(pa.BufferReader(_MAGIC + tail[-length:]))
        entries = {key.decode(): value.decode() for key, value in (found.metadata or {}).items()}
    except DAMAGED as error:
        raise InputError(f"not a Parquet file: {one_line(error)}") from None
    entries.pop("ARROW:schema", None)
    return FooterFacts(found.num_rows, found.num_columns, entries)


def one_line(error: Exception) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split())
