"""A sample of a stored table: whole parts at even distances, and rows at even distances in them.

Its cost is bounded, however many rows a table has: in parts, in bytes that are read, and in rows that are held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from heartbeat_core import storage
from heartbeat_core.formats.columns import FLOATS, TEXT, TIME, column, make_schema, make_table
from heartbeat_core.formats.parquet import Table, from_parquet, parquet_schema, to_parquet
from heartbeat_core.results.files import naming
from heartbeat_core.storage import retry

MOST_PARTS = 512
MOST_BYTES = 256 * 2**20
MOST_ROWS = 100_000
_READS_AT_ONCE = 16

Columns = Mapping[str, NDArray[np.generic]]
"""By name: float64 with NaN for null numbers and booleans, objects (text or None) for text."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of a table.

    Attributes
    ----------
    columns : Columns
        Those of the asked columns that the table has.
    metadata : dict[str, str]
        What the first part says of the run.
    n_parts, of_parts : int
        Parts that were read, and parts of the table.
    row_step : int
        Every ``row_step``-th row of these parts was taken.
    """

    columns: Columns
    metadata: dict[str, str]
    n_parts: int
    of_parts: int
    row_step: int

    @property
    def n_rows(self) -> int:
        """The rows that were taken."""
        return len(next(iter(self.columns.values()), ()))

    @property
    def is_complete(self) -> bool:
        """Whether the sample is the whole table."""
        return self.n_parts == self.of_parts and self.row_step == 1


def read_sample(
    parts: Sequence[str],
    columns: Sequence[str],
    n_rows: int,
    newest: Callable[[Table], Table] = lambda table: table,
) -> Sample:
    """Read columns of some parts of a table; a column that the table does not have is left out.

    Parameters
    ----------
    parts : Sequence[str]
        URIs of all parts, in order.
    columns : Sequence[str]
        Numbers, booleans, texts or times; times become seconds since 1970. Lists of floats are left out.
    n_rows : int
        About how many rows the table has.
    newest : Callable[[Table], Table]
        Takes the newest rows of a part, by ``recording_id`` and ``generation``.

    Returns
    -------
    Sample
        At most ``MOST_PARTS`` parts at even distances, in order. The limits on bytes and rows hold for parts of even
        size.

    Raises
    ------
    InputError
        A part is damaged, or lacks a column that the first one has.
    FileNotFoundError, StorageError
        As ``storage.read``.
    """
    if not parts:
        return Sample({}, {}, 0, 0, 1)
    first = storage.read(parts[0])
    with naming(parts[0]):
        schema = parquet_schema(first)
    wanted = [name for name in dict.fromkeys(columns) if name in schema.names and schema.field(name).type != FLOATS]
    step = max(ceil(len(parts) / MOST_PARTS), ceil(len(first) * len(parts) / MOST_BYTES))
    chosen = parts[::step]
    row_step = max(1, ceil(n_rows / step / MOST_ROWS))
    keys = [name for name in ("recording_id", "generation") if name in schema.names]

    def read(uri: str) -> dict[str, NDArray[np.generic]]:
        data = first if uri == parts[0] else storage.read(uri)
        with naming(uri):
            table = newest(from_parquet(data, list(dict.fromkeys([*wanted, *keys]))))
        if row_step > 1:
            table = table.take(column(np.arange(0, table.num_rows, row_step), pa.int64()))
        return {name: _array(table.column(name)) for name in wanted}

    with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="sample") as pool:
        found = [future.result() for future in [retry.submit(pool, read, uri) for uri in chosen]]
    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    return Sample(
        {name: np.concatenate([one[name] for one in found]) for name in wanted},
        {key.removeprefix("heartbeat."): value for key, value in metadata.items() if key.startswith("heartbeat.")},
        len(chosen),
        len(parts),
        row_step,
    )


def numbers_table(columns: Mapping[str, Sequence[str | int | float | None]]) -> bytes:
    """Return columns as a Parquet file.

    Parameters
    ----------
    columns : Mapping[str, Sequence[str | int | float | None]]
        Columns of one length, by name; None is null. A column with a text has to be texts. One of integers becomes
        int64, and any other float64.
    """
    kinds = {name: _kind(values) for name, values in columns.items()}
    schema = make_schema(**{f"{name}_": kind for name, kind in kinds.items()})
    return to_parquet(make_table(columns, schema))


def _kind(values: Sequence[str | int | float | None]) -> pa.DataType:
    there = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in there):
        return TEXT
    return pa.int64() if there and all(isinstance(value, int) for value in there) else pa.float64()


def _array(cells: pa.ChunkedArray) -> NDArray[np.generic]:
    if pa.types.is_string(cells.type):
        return np.array(cells.to_pylist(), dtype=object)
    if pa.types.is_timestamp(cells.type):
        seconds: NDArray[np.generic] = _floats(cells.cast(TIME).cast(pa.int64())) / 1e6
        return seconds
    return _floats(cells)


def _floats(cells: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in cells.to_pylist()], dtype=np.float64)
