"""What is done: the run's identity, the plan, commit records, and the success mark.

On disk, or under any URL::

    OUT/_run.json                   identity and run_id; claims the folder for one job
    OUT/_plan/plan.parquet          shards and their recordings; listed once
    OUT/TABLE/part-000042.parquet   parts, named by their shard
    OUT/_commits/part-000042.json   the shard is done; written after its parts were read back
    OUT/_SUCCESS                    every listed recording is accounted for; written last

Invariants: each file is created whole by one winner and never changes. A shard's failures part is written first
and settles which of its recordings failed; whoever comes later adopts it, so that every recording is in exactly
one of the tables however often the shard is run. Only the commit record says done.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from heartbeat_core import storage
from heartbeat_core.config import canonical_json, fingerprint
from heartbeat_core.errors import InputError, JobError, OutputError, StorageError
from heartbeat_core.recording import Recording
from heartbeat_core.schema import plan_shards, plan_table
from heartbeat_core.tables import FOOTER_TAIL_BYTES, footer_length, footer_rows, from_parquet, to_parquet

RUN_NAME = "_run.json"
PLAN_NAME = "_plan/plan.parquet"
COMMITS_FOLDER = "_commits"
SUCCESS_NAME = "_SUCCESS"
FAILURES = "failures"


@dataclass(frozen=True, slots=True)
class Commit:
    """One shard's commit record; ``rows`` counts what was read back from each stored table."""

    shard: int
    listed: int
    rows: dict[str, int]
    run_id: str

    @property
    def failed(self) -> int:
        """Recordings of the shard that ended as failures."""
        return self.rows[FAILURES]


@dataclass(frozen=True, slots=True)
class Totals:
    """All shards together."""

    listed: int
    failed: int

    @property
    def done(self) -> int:
        """Recordings with a row in every result table."""
        return self.listed - self.failed


class Ledger:
    """The driver's view of one output folder."""

    def __init__(self, out: str) -> None:
        self.out = storage.to_uri(out)

    def find_run(self, identity: Mapping[str, Any]) -> str | None:
        """Return the run_id of this same job if the folder holds it, None if the folder is free.

        Raises:
            OutputError: the folder holds something else, or another job; says what differs.
        """
        shown = storage.display(self.out)
        if storage.is_local(self.out) and storage.exists(self.out) and not storage.is_folder(self.out):
            raise OutputError(f"{shown} is a file: name a folder for the output")
        try:
            record = json.loads(storage.read(storage.join(self.out, RUN_NAME)))
            run_id, found = str(record["run_id"]), dict(record["identity"])
        except FileNotFoundError:
            # A driver that died while it wrote its record has left no more than the start of it.
            temporary = (f".{RUN_NAME}.", ".tmp")
            names = list_output(self.out)
            if not all(name.startswith(temporary[0]) and name.endswith(temporary[1]) for name in names):
                raise OutputError(
                    f"{shown} is not empty and not the output of a heartbeat job: name another folder"
                ) from None
            return None
        except StorageError as error:
            raise OutputError(str(error)) from None
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"{shown}/{RUN_NAME} is not a run record: name another folder") from None
        # Compared as JSON reads it back: tuples and lists are one.
        wanted = json.loads(canonical_json(identity))
        if fingerprint(found) != fingerprint(wanted):
            differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
            told = "; ".join(f"{key}: {found.get(key)} there, {wanted.get(key)} here" for key in differing)
            raise OutputError(f"{shown} holds another job ({told}): name another folder, or run that job again")
        return run_id

    def claim(self, identity: Mapping[str, Any]) -> str:
        """Take a free folder for this job and return its new run_id.

        Raises:
            OutputError: the folder cannot be written, or another driver was first.
        """
        run_id = uuid.uuid4().hex
        record = {"run_id": run_id, "fingerprint": fingerprint(identity), "identity": identity}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        try:
            created = storage.create(storage.join(self.out, RUN_NAME), text.encode())
        except StorageError as error:
            raise OutputError(str(error)) from None
        if not created:
            raise OutputError(f"{storage.display(self.out)} was taken by another job a moment ago")
        return run_id

    def settle_plan(self, shards: Sequence[Sequence[Recording]]) -> list[list[Recording]]:
        """Store the plan and return the stored one: another driver's, if that was first."""
        storage.create(storage.join(self.out, PLAN_NAME), to_parquet(plan_table(shards)))
        return self.read_plan() or []

    def read_plan(self) -> list[list[Recording]] | None:
        """Return the stored plan, None where the driver died before it was written."""
        try:
            return plan_shards(from_parquet(storage.read(storage.join(self.out, PLAN_NAME))))
        except FileNotFoundError:
            return None
        except InputError as error:
            raise JobError(f"{storage.display(self.out)}/{PLAN_NAME}: {error}") from None

    def commits(self) -> dict[int, Commit]:
        """Return the commit records that are there, by shard."""
        folder = storage.join(self.out, COMMITS_FOLDER)
        names = [name for name in storage.list_names(folder) if name.endswith(".json")]
        found = (Commit(**json.loads(storage.read(storage.join(folder, name)))) for name in names)
        return {commit.shard: commit for commit in found}

    def reconcile(self, shards: Sequence[Sequence[Recording]]) -> Totals:
        """Hold the commit records against the plan.

        Raises:
            JobError: a shard is not committed, or rows and recordings do not add up.
        """
        commits = self.commits()
        missing = [index for index in range(len(shards)) if index not in commits]
        if missing:
            raise JobError(f"shards not committed: {missing}; run the same command again to go on")
        wrong = [index for index, shard in enumerate(shards) if commits[index].listed != len(shard)]
        if wrong:
            raise JobError(f"shards whose rows do not add up to their recordings: {wrong}")
        return Totals(sum(map(len, shards)), sum(commit.failed for commit in commits.values()))

    def mark_success(self, totals: Totals) -> None:
        """Write the success mark, last of all."""
        text = json.dumps({"listed": totals.listed, "done": totals.done, "failed": totals.failed})
        storage.create(storage.join(self.out, SUCCESS_NAME), (text + "\n").encode())


