"""The tables of users (CSV, JSON Lines, Parquet) as columns of text."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heartbeat_core.errors import InputError
from heartbeat_core.formats.delimited import read_delimited
from heartbeat_core.formats.parquet import DAMAGED, one_line


def read_records(data: bytes, suffix: str, source: str) -> dict[str, list[str | None]]:
    r"""Read a table as columns of text.

    Text stays as it is: the patient 007 keeps the zeros, and a date its spelling. Of the names of columns, spaces
    around them are dropped. ``delimited`` says which kinds of CSV there are.

    Parameters
    ----------
    data : bytes
        The whole file.
    suffix : str
        ``.csv``, ``.parquet`` or ``.jsonl``.
    source : str
        The name of the file, for messages.

    Returns
    -------
    dict[str, list[str | None]]
        By column, the cells of all rows; None where a cell is empty, null or NaN.

    Raises
    ------
    InputError
        The table cannot be read. The message names ``source``.

    Examples
    --------
    >>> read_records(b"path,patient\na.wav,007\nb.wav,\n", ".csv", "list.csv")
    {'path': ['a.wav', 'b.wav'], 'patient': ['007', None]}
    """
    reader = {".csv": read_delimited, ".jsonl": _read_jsonl}.get(suffix, _read_parquet)
    try:
        found, rows = reader(data)
        names = [name.strip() for name in found]
        twice = {name for name in names if name and names.count(name) > 1}
        if twice:
            raise ValueError(f"two columns are called {min(twice)!r}")
        return {name: [_as_text(row[i]) for row in rows] for i, name in enumerate(names)}
    except (*DAMAGED, csv.Error, ValueError) as error:
        raise InputError(f"{source}: cannot be read as a {suffix} table: {one_line(error)}") from None


_Records = tuple[list[str], Sequence[Sequence[Any]]]


def _read_jsonl(data: bytes) -> _Records:
    records = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if not isinstance(record, dict) or any(isinstance(value, dict | list) for value in record.values()):
            raise ValueError(f"line {number} is not a flat JSON object")
        records.append(record)
    names = list(dict.fromkeys(name for record in records for name in record))
    if not names:
        raise ValueError("it holds no records")
    return names, [[record.get(name) for name in names] for record in records]


def _read_parquet(data: bytes) -> _Records:
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    return table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _as_text(value: Any) -> str | None:
    """Return a cell as text; what is no number, as pandas writes a gap, is an empty cell."""
    is_gap = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return None if is_gap else str(value)
