"""Recordings with the same audio, byte for byte: each names the first one that it duplicates."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from heartbeat_core.formats.columns import TEXT, column, make_schema, make_table
from heartbeat_core.results.notes import with_notes

DUPLICATES = make_schema(recording_id=TEXT, duplicate_of=TEXT)
"""One row for each recording whose audio an earlier recording has as well; ``duplicate_of`` is the first of these."""

_READ = make_schema(recording_id=TEXT, audio_sha256=TEXT)


class DuplicateFinder:
    """Takes the parts of predictions or features, each recording once, in the order of the plan.

    It takes 300 MB of memory for a million recordings.

    Attributes
    ----------
    columns : list[str]
        What ``add`` needs of a part.

    Examples
    --------
    >>> finder = DuplicateFinder()
    >>> finder.add(pa.table({"recording_id": ["a", "b", "c"], "audio_sha256": ["12", "34", "12"]}))
    >>> finder.finish().to_pylist()
    [{'recording_id': 'c', 'duplicate_of': 'a'}]
    """

    columns = _READ.names

    def __init__(self) -> None:
        self._parts: list[pa.Table] = [make_table(dict.fromkeys(self.columns, ()), _READ)]

    def add(self, part: pa.Table) -> None:
        """Take a part of a table."""
        self._parts.append(part.select(self.columns).replace_schema_metadata(None).cast(_READ))

    def finish(self) -> pa.Table:
        """Return the table ``duplicates``, in the order of the plan."""
        rows = pa.concat_tables(self._parts)
        chunks = rows.column("audio_sha256").dictionary_encode().chunks  # They have one dictionary.
        codes = np.concatenate([np.empty(0, np.int32), *(np.from_dlpack(chunk.indices) for chunk in chunks)])
        _, first, code_of = np.unique(codes, return_index=True, return_inverse=True)
        first_of = first[code_of]
        later = np.flatnonzero(first_of != np.arange(len(codes)))
        ids = rows.column("recording_id")
        columns = [ids.take(column(which, pa.int64())) for which in (later, first_of[later])]
        return pa.Table.from_arrays(columns, schema=with_notes(DUPLICATES))
