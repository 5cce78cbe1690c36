"""What the drivers share: begin or go on in the output folder, run what is left, check that all rows are there."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import HeartbeatError, OutputError, StorageError
from heartbeat_core.formats.kept import KeptColumn, KeptTypes
from heartbeat_core.recipe import RESULTS_VERSION
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import public_uri
from heartbeat_core.wording import counted
from jobs.cluster.connection import Connection
from jobs.drivers.log_commits import log_commit
from jobs.drivers.metrics import serving_metrics
from jobs.listing.listing import Listing
from jobs.listing.shards import RECORDING_BYTES, Shard
from jobs.logs import json_lines
from jobs.output.lease import BEAT_S, Presence, present
from jobs.output.ledger import Commit, Ledger, Totals, reconcile
from jobs.output.places import RUN_NAME
from jobs.output.plans import Generation, PlanFolder, PlannedShard, Replaced, sum_replaced
from jobs.output.provenance import describe_origin, recorded
from jobs.progress import meter
from jobs.settings import JobSettings
from jobs.tasks.context import stop_work
from jobs.tasks.shards import in_isolation

COST_A_WORKER = 8 * 2**20
"""What a worker does in about a second, in bytes of audio. It takes a third of that to start one."""

WORK_PATIENCE_S = 300.0
"""How long a store is asked again once the work has begun."""

JobT = TypeVar("JobT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An output folder that belongs to this job, with this driver in it.

    Attributes
    ----------
    run_id : str
        Of the job, whichever of its drivers was first.
    access : storage.Access
        How stores are reached.
    presence : Presence
        What this driver says of itself.
    is_new : bool
        Whether the folder was free when this driver came.
    """

    ledger: Ledger
    run_id: str
    access: storage.Access
    presence: Presence
    is_new: bool

    def remaining(self) -> Iterator[PlannedShard]:
        """Yield the shards that are left; a job without a plan has none."""
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Place):
    """A job with shards, and which of them were committed before this driver began."""

    plans: PlanFolder
    generations: tuple[Generation, ...]
    commits: dict[int, Commit]

    @property
    def n_shards(self) -> int:
        """Shards of all generations."""
        return self.generations[-1].end_shard if self.generations else 0

    @property
    def n_recordings(self) -> int:
        """Recordings of all generations."""
        return sum(generation.n_recordings for generation in self.generations)

    @property
    def replaced(self) -> Replaced:
        """The rows of recordings that a later generation takes again."""
        return sum_replaced(self.generations)

    @property
    def kept(self) -> tuple[KeptColumn, ...]:
        """The columns of the inputs that are kept, the same in all generations."""
        return self.generations[0].kept if self.generations else ()

    @property
    def is_committed(self) -> bool:
        """Whether every shard is committed."""
        return len(self.commits) == self.n_shards

    @property
    def is_finished(self) -> bool:
        """Whether every shard is committed and the success mark is there."""
        return self.is_committed and self.ledger.is_finished()

    def shards(self) -> Iterator[Shard]:
        """Yield all shards, in order, as the plan holds them."""
        for generation in self.generations:
            yield from self.plans.shards(generation)

    def planned(self) -> Iterator[PlannedShard]:
        """Yield where all shards stand in the plan, in order."""
        for generation in self.generations:
            yield from chain.from_iterable(self.plans.planned(generation))

    def remaining(self) -> Iterator[PlannedShard]:
        """Yield the shards that were not committed when this driver began.

        Of those that are read from the plan together the long ones come first, so that no worker waits at the end.
        """
        for generation in self.generations:
            for piece in self.plans.planned(generation):
                left = [shard for shard in piece if shard.index not in self.commits]
                yield from sorted(left, key=lambda shard: -shard.expected_cost)


def job_identity(job: str, inputs: Sequence[str], settings: JobSettings, **more: Any) -> dict[str, Any]:
    """Return what makes two commands the same job: everything that changes the rows or how they are divided."""
    return {
        "job": job,
        "inputs": [public_uri(storage.to_uri(text)).rstrip("/") for text in inputs],
        "path_column": settings.path_column,
        "patient_column": settings.patient_column,
        "keep_columns": list(settings.keep_columns),
        "selection": settings.selection.model_dump(mode="json"),
        "limits": settings.limits.model_dump(mode="json"),
        "shards": settings.shards.model_dump(mode="json"),
        "results_version": RESULTS_VERSION,
        **more,
    }


