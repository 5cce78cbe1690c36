"""Who computes in a worker: one thread at a time, and a task keeps the core while its recordings come at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

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
