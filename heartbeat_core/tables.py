"""Bytes to Arrow tables and back: Parquet parts, their footers, and the tables that users bring.

Nothing here opens a file; ``storage`` moves the bytes.
"""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from heartbeat_core.errors import InputError

TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")
"""Endings of the manifests and label files that are read."""

Table = pa.Table

FOOTER_TAIL_BYTES = 64 * 2**10
_MAGIC = b"PAR1"


def to_parquet(table: pa.Table) -> bytes:
    """Return ``table`` as one Parquet file with one row group, zstd-compressed.

    Lists of floats do without a dictionary, which would only cost time; text keeps it.
    """
    text = [column.name for column in table.schema if pa.types.is_string(column.type)]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=text,
        row_group_size=max(1, table.num_rows),
        coerce_timestamps="us",
    )
    return sink.getvalue()


def from_parquet(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file.

    Raises:
        InputError: the bytes are not Parquet.
    """
    try:
        return pq.ParquetFile(pa.BufferReader(data)).read(columns=columns)
    except pa.ArrowInvalid as error:
        raise InputError(f"not a Parquet file: {error}") from None


def footer_length(tail: bytes) -> int:
    """Return how many bytes from the end the footer takes, its length and magic included.

    Raises:
        InputError: the bytes do not end as Parquet does.
    """
    if len(tail) < 8 or tail[-4:] != _MAGIC:
        raise InputError("not a Parquet file: it does not end with its magic bytes")
    return int.from_bytes(tail[-8:-4], "little") + 8


def footer_rows(tail: bytes) -> int:
    """Return the row count in a Parquet footer, given at least ``footer_length`` bytes from the file's end."""
    footer = tail[-footer_length(tail) :]
    return int(pq.read_metadata(pa.BufferReader(_MAGIC + footer)).num_rows)


def read_records(data: bytes, suffix: str, source: str) -> dict[str, list[str | None]]:
    """Read a user's table (``.csv``, ``.parquet`` or ``.jsonl``) as columns of text; empty cells are None.

    Raises:
        InputError: the table cannot be read; names ``source``.
    """
    try:
        if suffix == ".parquet":
            table = pq.ParquetFile(pa.BufferReader(data)).read()
        elif suffix == ".jsonl":
            table = pyarrow.json.read_json(pa.BufferReader(data))
        else:
            table = _read_csv(data)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source}: cannot be read as a {suffix} table: {reason}") from None
    return {name: _as_text(table.column(name)) for name in dict.fromkeys(table.column_names)}


def _read_csv(data: bytes) -> pa.Table:
    """Read all columns as text: a patient called 007 keeps its zeros."""
    header = data.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].strip()
    if not header:
        raise pa.ArrowInvalid("the first line, which names the columns, is empty")
    names = pyarrow.csv.read_csv(pa.BufferReader(header + b"\n")).column_names
    return pyarrow.csv.read_csv(
        pa.BufferReader(data),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def _as_text(column: pa.ChunkedArray) -> list[str | None]:
    return [None if value is None or value == "" else str(value) for value in column.to_pylist()]