@contextmanager
def enter(
    ledger: Ledger,
    found: str | None,
    identity: Mapping[str, Any],
    settings: JobSettings,
    work: Mapping[str, int] | None = None,
) -> Iterator[Place]:
    """Announce this driver in the output folder, and claim the folder unless the job has it already.

    A folder that was free is given back where the job fails before any task could write into it. Where the job is
    interrupted instead, the folder keeps what was listed.

    Parameters
    ----------
    ledger : Ledger
        The folder.
    found : str | None
        What ``ledger.find_run`` returned.
    identity : Mapping[str, Any]
        Everything that tells this job from another.
    work : Mapping[str, int] | None
        As ``Ledger.claim`` takes it.

    Raises
    ------
    OutputError
        The folder holds another job or cannot be written, or another driver is in the way.
    """
    with storage.refusals_as(OutputError):
        honours_conditions = storage.honours_conditions(ledger.out)
    access = storage.Access(settings.s3, looks_first=not honours_conditions)
    with storage.using(access, WORK_PATIENCE_S), present(ledger.out, alone=not honours_conditions) as presence:
        # Looked at once more: before this driver had announced itself, another may have given the folder back, or
        # begun to compact it.
        run_id = None if found is None else ledger.find_run(identity)
        place = Place(
            ledger=ledger,
            run_id=run_id or ledger.claim(identity, work, asdict(describe_origin(settings))),
            access=access,
            presence=presence,
            is_new=found is None,
        )
        try:
            yield place
        except BaseException as error:
            if place.is_new:
                _give_back(place, is_failure=isinstance(error, HeartbeatError))
            raise


def _give_back(place: Place, *, is_failure: bool) -> None:
    presence = place.presence
    if presence.stage == "working" or (presence.stage == "planned" and not is_failure):
        return
    with retry.patience(BEAT_S), suppress(StorageError):
        if presence.try_to_be_alone():
            place.ledger.release(place.run_id, with_plan=presence.stage == "planned")


@contextmanager
def begin(
    out: str,
    identity: Mapping[str, Any],
    settings: JobSettings,
    make_plan: Callable[[], Iterable[Sequence[Recording]]],
    console: Console,
    kept: Sequence[KeptColumn] = (),
) -> Iterator[Run]:
    """Begin a job in a free folder, or go on with the one that is there, without listing again.

    ``make_plan`` yields the recordings of each shard; it is called only where no plan is there. ``kept`` are the kept
    columns if their types are settled already.

    Raises
    ------
    OutputError
        As ``enter``.
    InputError
        Whatever ``make_plan`` finds wrong; nothing is left behind then.
    """
    ledger = Ledger(out)
    found = ledger.find_run(identity)
    plans = PlanFolder(ledger.out)
    listed: Iterable[Sequence[Recording]] | None = None
    if found is None or not plans.generations():
        shards = iter(make_plan())
        # What is wrong with the inputs shows before anything is written.
        listed = chain(list(islice(shards, 1)), shards)
    with enter(ledger, found, identity, settings) as place:
        # Meanwhile another driver may have listed, or given the folder back with its plan.
        generations = plans.generations() or [
            plans.settle(0, 0, make_plan() if listed is None else listed, KeptTypes(settings.keep_columns, kept))
        ]
        place.presence.stage = "planned"
        if (lines := json_lines(console)) is not None:
            lines.run = place.run_id
        run = Run(
            ledger=ledger,
            run_id=place.run_id,
            access=place.access,
            presence=place.presence,
            is_new=place.is_new,
            plans=plans,
            generations=tuple(generations),
            commits=ledger.commits(ledger.committed()),
        )
        if run.is_finished:
            console.print(f"finished already: {counted(run.n_shards, 'shard')}, all committed")
        elif run.commits:
            console.print(f"going on: {len(run.commits)} of {counted(run.n_shards, 'shard')} committed already")
        yield run


def worth_workers(run: Run) -> int:
    """Return how many workers the shards that are left are worth, or more than this machine has cores."""
    n_left = run.n_recordings - sum(commit.listed for commit in run.commits.values())
    most = os.cpu_count() or 1
    # Without reading a long plan: each recording costs at least so much.
    if n_left * RECORDING_BYTES > most * COST_A_WORKER:
        return most
    cost = sum(shard.expected_cost for shard in run.remaining())
    return max(1, math.ceil(cost / COST_A_WORKER))


