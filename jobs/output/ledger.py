"""What is done in an output folder: which job it belongs to, the commit records, and the success mark.

On disk, or under any URL::

    OUT/_run.json                   identity, run_id and origin; claims the folder for one job
    OUT/_plan/                      shards and their recordings (``plans``)
    OUT/TABLE/part-000042.parquet   parts, named by their shard
    OUT/_commits/part-000042.json   the shard is done; how it is written: ``commits``
    OUT/_journal/HASH.json          all commit records of a finished job in one object (``journal``)
    OUT/_SUCCESS                    every listed recording is accounted for; names the journal; written last

Invariants: each file is created whole, by the first who writes it, and never changes. A shard is done when its commit
record is there, and not before. While an update or a retry in a finished folder is under way, there is no success mark,
and no journal counts.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from heartbeat_core import storage
from heartbeat_core.errors import JobError, OutputError
from heartbeat_core.settings import Limits, canonical_json, fingerprint
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import FAILURES, PLAN_FOLDER, SUCCESS_NAME
from jobs.output.differences import advise, describe_differences
from jobs.output.journal import journal_name, journal_uri, read_journal, store_journal
from jobs.output.places import (
    COMMITS_FOLDER,
    COMPACT_FOLDER,
    DRIVERS_FOLDER,
    HISTORY_FOLDER,
    RUN_NAME,
    commit_uri,
    list_output,
    output_uri,
)

RECORDS_AT_ONCE = 16
"""How many commit records are read at the same time."""
_RECORD_NAME = re.compile(r"part-([0-9]{6,})\.json")


@dataclass(frozen=True, slots=True)
class Commit:
    """One shard's commit record.

    ``rows`` counts the rows of each stored table, as read back. ``labels`` counts the result rows by label, without
    those that have none, and ``errors`` the failures by ``error_type``, so that nobody has to read the parts again
    for these counts. ``ended_at`` is in seconds since 1970.
    """

    shard: int
    listed: int
    rows: dict[str, int]
    run_id: str
    labels: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict, compare=False)
    """``Notes`` as JSON, for report and metrics; empty in records of earlier releases."""
    ended_at: float | None = field(default=None, compare=False)

    @property
    def failed(self) -> int:
        """Recordings of the shard that ended as failures."""
        return self.rows[FAILURES]


@dataclass(frozen=True, slots=True)
class Totals:
    """The recordings of all shards together."""

    listed: int
    failed: int

    @property
    def done(self) -> int:
        """Recordings with a row in every result table."""
        return self.listed - self.failed


class Ledger:
    """The driver's view of one output folder.

    Parameters
    ----------
    out : str
        Path or URL of the folder, which need not exist. The attribute ``out`` is its URI, without a slash at the end.

    Raises
    ------
    OutputError
        As ``output_uri`` raises it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     run_id = Ledger(folder).claim({"job": "classify"})
    ...     Ledger(folder).find_run({"job": "classify"}) == run_id, Ledger(folder).is_finished()
    (True, False)
    """

    def __init__(self, out: str) -> None:
        self.out = output_uri(out)

    def find_run(self, identity: Mapping[str, Any], *, again: bool = True) -> str | None:
        """Return the run_id if the folder belongs to this same job, None if it is free.

        Parameters
        ----------
        identity : Mapping[str, Any]
            Everything that tells this job from another, as values that JSON can hold.
        again : bool
            Whether to look a second time where another driver claims the folder in between.

        Raises
        ------
        OutputError
            The folder is a file or cannot be read, holds something else or another job, or a compaction that was
            interrupted.
        """
        shown = storage.display(self.out)
        if storage.is_local(self.out) and storage.exists(self.out) and not storage.is_folder(self.out):
            raise OutputError(f"{shown} is a file: name a folder for the output")
        try:
            with storage.refusals_as(OutputError):
                record = json.loads(storage.read(storage.join(self.out, RUN_NAME)))
            run_id, found = str(record["run_id"]), dict(record["identity"])
        except FileNotFoundError:
            names = set(list_output(self.out) if storage.is_folder(self.out) else [])
            if RUN_NAME in names and again:
                return self.find_run(identity, again=False)
            # A driver that died before it had claimed the folder has left no more than these. Some stores still list
            # a prefix when all its objects are gone.
            if PLAN_FOLDER in names and not self._files_of(PLAN_FOLDER):
                names.remove(PLAN_FOLDER)
            if not all(_is_left_over(name) for name in names):
                raise OutputError(
                    f"{shown} is not empty and not the output of a heartbeat job: name another folder"
                ) from None
            return None
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"{shown}/{RUN_NAME} is not a run record: name another folder") from None
        # Compared as JSON reads it back: tuples and lists are one.
        wanted = json.loads(canonical_json(identity))
        if fingerprint(found) != fingerprint(wanted):
            told = describe_differences(found, wanted)
            raise OutputError(f"{shown} holds another job ({told}): {advise(found, wanted, self.out)}")
        if any(name.endswith(".json") for name in storage.list_names(storage.join(self.out, COMPACT_FOLDER))):
            raise OutputError(f"{shown}: a compaction was interrupted: finish it with 'heartbeat compact {shown}'")
        return run_id

    def find_limits(self) -> Limits | None:
        """Return the limits of the job that the folder belongs to.

        None where it belongs to no job that has limits: ``find_run`` says what is wrong with it.
        """
        try:
            with storage.refusals_as(OutputError):
                record = json.loads(storage.read(storage.join(self.out, RUN_NAME)))
            return Limits.model_validate(record["identity"]["limits"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def claim(
        self,
        identity: Mapping[str, Any],
        work: Mapping[str, int] | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> str:
        """Claim a free folder for this job and return its run_id.

        Where another driver of the same job was first, its run_id is returned.

        Parameters
        ----------
        identity : Mapping[str, Any]
            As of ``find_run``.
        work : Mapping[str, int] | None
            Of a job without a plan: how many files it will store below which folders, for ``status``.
        origin : Mapping[str, Any] | None
            What this driver is, for ``inspect``: its command, configuration, code and packages.

        Raises
        ------
        OutputError
            The folder cannot be written, or another job was first.
        """
        record: dict[str, Any] = {
            "run_id": uuid.uuid4().hex,
            "fingerprint": fingerprint(identity),
            "identity": identity,
        }
        if work is not None:
            record["work"] = work
        if origin is not None:
            record["origin"] = origin
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        with storage.refusals_as(OutputError):
            storage.create(storage.join(self.out, RUN_NAME), text.encode())
        # Whoever was first, its record counts: after a lost answer, that may be this very one.
        run_id = self.find_run(identity)
        if run_id is None:
            raise OutputError(f"{storage.display(self.out)}/{RUN_NAME} was written and is not there")
        return run_id

    def release(self, run_id: str, *, with_plan: bool = False) -> None:
        """Give a claimed folder back, so that any job may use it. Only a driver that is alone there may do this.

        Nothing happens where the folder belongs to another run, where it holds more than a claim and a plan, or where
        it holds a plan and ``with_plan`` is not set.
        """
        uri = storage.join(self.out, RUN_NAME)
        try:
            is_ours = json.loads(storage.read(uri))["run_id"] == run_id
        except FileNotFoundError:
            return
        plan = self._files_of(PLAN_FOLDER)
        names = [name for name in list_output(self.out) if name not in (RUN_NAME, PLAN_FOLDER, HISTORY_FOLDER)]
        if not is_ours or (plan and not with_plan) or not all(_is_left_over(name) for name in names):
            return
        # The plan's record first: without it, pieces are only what a listing that died has left.
        for piece in sorted(plan, key=lambda piece: not piece.endswith(".json")):
            storage.remove(piece)
        for record in self._files_of(HISTORY_FOLDER):
            storage.remove(record)
        storage.remove(uri)

    def _files_of(self, name: str) -> list[str]:
        """Return the URIs of the files in a folder; on disk, what failed leaves empty folders."""
        folder = storage.join(self.out, name)
        return [entry.uri for entry in storage.walk(folder)] if storage.is_folder(folder) else []

    def committed(self) -> set[int]:
        """Return the numbers of the shards that have a commit record."""
        folder = storage.join(self.out, COMMITS_FOLDER)
        # Beside the records, a writer that was killed may have left a temporary file, and people their copies.
        found = (_RECORD_NAME.fullmatch(name) for name in storage.list_names(folder))
        return {int(record[1]) for record in found if record is not None}

    def commits(self, shards: Iterable[int]) -> dict[int, Commit]:
        """Read the commit records of shards that have one, by shard; raises as ``find_commit``.

        Those of a finished job come from its journal, at once.
        """
        wanted = set(shards)
        journal = self._journal() if wanted else {}
        return {**self._records(wanted - journal.keys()), **{one: journal[one] for one in wanted & journal.keys()}}

    def _records(self, shards: Iterable[int]) -> dict[int, Commit]:
        numbers = list(shards)
        found = zip(numbers, retry.in_order(partial(find_commit, self.out), numbers, RECORDS_AT_ONCE), strict=True)
        return {shard: commit for shard, commit in found if commit is not None}

    def mark_success(self, totals: Totals, commits: Iterable[Commit]) -> None:
        """Write the success mark, last of all, and before it all commit records into the one journal that it names."""
        records = [asdict(commit) for commit in sorted(commits, key=lambda commit: commit.shard)]
        name = store_journal(self.out, records)
        mark = {"listed": totals.listed, "done": totals.done, "failed": totals.failed, "journal": name}
        storage.create(storage.join(self.out, SUCCESS_NAME), (json.dumps(mark) + "\n").encode())

    def _journal(self) -> dict[int, Commit]:
        try:
            return {record["shard"]: Commit(**record) for record in read_journal(self.out)}
        except (TypeError, KeyError):
            return {}  # It is damaged: the records themselves count.

    def is_finished(self) -> bool:
        """Tell whether the success mark is there."""
        return storage.find(storage.join(self.out, SUCCESS_NAME)) is not None

    def unmark_success(self) -> None:
        """Remove the success mark and then its journal, since there is more to do."""
        name = journal_name(self.out)
        storage.remove(storage.join(self.out, SUCCESS_NAME))
        if name is not None:
            storage.remove(journal_uri(self.out, name))


def reconcile(
    n_shards: int,
    n_recordings: int,
    commits: Mapping[int, Commit],
    n_failures_replaced: int = 0,
    n_rows_replaced: int = 0,
) -> Totals:
    """Check the commit records against the plan, and return the totals.

    Parameters
    ----------
    n_shards, n_recordings : int
        In the plans of all generations.
    commits : Mapping[int, Commit]
        By the number of the shard.
    n_failures_replaced, n_rows_replaced : int
        Earlier failures, and earlier rows of results, of recordings that are planned again because they had failed or
        have changed: they no longer count.

    Raises
    ------
    JobError
        A shard is not committed, or rows and recordings do not add up.
    """
    missing = [index for index in range(n_shards) if index not in commits]
    if missing:
        more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
        raise JobError(f"shards not committed: {missing[:20]}{more}; run the same command again to go on")
    listed = sum(commit.listed for commit in commits.values())
    if listed != n_recordings:
        raise JobError(f"{n_recordings} recordings were listed and {listed} are committed")
    n_failed = sum(commit.failed for commit in commits.values()) - n_failures_replaced
    return Totals(listed - n_failures_replaced - n_rows_replaced, n_failed)


def count_labels(commits: Iterable[Commit]) -> Counter[str]:
    """Return how many rows of all these shards have each label."""
    counts: Counter[str] = Counter()
    for commit in commits:
        counts.update(commit.labels)
    return counts


def count_errors(commits: Iterable[Commit]) -> Counter[str]:
    """Return how many failures of all these shards there are of each ``error_type``."""
    counts: Counter[str] = Counter()
    for commit in commits:
        counts.update(commit.errors)
    return counts


def by_count(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts with the largest first, equal ones in the order of their names."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def find_commit(out: str, shard: int) -> Commit | None:
    """Return a shard's commit record, if it is there.

    Raises
    ------
    JobError
        It is damaged.
    """
    uri = commit_uri(out, shard)
    try:
        return Commit(**json.loads(storage.read(uri)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise JobError(f"{storage.display(uri)}: not a commit record: {error}") from None


def _is_left_over(name: str) -> bool:
    is_temporary = name.startswith(f".{RUN_NAME}.") and name.endswith(".tmp")
    return is_temporary or name == DRIVERS_FOLDER or name.startswith(storage.PROBE_PREFIX)
