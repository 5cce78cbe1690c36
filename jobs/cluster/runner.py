"""Tasks on a cluster: a bounded window of them, retries, isolation of what kills, an orderly stop, and errors that say
what to do.

The scheduler never holds more than a few tasks a thread, however long the list is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm.core import CommClosedError

from heartbeat_core.errors import JobError, UsageError
from jobs.cluster.connect import Connection, SchedulerGone

TASKS_A_THREAD = 2

DEATHS_IN_ISOLATION = 8
"""How often a worker may end under a task that cannot have killed it, before the job gives up."""

STOP_WAIT_S = 120.0
STOP_LOOK_S = 0.1

ItemT = TypeVar("ItemT")
JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


def _nothing(item: object) -> None:
    pass


@dataclass(frozen=True)
class Tasks(Generic[ItemT, JobT, ResultT]):
    """What is to be run, and who wants to know.

    Attributes
    ----------
    function : Callable[[ItemT, JobT], ResultT]
        Called as ``function(item, job)`` on the workers.
    isolate : Callable[[ItemT], ItemT | None]
        Gives what to run in place of an item whose worker died; None where it is isolated already.
    on_submit : Callable[[ItemT], None]
        Sees each item when it is handed to the cluster, ``on_result`` each result as it comes.
    stop : Callable[[], int] | None
        Called on each worker when the driver is asked to stop; returns how many tasks are committing there.
    """

    function: Callable[[ItemT, JobT], ResultT]
    job: JobT
    retries: int
    on_result: Callable[[ResultT], None]
    isolate: Callable[[ItemT], ItemT | None] = lambda item: None
    on_submit: Callable[[ItemT], None] = _nothing
    stop: Callable[[], int] | None = None


def run_tasks(connection: Connection, tasks: Tasks[ItemT, JobT, ResultT], items: Iterable[ItemT]) -> None:
    """Run the tasks of all items. KeyboardInterrupt lets those that are committing end first.

    Raises
    ------
    JobError
        Workers keep dying.
    SchedulerGone
        Nothing can be asked of the cluster any more.
    Exception
        Whatever a task raised after its retries.
    """
    client = connection.client
    pending = iter(items)
    # What each task was given, and how many workers ended under it though it cannot have killed them.
    handed_out: dict[Future[ResultT], tuple[ItemT, int]] = {}

    def submit(item: ItemT, deaths: int = 0) -> Future[ResultT]:
        tasks.on_submit(item)
        future = client.submit(tasks.function, item, tasks.job, pure=False, retries=tasks.retries)
        handed_out[future] = item, deaths
        return future

    running = as_completed([submit(item) for item in islice(pending, TASKS_A_THREAD * connection.n_threads)])
    try:
        for future in running:
            item, deaths = handed_out.pop(future)
            try:
                tasks.on_result(_result(future))
                running.update([submit(item) for item in islice(pending, 1)])
            except KilledWorker as error:
                isolated = tasks.isolate(item)
                if isolated is not None:
                    running.update([submit(isolated)])
                elif deaths < DEATHS_IN_ISOLATION:
                    running.update([submit(item, deaths + 1)])
                else:
                    raise JobError(
                        f"workers keep dying, {error.last_worker.address} last: out of memory, perhaps; "
                        "see the workers' logs"
                    ) from None
    except KeyboardInterrupt:
        if tasks.stop is None:
            client.cancel(list(handed_out))
        else:
            _stop(client, tasks.stop, list(handed_out))
        raise
    except SchedulerGone:
        raise
    except BaseException:
        client.cancel(list(handed_out))
        raise


def _stop(client: Client, stop: Callable[[], int], futures: list[Future[ResultT]]) -> None:
    """Let the workers know, and wait for those that are committing; one that waits for a store is not waited for."""
    ends_at = time.monotonic() + STOP_WAIT_S
    while any(client.run(stop, on_error="ignore").values()) and time.monotonic() < ends_at:
        time.sleep(STOP_LOOK_S)
    client.cancel(futures)


def _result(future: Future[ResultT]) -> ResultT:
    try:
        result: ResultT = future.result()
    except UsageError as error:
        # It would have been the command's fault before; now work has begun.
        raise JobError(str(error)) from None
    except (CancelledError, CommClosedError):
        # Told by the futures, or by the fetching of a result; tasks have no connections of their own.
        raise SchedulerGone("the scheduler is gone: run the same command again to go on where it stopped") from None
    return result
