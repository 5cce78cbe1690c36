"""The plan as rows: the listed recordings, in shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from heartbeat_core.formats.columns import (
    TEXT,
    TEXTS,
    TIME,
    make_schema,
    make_table,
    numbers,
    text_list_column,
    times,
)
from heartbeat_core.recordings.recording import USUAL_SIZE_BYTES, Recording

PLAN = make_schema(
    shard=pa.int32(),
    uri=TEXT,
    relative_path=TEXT,
    size_bytes_=pa.int64(),
    version_=TEXT,
    label_=TEXT,
    patient_id_=TEXT,
    device_=TEXT,
    database_=TEXT,
    manifest_=TEXT,
    manifest_row_=pa.int64(),
    query_digest_=TEXT,
    modified_=TIME,
    kept=TEXTS,
    stored_in_=TEXT,
    sealed_=TEXT,
)
"""The listed recordings, in shards; all columns but the first are those of ``Recording``."""


def plan_table(shards: Sequence[tuple[int, Sequence[Recording]]]) -> pa.Table:
    """Return a piece of the plan, with one row per recording.

    Parameters
    ----------
    shards : Sequence[tuple[int, Sequence[Recording]]]
        Number and recordings of each shard.

    Returns
    -------
    pa.Table
        With the columns ``PLAN``, in the order of the shards.
    """
    rows = [(index, recording) for index, recordings in shards for recording in recordings]
    columns: dict[str, Any] = {"shard": [index for index, _ in rows]}
    for name in PLAN.names[1:]:
        columns[name] = [getattr(recording, name) for _, recording in rows]
    columns["kept"] = text_list_column(columns["kept"])
    return make_table(columns, PLAN)


def plan_shards(table: pa.Table) -> dict[int, list[Recording]]:
    """Return the recordings in a ``plan_table`` by shard, in order.

    Parameters
    ----------
    table : pa.Table
        With the columns ``PLAN``.

    Returns
    -------
    dict[int, list[Recording]]
        By the number of the shard, in the order of the table.
    """
    shards: dict[int, list[Recording]] = {}
    rows = table.drop_columns("modified").to_pylist()
    for row, modified in zip(rows, times(table.column("modified")), strict=True):
        kept = tuple(row.pop("kept", ()))
        shards.setdefault(row.pop("shard"), []).append(Recording(**row, modified=modified, kept=kept))
    return shards


def plan_rows(table: pa.Table) -> list[tuple[int, int, int, int]]:
    """Return where each shard stands in a ``plan_table``, in order.

    No recording is made: this is fast for long plans.

    Parameters
    ----------
    table : pa.Table
        Only ``shard`` and ``size_bytes`` are needed. The rows of a shard follow one another.

    Returns
    -------
    list[tuple[int, int, int, int]]
        Number, first row, number of rows, and expected bytes of each shard. A recording of unknown size counts as
        ``USUAL_SIZE_BYTES``.
    """
    sizes = numbers(table.column("size_bytes"), missing=USUAL_SIZE_BYTES)
    shards = numbers(table.column("shard"))
    first = np.flatnonzero(np.diff(shards, prepend=-1))
    n_rows = np.diff(first, append=len(shards))
    n_bytes = np.add.reduceat(sizes, first) if len(first) else sizes
    return list(zip(*(values.tolist() for values in (shards[first], first, n_rows, n_bytes)), strict=True))
