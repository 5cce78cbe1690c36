"""Running tasks on a cluster: with retries, an orderly stop, and isolation of whatever kills a worker.

The scheduler never holds more than a few tasks for each thread, however long the list is. Whatever ended while the
driver was busy is fetched at once, and as many tasks are handed out at once: one exchange with the scheduler costs as
much as the tasks in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Generic, TypeVar

from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm.core import CommClosedError
from distributed.protocol.pickle import dumps, loads

from heartbeat_core.errors import JobError, UsageError
from jobs.cluster.connection import Connection, SchedulerGone

TASKS_A_THREAD = 2
TOGETHER_S = 0.02
"""Tasks that end within this time are fetched together: each thread has its next one in hand."""

DEATHS_IN_ISOLATION = 8
"""How often a worker may die during a task that is isolated already, before the job gives up."""

ANSWER_S = 15.0
"""The scheduler is gone if it does not say who it is in this time."""

STOP_WAIT_S = 120.0
STOP_LOOK_S = 0.1

ItemT = TypeVar("ItemT")
JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


def _nothing(item: object) -> None:
    pass


@dataclass(frozen=True)
class Tasks(Generic[ItemT, JobT, ResultT]):
    """What is to be run, and what is called meanwhile.

    Attributes
    ----------
    function : Callable[[ItemT, JobT], ResultT]
        Called as ``function(item, job)`` on the workers.
    job : JobT
        The same for all items.
    retries : int
        How often a task that raised an error is run again.
    on_result : Callable[[ResultT], None]
        Called with each result, as tasks end.
    isolate : Callable[[ItemT], ItemT | None]
        Returns what to run in place of an item whose worker died; None where it is isolated already.
    on_submit : Callable[[ItemT], None]
        Called with each item when it is handed to the cluster.
    stop : Callable[[], int] | None
        Called on each worker when the driver is asked to stop; returns how many tasks are committing there. None
        cancels the tasks at once.
    """

    function: Callable[[ItemT, JobT], ResultT]
    job: JobT
    retries: int
    on_result: Callable[[ResultT], None]
    isolate: Callable[[ItemT], ItemT | None] = lambda item: None
    on_submit: Callable[[ItemT], None] = _nothing
    stop: Callable[[], int] | None = None


def run_tasks(connection: Connection, tasks: Tasks[ItemT, JobT, ResultT], items: Iterable[ItemT]) -> None:
    """Run the tasks of all items. After a KeyboardInterrupt, tasks that are committing are waited for.

    Parameters
    ----------
    connection : Connection
    tasks : Tasks
    items : Iterable[ItemT]
        Read as tasks end: no more than a few items for each thread are handed out.

    Raises
    ------
    JobError
        Workers keep dying, or a task raised a UsageError, whose text it has.
    SchedulerGone
        The cluster does not answer any more.
    Exception
        Whatever a task still raised after its retries.
    """
    client = connection.client
    pending = iter(items)
    # The item of each task, and how many workers died during it although it was isolated.
    handed_out: dict[Future[tuple[ResultT]], tuple[ItemT, int]] = {}
    # Pickled once: the scheduler passes bytes on as they are.
    shared = dumps((tasks.function, tasks.job))
    name = getattr(tasks.function, "__name__", "task")

    def submit(items: list[tuple[ItemT, int]]) -> list[Future[tuple[ResultT]]]:
        for item, _ in items:
            tasks.on_submit(item)
        pickled = [dumps(item) for item, _ in items]
        futures = client.map(_call, pickled, shared=shared, key=name, pure=False, retries=tasks.retries)
        handed_out.update(zip(futures, items, strict=True))
        return futures

    def fresh(n_items: int) -> list[tuple[ItemT, int]]:
        return [(item, 0) for item in islice(pending, n_items)]

    running = as_completed(submit(fresh(TASKS_A_THREAD * connection.n_threads)))
    try:
        for batch in running.batches():
            results = _results(client, batch)
            again: list[tuple[ItemT, int]] = []
            for future in batch:
                item, deaths = handed_out.pop(future)
                try:
                    tasks.on_result(results[future] if future in results else _result(future))
                except KilledWorker as error:
                    isolated = tasks.isolate(item)
                    if isolated is None and deaths >= DEATHS_IN_ISOLATION:
                        raise JobError(
                            "workers keep dying, perhaps because memory runs out: see their logs "
                            f"(the last one was {error.last_worker.address})"
                        ) from None
                    again.append((item, deaths + 1) if isolated is None else (isolated, 0))
            again.extend(fresh(len(batch) - len(again)))
            if again:
                running.update(submit(again))
                time.sleep(TOGETHER_S)
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


def _stop(client: Client, stop: Callable[[], int], futures: list[Future[tuple[ResultT]]]) -> None:
    """Ask all workers to stop and wait for tasks that are committing, but no longer than ``STOP_WAIT_S``."""
    ends_at = time.monotonic() + STOP_WAIT_S
    # A batch system asks scheduler and driver to end at the same moment.
    with suppress(OSError):
        while any(client.run(stop, on_error="ignore").values()) and time.monotonic() < ends_at:
            time.sleep(STOP_LOOK_S)
        client.cancel(futures)


def _call(item: bytes, *, shared: bytes) -> tuple[Any]:
    """Run one task on a worker; a result is in a tuple, so that None is one as well."""
    function, job = _loaded(shared)
    return (function(loads(item), job),)


@lru_cache(maxsize=2)
def _loaded(shared: bytes) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return the function and the job of all tasks of a run, which a worker unpickles once."""
    function, job = loads(shared)
    return function, job


def _results(client: Client, futures: list[Future[tuple[ResultT]]]) -> dict[Future[tuple[ResultT]], ResultT]:
    """Fetch the results of all tasks that have one, at once."""

    async def fetch() -> dict[str, tuple[ResultT]]:
        wanted = client.gather({future.key: future for future in futures}, errors="skip", asynchronous=True)
        task = asyncio.ensure_future(wanted)
        scheduler: Any = client.scheduler
        try:
            # A result whose worker has died is computed again, which takes its time. But where the connection was cut,
            # Dask would wait for good.
            while not (await asyncio.wait([task], timeout=ANSWER_S))[0]:
                await asyncio.wait_for(scheduler.identity(), ANSWER_S)
            found: dict[str, tuple[ResultT]] = task.result()
        except OSError as error:
            # Of Dask, and never of a task: those errors are skipped. A time that is over is an OSError as well.
            raise CommClosedError(str(error)) from None
        finally:
            task.cancel()
        return found

    with _noticing():
        found = client.sync(fetch)
    answers = ((future, found.get(future.key)) for future in futures)
    return {future: answer[0] for future, answer in answers if answer is not None}


def _result(future: Future[tuple[ResultT]]) -> ResultT:
    """Return the result of one task, or raise what it has raised."""
    with _noticing():
        try:
            answer: tuple[ResultT] = future.result()
        except UsageError as error:
            # Before the work had begun, this would have been a usage error.
            raise JobError(str(error)) from None
    return answer[0]


@contextmanager
def _noticing() -> Iterator[None]:
    """Notice that the scheduler is gone, whether a future tells it or the fetching of its result."""
    try:
        yield
    except (CancelledError, CommClosedError):
        # Tasks have no connections to Dask of their own.
        raise SchedulerGone("the scheduler is gone: run the same command again to go on where it stopped") from None
