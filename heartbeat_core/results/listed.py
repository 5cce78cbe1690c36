"""What was known of a recording before it was read, as columns of the tables.

Each table has ``relative_path`` and ``modified_at``, and after its own columns those that the user keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from heartbeat_core.formats.columns import TEXT, TIME
from heartbeat_core.formats.kept import KeptColumn, KeptType, convert
from heartbeat_core.recordings.recording import Recording

LISTED = {"relative_path": TEXT, "modified_at_": TIME}
"""The columns that each table has."""
_TYPES: dict[KeptType, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": TIME,
    "text": TEXT,
}


def with_kept(schema: pa.Schema, kept: Sequence[KeptColumn]) -> pa.Schema:
    """Return a schema with the kept columns, which may be null, behind its own.

    Parameters
    ----------
    schema : pa.Schema
    kept : Sequence[KeptColumn]
        Their names and types.

    Returns
    -------
    pa.Schema
        Without the metadata of ``schema``.
    """
    return pa.schema([*schema, *(pa.field(one.column, _TYPES[one.type]) for one in kept)])


def listed_columns(recordings: Sequence[Recording], kept: Sequence[KeptColumn]) -> dict[str, Any]:
    """Return the columns of ``LISTED``, the patient and the kept columns of recordings.

    Parameters
    ----------
    recordings : Sequence[Recording]
        n recordings.
    kept : Sequence[KeptColumn]
        In the order of ``Recording.kept``; each cell is converted to the type of its column.

    Returns
    -------
    dict[str, list]
        By name, the n values of each column; None is null.
    """
    return {
        "relative_path": [recording.relative_path for recording in recordings],
        "modified_at": [recording.modified for recording in recordings],
        "patient_id": [recording.patient_id for recording in recordings],
        **{
            one.column: [convert(recording.kept[number], one.type) for recording in recordings]
            for number, one in enumerate(kept)
        },
    }
