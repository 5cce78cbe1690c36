"""Rewrite the tables of a finished folder: only the newest row of each recording, in parts of a useful size.

A part never changes, so a compaction writes new parts and removes the old ones. On disk, or under any URL::

    OUT/_compact/000002.json                    which parts are removed, and how many replace them
    OUT/_compact/000002/TABLE/000003.parquet    a new part, before it is put into its table
    OUT/TABLE/compact-000002-000003.parquet     the same part in its table

Until the record is there, the tables are as they were. From then on the folder has no success mark, and the same
command finishes what was interrupted. The record is removed last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import InputError
from heartbeat_core.formats.parquet import Table, join_tables, to_parquet
from heartbeat_core.results.files import read_file
from heartbeat_core.settings import canonical_json
from heartbeat_core.storage.uris import COMPACT_PREFIX, FAILURES, ROWS_FOLDER, TABLES
from jobs.output.lease import present
from jobs.output.ledger import Ledger, Totals
from jobs.output.newest import newest_generations, newest_rows
from jobs.output.places import COMPACT_FOLDER
from jobs.output.status import Status, read_status
from jobs.progress import meter

PART_BYTES = 128 * 2**20
"""Size of a part in memory; in its file it is smaller."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """Which parts are removed from each table, and how many parts with how many rows replace them.

    Attributes
    ----------
    number : int
        From 1, in the order of the compactions of a folder.
    old : dict[str, list[str]]
        The names of the parts that are removed, by table.
    n_parts, n_rows : dict[str, int]
        The new parts and their rows, by table.
    """

    number: int
    old: dict[str, list[str]]
    n_parts: dict[str, int]
    n_rows: dict[str, int]


def compact(out: str, console: Console, part_bytes: int = PART_BYTES) -> Compaction:
    """Compact the tables of a finished folder in place, or finish a compaction that was interrupted.

    While it works, no job can begin in the folder.

    Parameters
    ----------
    out : str
        Path or URL of the folder.
    console : Console
        Takes what is said meanwhile.
    part_bytes : int
        Old parts are joined until they take so many bytes in memory; none is divided.

    Raises
    ------
    InputError
        It is not the finished output of a job, or the job's output has no parts to join.
    OutputError
        A job works there.
    """
    ledger = Ledger(out)
    _look(ledger)  # Nothing is written into a folder that cannot be compacted.
    with present(ledger.out, alone=True):
        # Until now, a job may have begun there and ended.
        status, settled = _look(ledger)
        if settled is None:
            settled = _write(ledger.out, _tables(status), part_bytes, console)
        commits = ledger.commits(ledger.committed())
        ledger.unmark_success()
        _publish(ledger.out, settled)
        storage.remove(_record_uri(ledger.out, settled.number))
        ledger.mark_success(Totals(status.listed, status.failed), commits.values())
    return settled


def compact_new(out: str, console: Console) -> Compaction | None:
    """Compact a finished folder as ``compact``; None if no part was written since it was compacted.

    Raises
    ------
    InputError, OutputError
        As ``compact``.
    """
    ledger = Ledger(out)
    names = (name for one in _tables(read_status(out)) for name in storage.list_parts(storage.join(ledger.out, one)))
    if all(name.startswith(COMPACT_PREFIX) for name in names):
        return None
    return compact(out, console)


def _look(ledger: Ledger) -> tuple[Status, Compaction | None]:
    """Return the state of a folder that can be compacted, with the compaction that is to be finished, if any."""
    status, settled = read_status(ledger.out), _settled(ledger.out)
    shown = storage.display(ledger.out)
    if status.job == "evaluate":
        raise InputError(
            f"{shown} is an evaluation, which has nothing to compact: name the output of 'classify' or 'build-dataset'"
        )
    if settled is None and (not status.finished or status.committed < status.shards):
        raise InputError(f"{shown} is not finished: run its job again to go on, then compact")
    return status, settled


def _tables(status: Status) -> tuple[str, ...]:
    return TABLES if status.job == "classify" else (ROWS_FOLDER, FAILURES)


def _settled(out: str) -> Compaction | None:
    """Return the compaction that has its record and is not finished, if any."""
    names = [name for name in storage.list_names(storage.join(out, COMPACT_FOLDER)) if name.endswith(".json")]
    if not names:
        return None
    return Compaction(**json.loads(storage.read(storage.join(out, COMPACT_FOLDER, names[0]))))


def _write(out: str, tables: tuple[str, ...], part_bytes: int, console: Console) -> Compaction:
    """Write the new parts beside the tables, and then the record."""
    old = {table: storage.list_parts(storage.join(out, table)) for table in tables}
    made = [name.split("-") for names in old.values() for name in names if name.startswith(COMPACT_PREFIX)]
    number = 1 + max((int(parts[1]) for parts in made), default=0)
    newest = newest_generations(out)
    n_parts, n_rows = dict.fromkeys(tables, 0), dict.fromkeys(tables, 0)
    with meter(console, "compact", sum(map(len, old.values())), "parts") as shown:
        for table in tables:
            aside = storage.join(out, COMPACT_FOLDER, f"{number:06d}", table)
            for name in storage.list_names(aside):  # Left by a compaction that died before it had its record.
                storage.remove(storage.join(aside, name))

            def read(table: str = table) -> Iterator[Table]:
                for name in old[table]:
                    yield newest_rows(read_file(storage.join(out, table, name)), newest)
                    shown.advance()

            for part in _gather(read(), part_bytes):
                storage.create(storage.join(aside, _aside_name(n_parts[table])), to_parquet(part))
                n_parts[table] += 1
                n_rows[table] += part.num_rows
    settled = Compaction(number, old, n_parts, n_rows)
    storage.create(_record_uri(out, number), canonical_json(asdict(settled)))
    return settled


def _gather(parts: Iterator[Table], part_bytes: int) -> Iterator[Table]:
    """Yield the rows of all parts, in order, in tables of about ``part_bytes``.

    There is always one table, even without rows: readers want its schema.
    """
    held: list[Table] = []
    n_bytes = 0
    is_first = True
    for part in parts:
        held.append(part)
        n_bytes += part.nbytes
        if n_bytes >= part_bytes:
            yield join_tables(held)
            held, n_bytes, is_first = [], 0, False
    if held and (is_first or any(part.num_rows for part in held)):
        yield join_tables(held)


def _publish(out: str, settled: Compaction) -> None:
    """Put the new parts into the tables and remove the old ones; an interrupted attempt may have done a part of it."""
    for table, count in settled.n_parts.items():
        aside = storage.join(out, COMPACT_FOLDER, f"{settled.number:06d}", table)
        for part in range(count):
            place = storage.join(out, table, f"{COMPACT_PREFIX}{settled.number:06d}-{part:06d}.parquet")
            if storage.find(place) is None:
                storage.create(place, storage.read(storage.join(aside, _aside_name(part))))
        for name in settled.old[table]:
            storage.remove(storage.join(out, table, name))
        for part in range(count):
            storage.remove(storage.join(aside, _aside_name(part)))


def _record_uri(out: str, number: int) -> str:
    return storage.join(out, COMPACT_FOLDER, f"{number:06d}.json")


def _aside_name(part: int) -> str:
    return f"{part:06d}.parquet"
