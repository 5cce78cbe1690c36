"""The plan as rows: the listed recordings, in shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from heartbeat_core.formats.columns import TEXT, TEXTS, TIME, make_schema, make_table, text_list_column
from heartbeat_core.recordings.recording import Recording

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
)
"""The listed recordings, in shards; all columns but the first are those of ``Recording``."""


def plan_table(shards: Sequence[tuple[int, Sequence[Recording]]]) -> pa.Table:
    """Return a piece of the plan: numbered shards, with one row per recording."""
    rows = [(index, recording) for index, recordings in shards for recording in recordings]
    columns: dict[str, Any] = {"shard": [index for index, _ in rows]}
    for name in PLAN.names[1:]:
        columns[name] = [getattr(recording, name) for _, recording in rows]
    columns["kept"] = text_list_column(columns["kept"])
    return make_table(columns, PLAN)


def plan_shards(table: pa.Table) -> dict[int, list[Recording]]:
    """Return the recordings in a ``plan_table`` by shard, in order."""
    shards: dict[int, list[Recording]] = {}
    for row in table.to_pylist():
        kept = tuple(row.pop("kept", ()))
        shards.setdefault(row.pop("shard"), []).append(Recording(**row, kept=kept))
    return shards