def list_output(folder: str) -> list[str]:
    """Return the names in a folder that is to be written to.

    Raises:
        OutputError: the folder may not be read.
    """
    try:
        return storage.list_names(folder)
    except StorageError as error:
        raise OutputError(str(error)) from None


def part_name(index: int) -> str:
    """Return the name, without an ending, of a shard's parts and commit record."""
    return f"part-{index:06d}"


def part_uri(out: str, table: str, index: int) -> str:
    """Return the URI of a shard's part of a table."""
    return storage.join(out, table, f"{part_name(index)}.parquet")


def settle_failures(out: str, index: int, failures: bytes) -> set[str]:
    """Store the shard's failures part, or adopt the one that is there; returns the failed recordings' ids."""
    uri = part_uri(out, FAILURES, index)
    storage.create(uri, failures)
    try:
        settled = from_parquet(storage.read(uri), ["recording_id"])
    except InputError as error:
        raise StorageError(f"{storage.display(uri)}: {error}") from None
    return set(settled.column("recording_id").to_pylist())


def commit_shard(
    out: str, index: int, n_listed: int, n_failed: int, tables: Mapping[str, bytes], run_id: str
) -> Commit:
    """Store the shard's other parts, read all row counts back from what is stored, and write the commit record.

    Raises:
        StorageError: what is stored does not add up to the shard's recordings; nothing is committed.
    """
    rows = {}
    for name, data in tables.items():
        storage.create(part_uri(out, name, index), data)
        rows[name] = _stored_rows(part_uri(out, name, index))
    rows[FAILURES] = _stored_rows(part_uri(out, FAILURES, index))
    if rows[FAILURES] != n_failed or any(rows[name] + n_failed != n_listed for name in tables):
        raise StorageError(f"shard {index}: {n_listed} recordings were listed and these rows are stored: {rows}")
    commit = Commit(index, n_listed, rows, run_id)
    uri = storage.join(out, COMMITS_FOLDER, f"{part_name(index)}.json")
    storage.create(uri, canonical_json(asdict(commit)))
    return commit


def _stored_rows(uri: str) -> int:
    tail = storage.read_tail(uri, FOOTER_TAIL_BYTES)
    try:
        length = footer_length(tail)
        return footer_rows(tail if length <= len(tail) else storage.read_tail(uri, length))
    except InputError as error:
        raise StorageError(f"{storage.display(uri)}: {error}") from None
