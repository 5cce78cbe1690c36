"""Recordings with the same audio, byte for byte: each names the first one that it duplicates."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from heartbeat_core.formats.columns import TEXT, column, make_schema
from heartbeat_core.results.notes import with_notes

DUPLICATES = make_schema(recording_id=TEXT, duplicate_of=TEXT)
"""One row for each recording whose audio an earlier recording has as well; ``duplicate_of`` is the first of these."""

_ID_DIGITS = 16
_DIGEST_DIGITS = 32
"""Of the 64 of a SHA-256: 128 bits tell any number of recordings apart, with half of the memory."""


class DuplicateFinder:
    """Takes the parts of predictions or features, each recording once, in the order of the plan.

    It holds numbers and no strings: 24 bytes a recording, and up to 80 while it finishes.

    Attributes
    ----------
    columns : list[str]
        What ``add`` needs of a part.

    Examples
    --------
    >>> ids, digests = ["0a" * 8, "0b" * 8, "0c" * 8], ["12" * 32, "34" * 32, "12" * 32]
    >>> finder = DuplicateFinder()
    >>> finder.add(pa.table({"recording_id": ids, "audio_sha256": digests}))
    >>> finder.finish().to_pylist()
    [{'recording_id': '0c0c0c0c0c0c0c0c', 'duplicate_of': '0a0a0a0a0a0a0a0a'}]
    """

    columns: ClassVar[list[str]] = ["recording_id", "audio_sha256"]

    def __init__(self) -> None:
        self._rows = [np.empty((0, 3), np.uint64)]

    def add(self, part: pa.Table) -> None:
        """Take a part of a table, of which it reads ``columns``.

        Parameters
        ----------
        part : pa.Table
            Its ``recording_id`` are 16 hex digits and its ``audio_sha256`` 64, none null.
        """
        ids, digests = (part.column(name).to_pylist() for name in self.columns)
        digits = "".join(f"{id_}{digest[:_DIGEST_DIGITS]}" for id_, digest in zip(ids, digests, strict=True))
        self._rows.append(np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64).reshape(-1, 3))

    def finish(self) -> pa.Table:
        """Return the table ``duplicates`` of all parts so far, in the order of the plan.

        Returns
        -------
        pa.Table
            With the columns ``DUPLICATES`` and their notes; a recording that is the first of its audio has no row.
        """
        rows = np.concatenate(self._rows)
        self._rows = [rows]
        # Stable: of the recordings with the same audio, the first one stays first.
        order = np.lexsort((rows[:, 2], rows[:, 1]))
        is_first = np.ones(len(rows), dtype=bool)
        is_first[1:] = _changes(rows[order, 1]) | _changes(rows[order, 2])
        later = order[~is_first]
        first = order[is_first][np.cumsum(is_first)[~is_first] - 1]
        by_plan = np.argsort(later)
        columns = [_ids(rows[which[by_plan], 0]) for which in (later, first)]
        return pa.Table.from_arrays(columns, schema=with_notes(DUPLICATES))


def _changes(values: NDArray[np.uint64]) -> NDArray[np.bool]:
    """Tell of each value but the first whether it differs from the one before."""
    return np.not_equal(values[1:], values[:-1])


def _ids(numbers: NDArray[np.uint64]) -> pa.Array:
    return column([f"{number:0{_ID_DIGITS}x}" for number in numbers.tolist()], TEXT)
