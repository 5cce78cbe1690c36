"""Python values and NumPy arrays to Arrow columns.

The columns are made from buffers. ``pyarrow.array`` would be simpler, but it loads pandas where that is installed,
which costs each process a quarter of a second. Buffers also avoid a Python object for each value of a list of floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FLOATS = pa.list_(pa.field("element", pa.float32(), nullable=False))
"""A list of floats, none of which is null."""
TEXTS = pa.list_(pa.field("element", pa.string()))
"""A list of texts, each of which may be null."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def column(values: Sequence[Any] | NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return values as one column.

    Parameters
    ----------
    values : Sequence[Any] | ndarray
        [n]; None is null. In an array, NaN stays NaN.
    kind : pyarrow.DataType
        Text, a boolean, an integer, a float, or a timestamp in µs, whose values are aware datetimes.

    Raises
    ------
    OverflowError
        An integer is out of the range of its type.
    UnicodeEncodeError
        A text cannot be encoded in UTF-8.
    """
    if isinstance(values, np.ndarray) and pa.types.is_floating(kind):
        buffer = pa.py_buffer(np.ascontiguousarray(values, kind.to_pandas_dtype()))
        return pa.Array.from_buffers(kind, len(values), [None, buffer])
    missing = np.array([value is None for value in values], dtype=bool)
    buffers = _buffers([_empty(kind) if value is None else value for value in values], kind)
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    return pa.Array.from_buffers(kind, len(values), [validity, *buffers])


def list_column(rows: Sequence[NDArray[np.float32]]) -> pa.ListArray:
    """Return rows of floats as one column of ``FLOATS``, without a Python object for each value.

    Parameters
    ----------
    rows : Sequence[ndarray]
        n arrays [n_i] float32.

    Raises
    ------
    OverflowError
        The rows have 2**31 values or more.
    """
    values = np.concatenate(rows, dtype=np.float32) if rows else np.empty(0, np.float32)
    return _lists(rows, FLOATS, pa.Array.from_buffers(pa.float32(), len(values), [None, pa.py_buffer(values)]))


def text_list_column(rows: Sequence[Sequence[str | None]]) -> pa.ListArray:
    """Return rows of texts as one column of ``TEXTS``; raises as ``column`` and ``list_column``.

    Parameters
    ----------
    rows : Sequence[Sequence[str | None]]
        n rows of n_i texts; None is null.
    """
    return _lists(rows, TEXTS, column([text for row in rows for text in row], TEXT))


def list_values(column: pa.ChunkedArray) -> list[NDArray[np.float32]]:
    """Return a column of lists of floats as one array for each row, [n_i] float32; a null row gives an empty one."""
    rows: list[NDArray[np.float32]] = []
    for chunk in column.chunks:
        values, offsets = np.from_dlpack(chunk.values), np.from_dlpack(chunk.offsets)
        rows += [values[start:stop].astype(np.float32, copy=False) for start, stop in pairwise(offsets.tolist())]
    return rows


def numbers(column: pa.ChunkedArray, missing: int | None = None) -> NDArray[Any]:
    """Return a column of numbers as one array.

    ``pyarrow.compute`` could fill nulls, but takes a twentieth of a second to load.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Integers or floats, n in all.
    missing : int | None
        What stands in place of nulls. None: nothing may be null.

    Returns
    -------
    ndarray, [n] of the column's type

    Raises
    ------
    ValueError
        A number is null, and nothing is given in its place.
    """
    kind = np.dtype(column.type.to_pandas_dtype())
    arrays = [np.empty(0, kind)]
    for chunk in filter(len, column.chunks):
        validity, data = chunk.buffers()
        span = slice(chunk.offset, chunk.offset + len(chunk))
        values = np.frombuffer(data, kind)[span]
        if chunk.null_count:
            if missing is None:
                raise ValueError(f"{chunk.null_count} numbers are null")
            is_there = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[span]
            values = np.where(is_there, values, kind.type(missing))
        arrays.append(values)
    return np.concatenate(arrays)


def times(column: pa.ChunkedArray) -> list[datetime | None]:
    """Return a column of µs timestamps as datetimes in UTC; ``to_pylist`` would load pandas where that is installed."""
    counted = (value for chunk in column.chunks for value in chunk.view(pa.int64()).to_pylist())
    return [None if value is None else _EPOCH + value * _MICROSECOND for value in counted]


def _lists(rows: Sequence[Sized], kind: pa.DataType, elements: pa.Array) -> pa.ListArray:
    """Return elements as one column of lists that are as long as the rows."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"{offsets[-1]} values are too many for one column of lists")
    buffers = [None, pa.py_buffer(offsets.astype(np.int32))]
    return pa.ListArray.from_buffers(kind, len(rows), buffers, children=[elements])


def _empty(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return ""
    return _EPOCH if pa.types.is_timestamp(kind) else 0


def _buffers(values: list[Any], kind: pa.DataType) -> list[pa.Buffer]:
    """Return the buffers that follow the validity buffer."""
    if pa.types.is_string(kind):
        encoded = [value.encode() for value in values]
        offsets = np.zeros(len(values) + 1, np.int32)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return [pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    if pa.types.is_boolean(kind):
        return [pa.py_buffer(np.packbits(np.array(values, dtype=bool), bitorder="little"))]
    if pa.types.is_timestamp(kind):
        values = [(value - _EPOCH) // _MICROSECOND for value in values]
        return [pa.py_buffer(np.array(values, dtype=np.int64))]
    return [pa.py_buffer(np.array(values, dtype=kind.to_pandas_dtype()))]


TEXT = pa.string()
TIME = pa.timestamp("us", tz="UTC")


def column_name(marked: str) -> str:
    """Return the name of a column without the mark that it may be null."""
    return marked.removesuffix("_")


def make_schema(**columns: pa.DataType) -> pa.Schema:
    """Return a schema with these columns, in order. A name with a trailing ``_``, which is dropped, may be null.

    Parameters
    ----------
    **columns : pyarrow.DataType
        Types by name: ``path=TEXT, etag_=TEXT`` makes ``path``, which may not be null, and ``etag``, which may be.
    """
    return pa.schema([pa.field(column_name(name), kind, nullable=name.endswith("_")) for name, kind in columns.items()])


def make_table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Return the columns of a schema as a table.

    Parameters
    ----------
    columns : Mapping[str, Any]
        By the names of the schema, each an Arrow array, or values as ``column`` takes them. Others are left out.
    schema : pyarrow.Schema
        Whether a column may be null is not checked.

    Raises
    ------
    KeyError
        A column is missing.
    OverflowError, UnicodeEncodeError
        As ``column``.

    Examples
    --------
    >>> schema = make_schema(path=TEXT, n_beats_=pa.int32())
    >>> table = make_table({"path": ["a.wav", "b.wav"], "n_beats": [12, None]}, schema)
    >>> table.column("n_beats").to_pylist()
    [12, None]
    >>> numbers(table.column("n_beats"), missing=0)
    array([12,  0], dtype=int32)
    """
    arrays = [
        values if isinstance(values := columns[field.name], pa.Array) else column(values, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
