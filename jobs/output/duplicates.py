"""The table of duplicates, from the newest committed rows.

On disk, or under any URL: ``OUT/duplicates.parquet``, one file, which each update replaces as a whole. It holds nothing
that the other tables do not say, so that it can be made again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping

from heartbeat_core import storage
from heartbeat_core.formats.parquet import FOOTER_TAIL_BYTES, footer_rows, to_parquet
from heartbeat_core.results.duplicates import DuplicateFinder
from heartbeat_core.results.schema import with_metadata
from heartbeat_core.storage.uris import DUPLICATES_NAME
from jobs.output.newest import read_newest


def store_duplicates(out: str, provenance: Mapping[str, str]) -> int:
    """Find the recordings whose audio another one has and store the table, over an earlier one; return their count.

    Parameters
    ----------
    out : str
        URI of an output folder of ``classify`` in which every planned shard is committed.
    provenance : Mapping[str, str]
        Goes into the metadata of the file.

    Raises
    ------
    JobError, InputError
        As ``read_newest``.
    """
    finder = DuplicateFinder()
    # The features have the digest of the audio, too, but the predictions are much smaller.
    for part in read_newest(out, "predictions", finder.columns):
        finder.add(part)
    table = with_metadata(finder.finish(), provenance)
    storage.put(storage.join(out, DUPLICATES_NAME), to_parquet(table))
    return int(table.num_rows)


def count_duplicates(out: str) -> int | None:
    """Return how many rows the table has, from its footer; None if it was not made yet."""
    uri = storage.join(out, DUPLICATES_NAME)
    return None if storage.find(uri) is None else footer_rows(storage.read_tail(uri, FOOTER_TAIL_BYTES))