@contextmanager
def on_cluster(place: Place, settings: JobSettings, console: Console, worth: int | None = None) -> Iterator[Connection]:
    """Connect to the workers; ``worth`` is as ``connect`` takes it. Until this has succeeded, no task can have written.

    Raises
    ------
    UsageError, JobError
        The cluster cannot be reached, or a worker cannot do this job.
    """
    # Imported here, as below: Dask takes a quarter of a second to load, and some jobs do without workers.
    from jobs.cluster.connect import check_device, connect
    from jobs.drivers.preflight import check_job

    shared = storage.join(place.ledger.out, RUN_NAME)
    with connect(settings.cluster, shared, place.access, worth, console.print) as connection:
        check_device(connection, settings.device)
        check_job(connection, place, settings)
        with announced(connection, console):
            place.presence.stage = "working"
            place.presence.tell = console.print
            with recorded(place.ledger.out, place.presence.id, settings, connection.shape):
                yield connection


@contextmanager
def announced(connection: Connection, console: Console) -> Iterator[None]:
    """Print where the work is done; as long as the block runs, say when no worker is left there."""
    from jobs.cluster.watch import telling_of_lost_workers

    where = "on this machine" if connection.is_local else f"at {connection.address}"
    console.print(f"{counted(connection.n_workers, 'worker')} {where}; dashboard: {connection.dashboard}")
    with telling_of_lost_workers(connection, console.print):
        yield


def run_shards(
    run: Run,
    connection: Connection | None,
    function: Callable[[PlannedShard, JobT], Commit],
    job: JobT,
    settings: JobSettings,
    console: Console,
    title: str,
) -> None:
    """Run the shards that are left, show progress, and add what they commit to the run.

    Parameters
    ----------
    run : Run
    connection : Connection | None
        To the workers; None runs the shards in this process.
    function : Callable[[PlannedShard, JobT], Commit]
        The task that processes and commits a shard.
    job : JobT
        Its second argument.
    settings : JobSettings
    console : Console
    title : str
        What the progress bar is called.
    """
    presence = run.presence
    # What is taken again is not done any more, and its failure does not count.
    replaced = run.replaced
    n_again = replaced.rows + replaced.failures
    done = sum(commit.listed for commit in run.commits.values()) - n_again
    failed = sum(commit.failed for commit in run.commits.values()) - replaced.failures
    with (
        serving_metrics(run, settings.metrics_port, title, console) as take_metrics,
        meter(console, title, run.n_recordings - n_again, done=done, failed=failed) as shown,
    ):

        def take(commit: Commit) -> None:
            run.commits[commit.shard] = commit
            presence.finished(commit.shard, commit.listed - commit.failed, commit.failed)
            shown.advance(commit.listed, commit.failed)
            log_commit(run.ledger.out, commit, console)
            take_metrics([commit])

        if connection is None:
            presence.stage = "working"
            for shard in run.remaining():
                presence.submitted(shard.index)
                take(function(shard, job))
            return
        from jobs.cluster.runner import Tasks, run_tasks

        tasks = Tasks(
            function,
            job,
            settings.task_retries,
            take,
            isolate=in_isolation,
            on_submit=lambda shard: presence.submitted(shard.index),
            stop=partial(stop_work, presence.id),
        )
        run_tasks(connection, tasks, run.remaining())


def finish(run: Run, complete: Callable[[], None] = lambda: None) -> Totals:
    """Check what is stored as ``count`` does, ``complete`` the output, write the success mark; return the totals."""
    totals = count(run)
    complete()
    run.ledger.mark_success(totals, run.commits.values())
    return totals


def count(run: Run) -> Totals:
    """Check the commit records against the plan, and return the totals.

    Raises
    ------
    JobError
        A shard is not committed, or rows and recordings do not add up.
    """
    committed = run.ledger.committed()
    run.commits.update(run.ledger.commits(committed - run.commits.keys()))
    there = {shard: commit for shard, commit in run.commits.items() if shard in committed}
    return reconcile(run.n_shards, run.n_recordings, there, run.replaced.failures, run.replaced.rows)


def report_listing(listing: Listing, console: Console, *, with_names: bool = True) -> None:
    """Print what was listed and what was left out."""
    # A file's name may look like markup, and a path that is wrapped cannot be copied.
    console.print(listing.describe(with_names=with_names), markup=False, soft_wrap=True)
