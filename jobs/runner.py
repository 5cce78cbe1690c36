"""Tasks on a cluster: a bounded window of them, retries, and errors that say what to do.

The scheduler never holds more than a few tasks a thread, however long the list is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from typing import TypeVar

from distributed import Future, KilledWorker, as_completed

from heartbeat_core.errors import JobError, UsageError
from jobs.cluster import Connection

TASKS_A_THREAD = 3

ItemT = TypeVar("ItemT")
JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


def run_tasks(
    connection: Connection,
    function: Callable[[ItemT, JobT], ResultT],
    items: Sequence[ItemT],
    job: JobT,
    retries: int,
    on_result: Callable[[ResultT], None],
) -> None:
    """Run ``function(item, job)`` for all items; ``on_result`` sees each result as it comes.

    Raises:
        JobError: a task killed its workers, or the scheduler is gone.
        Exception: whatever a task raised after its retries.
    """
    client = connection.client
    pending = iter(items)

    def submit(item: ItemT) -> Future[ResultT]:
        return client.submit(function, item, job, pure=False, retries=retries)

    running = as_completed([submit(item) for item in islice(pending, TASKS_A_THREAD * connection.n_threads)])
    try:
        for future in running:
            on_result(_result(future))
            running.update([submit(item) for item in islice(pending, 1)])
    except BaseException:
        client.cancel(list(running.futures))
        raise


def _result(future: Future[ResultT]) -> ResultT:
    try:
        result: ResultT = future.result()
    except KilledWorker as error:
        raise JobError(
            f"a task ended {error.allowed_failures + 1} workers, {error.last_worker.address} last: "
            "out of memory or a crash in a decoder; see the workers' logs"
        ) from None
    except UsageError as error:
        # It would have been the command's fault before; now work has begun.
        raise JobError(str(error)) from None
    except CancelledError:
        raise JobError("the scheduler is gone: run the same command again to go on where it stopped") from None
    return result
