"""Commit the results of one shard: settle what failed, store the parts, read them back, write the commit record.

On disk, or under any URL::

    OUT/_settled/part-000042            which recordings of the shard failed: its failures part, or that nothing failed
    OUT/TABLE/part-000042.parquet       the shard's parts; of ``failures`` only where something failed
    OUT/failures/part-empty.parquet     no rows; there from the beginning, so that the table can always be read
    OUT/_commits/part-000042.json       the shard is done; written after its parts were read back

Invariants: each file is created whole, by the first who writes it, and never changes. The file in ``_settled`` is
written first. Whoever runs the shard later adopts it, so that every recording is in exactly one of the tables however
often the shard is run. The record is written last.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from heartbeat_core import storage
from heartbeat_core.errors import InputError, StorageError
from heartbeat_core.formats.parquet import FOOTER_TAIL_BYTES, footer_length, footer_rows, from_parquet
from heartbeat_core.settings import canonical_json
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import FAILURES
from jobs.output.ledger import Commit
from jobs.output.notes import Notes
from jobs.output.places import commit_uri, part_name, part_uri

SETTLED_FOLDER = "_settled"
EMPTY_PART = "part-empty.parquet"
"""The part of the table ``failures`` that has no rows."""
_NOTHING_FAILED = b"nothing failed\n"


def begin_failures(out: str, no_failures: bytes) -> None:
    """Store a part without rows, unless the table ``failures`` has a part already.

    Parameters
    ----------
    out : str
        URI of the output folder.
    no_failures : bytes
        The part, as Parquet.
    """
    folder = storage.join(out, FAILURES)
    if not storage.list_parts(folder):
        storage.create(storage.join(folder, EMPTY_PART), no_failures)


@dataclass(frozen=True, slots=True)
class Settled:
    """Which recordings of a shard failed.

    Attributes
    ----------
    part : bytes | None
        The shard's failures part, as Parquet; None where nothing failed.
    recording_ids : frozenset[str]
        Those of the part.
    is_adopted : bool
        Whether another attempt had settled it before.
    """

    part: bytes | None
    recording_ids: frozenset[str]
    is_adopted: bool


def settle_failures(out: str, index: int, failures: bytes | None) -> Settled:
    """Settle the failures of a shard, or adopt what is settled.

    Parameters
    ----------
    out : str
        URI of the output folder.
    index : int
        Number of the shard.
    failures : bytes | None
        Its failures part, as Parquet with the column ``recording_id``. None: nothing failed.

    Raises
    ------
    StorageError
        What is settled cannot be stored or read.
    """
    uri = storage.join(out, SETTLED_FOLDER, part_name(index))
    is_adopted = not storage.create(uri, failures or _NOTHING_FAILED)
    stored = storage.read(uri) if is_adopted else failures or _NOTHING_FAILED
    if stored == _NOTHING_FAILED:
        return Settled(None, frozenset(), is_adopted)
    try:
        ids = from_parquet(stored, ["recording_id"]).column("recording_id").to_pylist()
    except InputError as error:
        raise StorageError(f"{storage.display(uri)}: {error}") from None
    return Settled(stored, frozenset(ids), is_adopted)


def commit_shard(
    out: str,
    index: int,
    n_listed: int,
    settled: Settled,
    tables: Mapping[str, bytes],
    run_id: str,
    labels: Sequence[str | None],
    notes: Notes | None = None,
) -> Commit:
    """Store the shard's parts, read back what is stored, and write the commit record.

    Parameters
    ----------
    out : str
        URI of the output folder.
    index, n_listed : int
        The number of the shard, and how many recordings it lists.
    settled : Settled
        Which of them failed.
    tables : Mapping[str, bytes]
        The parts by table, as Parquet, all but the failures; each has a row for each recording that did not fail.
    run_id : str
    labels : Sequence[str | None]
        Those of the rows, one for each row of a table, in any order; None for a row without a label.
    notes : Notes | None
        What the commit record tells beside, such as times.

    Raises
    ------
    StorageError
        What is stored cannot be read back, or does not add up to the shard's recordings; nothing is committed.
    """

    def store(name: str) -> int:
        uri = part_uri(out, name, index)
        storage.create(uri, tables[name])
        return _stored_rows(uri, tables[name], len(labels))

    def store_failures() -> Counter[str]:
        if settled.part is None:
            return Counter()
        uri = part_uri(out, FAILURES, index)
        storage.create(uri, settled.part)
        return _stored_errors(uri)

    began = time.monotonic()
    with ThreadPoolExecutor(len(tables) + 1, thread_name_prefix="store") as pool:
        pending = {name: retry.submit(pool, store, name) for name in tables}
        stored_errors = retry.submit(pool, store_failures)
        rows = {name: future.result() for name, future in pending.items()}
        errors = stored_errors.result()
    rows[FAILURES] = n_failed = errors.total()
    if n_failed != len(settled.recording_ids) or any(rows[name] + n_failed != n_listed for name in tables):
        raise StorageError(f"shard {index}: {n_listed} recordings were listed and these rows are stored: {rows}")
    counts = dict(Counter(label for label in labels if label is not None))
    told = {} if notes is None else notes.stored(time.monotonic() - began)
    commit = Commit(index, n_listed, rows, run_id, counts, dict(errors), told, round(time.time(), 3))
    storage.create(commit_uri(out, index), canonical_json(asdict(commit)))
    return commit


def _stored_rows(uri: str, sent: bytes, n_sent: int) -> int:
    """Return the number of rows that are stored: ``n_sent`` where the end of the file is that of ``sent``."""
    tail = storage.read_tail(uri, FOOTER_TAIL_BYTES)
    if sent[-FOOTER_TAIL_BYTES:] == tail:  # A footer of a thousand columns takes 5 ms to read.
        return n_sent
    try:
        length = footer_length(tail)
        return footer_rows(tail if length <= len(tail) else storage.read_tail(uri, length))
    except InputError as error:
        raise StorageError(f"{storage.display(uri)}: {error}") from None


def _stored_errors(uri: str) -> Counter[str]:
    """Count the rows of a failures part by ``error_type``."""
    try:
        return Counter(from_parquet(storage.read(uri), ["error_type"]).column("error_type").to_pylist())
    except (InputError, FileNotFoundError) as error:
        raise StorageError(f"{storage.display(uri)}: cannot be read back: {error}") from None
