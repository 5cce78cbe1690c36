"""Running many tasks on a real cluster of this machine: each item ends once, whatever becomes of its workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from heartbeat_core.errors import InputError, JobError
from heartbeat_core.storage import Access
from jobs.cluster.connect import Connection, connect
from jobs.cluster.runner import TASKS_A_THREAD, Tasks, run_tasks
from jobs.settings import ClusterSettings

N_ITEMS = 400


@dataclass(frozen=True)
class Item:
    number: int
    isolated: bool = False


@dataclass(frozen=True)
class Job:
    kills: frozenset[int] = frozenset()
    wrong: frozenset[int] = frozenset()


def work(item: Item, job: Job) -> tuple[int, bool] | None:
    """Return the item, None where its number is odd; some kill their worker, and some find the command wrong."""
    if item.number in job.kills and not item.isolated:
        os.kill(os.getpid(), signal.SIGKILL)
    if item.number in job.wrong:
        raise InputError(f"item {item.number} is wrong")
    return None if item.number % 2 else (item.number, item.isolated)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    shared = str(tmp_path_factory.mktemp("shared"))
    with connect(ClusterSettings(workers=2, dashboard="127.0.0.1:0"), shared, Access()) as connection:
        yield connection


def items() -> list[Item]:
    return [Item(number) for number in range(N_ITEMS)]


def test_each_result_comes_once_and_none_is_a_result(connection: Connection) -> None:
    results: list[tuple[int, bool] | None] = []
    run_tasks(connection, Tasks(work, Job(), 0, results.append), items())
    assert results.count(None) == N_ITEMS // 2
    assert Counter(filter(None, results)) == {(number, False): 1 for number in range(0, N_ITEMS, 2)}


def test_results_that_take_their_time_are_waited_for(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those that are computed again because their worker died; the scheduler answers all the while."""
    fetch = connection.client._gather

    async def late(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(4)
        return await fetch(*arguments, **options)

    monkeypatch.setattr("jobs.cluster.runner.ANSWER_S", 1.5)
    monkeypatch.setattr(connection.client, "_gather", late)
    results: list[tuple[int, bool] | None] = []
    run_tasks(connection, Tasks(work, Job(), 0, results.append), items()[:4])
    assert len(results) == 4


def test_the_scheduler_never_has_more_than_its_window(connection: Connection) -> None:
    out, most = 0, 0

    def submitted(item: Item) -> None:
        nonlocal out, most
        out += 1
        most = max(most, out)

    def took(result: tuple[int, bool] | None) -> None:
        nonlocal out
        out -= 1

    run_tasks(connection, Tasks(work, Job(), 0, took, on_submit=submitted), items())
    assert out == 0
    assert most == TASKS_A_THREAD * connection.n_threads


def test_items_whose_worker_died_are_done_in_isolation_and_all_others_once(connection: Connection) -> None:
    results: list[tuple[int, bool] | None] = []

    def isolated(item: Item) -> Item | None:
        return None if item.isolated else replace(item, isolated=True)

    job = Job(kills=frozenset({100, 102, 300}))
    run_tasks(connection, Tasks(work, job, 0, results.append, isolate=isolated), items())
    assert results.count(None) == N_ITEMS // 2
    found = dict(result for result in results if result is not None)
    assert sorted(found) == list(range(0, N_ITEMS, 2))
    assert len(results) == N_ITEMS
    assert all(found[number] for number in job.kills)


def test_what_one_task_raises_ends_the_job_and_results_beside_it_count(connection: Connection) -> None:
    results: list[tuple[int, bool] | None] = []
    with pytest.raises(JobError, match=r"^item 200 is wrong$"):
        run_tasks(connection, Tasks(work, Job(wrong=frozenset({200})), 0, results.append), items())
    assert (200, False) not in results
    assert len(results) >= 200 - TASKS_A_THREAD * connection.n_threads
    # The cluster is free for other work.
    run_tasks(connection, Tasks(work, Job(), 0, results.append), [Item(1000)])
    assert results[-1] == (1000, False)
