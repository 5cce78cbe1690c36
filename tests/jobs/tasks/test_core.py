"""Who computes in a worker: one thread at a time, and a task keeps the core while its recordings come at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from weakref import ref

import pytest

from jobs.tasks import core
from jobs.tasks.core import SLOW_S, Turn, computing, loaded_once

PATIENCE_S = 10.0


def compute_elsewhere() -> threading.Event:
    """Start a thread that computes once; the event is set when it has."""
    done = threading.Event()

    def compute() -> None:
        with computing():
            done.set()

    threading.Thread(target=compute, daemon=True).start()
    return done


def test_a_task_keeps_the_core_while_its_recordings_come_at_once() -> None:
    order: list[tuple[str, int]] = []
    has_begun = threading.Event()

    def task(name: str) -> None:
        with Turn() as turn:
            for number in turn.each(iter(range(5))):
                has_begun.set()
                time.sleep(0.005)  # Another thread runs if it may.
                with computing():  # What a task calls computes, too.
                    order.append((name, number))

    threads = [threading.Thread(target=task, args=(name,)) for name in "ab"]
    threads[0].start()
    assert has_begun.wait(PATIENCE_S)
    threads[1].start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == [(name, number) for name in "ab" for number in range(5)]


def test_while_a_task_awaits_slow_recordings_another_computes() -> None:
    def recordings() -> Iterator[bool]:
        yield compute_elsewhere().wait(PATIENCE_S)  # The first one is not there yet.
        time.sleep(2 * SLOW_S)
        yield True  # It came late: whoever waits for the next one does not keep the core.
        yield compute_elsewhere().wait(PATIENCE_S)

    with Turn() as turn:
        assert list(turn.each(recordings())) == [True, True, True]
        elsewhere = compute_elsewhere()
        assert not elsewhere.wait(0.05)
    assert elsewhere.wait(PATIENCE_S)


@pytest.mark.parametrize("n_before", [0, 1, 2])
def test_the_core_is_free_after_an_error(n_before: int) -> None:
    def recordings() -> Iterator[int]:
        yield from range(n_before)
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="gone"), Turn() as turn:
        list(turn.each(recordings()))
    assert compute_elsewhere().wait(PATIENCE_S)


def test_the_threads_of_a_worker_load_once() -> None:
    loaded = []

    @loaded_once
    def load(name: str) -> object:
        loaded.append(name)
        time.sleep(0.05)  # The others ask meanwhile.
        return object()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(load, ["model"] * 8))) == 1
    assert load("other") is load("other")
    assert loaded == ["model", "other"]


def test_what_could_not_be_loaded_is_tried_again() -> None:
    answers = iter([OSError("away"), "model"])

    @loaded_once
    def load() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    with pytest.raises(OSError, match="away"):
        load()
    assert load() == "model"


def test_the_threads_that_wait_share_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If each tried in its turn, each would wait for a store that is away."""
    n_others, asked, tried = 3, threading.Semaphore(0), []

    class Seen(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            asked.release()
            return super().result(timeout)

    monkeypatch.setattr(core, "Future", Seen)

    @loaded_once
    def load() -> None:
        tried.append("model")
        for _ in range(n_others):
            assert asked.acquire(timeout=PATIENCE_S)
        raise OSError("away")

    with ThreadPoolExecutor(1 + n_others) as pool:
        asking = [pool.submit(load) for _ in range(1 + n_others)]
        errors = [str(one.exception(PATIENCE_S)) for one in asking]
    assert errors == ["away"] * (1 + n_others)
    assert tried == ["model"]


def test_what_was_loaded_before_is_let_go_first() -> None:
    class Inputs:
        """Stands for arrays that fill the memory."""

    before: list[ref[Inputs]] = []

    @loaded_once
    def load(name: str) -> Inputs:
        assert all(one() is None for one in before)
        found = Inputs()
        before.append(ref(found))
        return found

    load("first")
    load("second")
    assert len(before) == 2
