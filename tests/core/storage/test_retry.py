"""Repeated requests: few at a time, a few a second while a store fails, and none after the deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import TypeVar

import pytest

from heartbeat_core.storage import retry
from heartbeat_core.storage.retry import Gate, ask, in_order, patience, patience_s, submit

T = TypeVar("T")


class Passing(Exception):
    """An error that may pass."""


def is_transient(error: BaseException) -> bool:
    return isinstance(error, Passing)


class Store:
    """Answers or fails as it is told, and remembers when it was asked, and by how many at once."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.error: Exception | None = None
        self.takes_s = takes_s
        self.asked_at: list[float] = []
        self.most = self._now = 0
        self._lock = threading.Lock()

    def __call__(self, seconds: float = 0.0) -> str:
        with self._lock:
            self.asked_at.append(time.monotonic())
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            if self.takes_s:
                time.sleep(self.takes_s)
            if self.error is not None:
                raise self.error
            return "answer"
        finally:
            with self._lock:
                self._now -= 1


def ask_side_by_side(gate: Gate, store: Store, n: int, n_threads: int) -> None:
    """Ask ``n`` times, whatever comes of it."""

    def once(_: int) -> None:
        with suppress(Passing):
            gate.ask(store, is_transient)

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(once, range(n)))


@pytest.fixture
def waits_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stop the clock of the gates, and return how long each request was to wait, in seconds."""
    waits: list[float] = []
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: 100.0, sleep=waits.append))
    return waits


def test_no_more_than_a_few_requests_at_once() -> None:
    store = Store(takes_s=0.05)
    ask_side_by_side(Gate(), store, 4 * retry.MAX_CONCURRENT, 3 * retry.MAX_CONCURRENT)
    assert store.most == retry.MAX_CONCURRENT
    assert len(store.asked_at) == 4 * retry.MAX_CONCURRENT


def test_a_request_that_fails_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "MAX_CONCURRENT", 1)
    gate, store = Gate(), Store()
    store.error = ValueError("no")
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            gate.ask(store, is_transient)
    store.error = None
    assert gate.ask(store, is_transient) == "answer"


def test_a_store_that_answers_is_asked_without_waiting(waits_s: list[float]) -> None:
    ask_side_by_side(Gate(), Store(), 200, 8)
    assert waits_s == [0.0] * 200


def test_requests_to_a_store_that_fails_are_few_each_second(
    monkeypatch: pytest.MonkeyPatch, waits_s: list[float]
) -> None:
    monkeypatch.setattr(retry, "FAILING_REQUESTS_PER_S", 20)
    gate, store = Gate(), Store()
    store.error = Passing()
    ask_side_by_side(gate, store, 21, 1)
    assert waits_s == pytest.approx([0.0, *(number / 20 for number in range(20))])
    # Each has a turn of its own, also where many ask at once.
    waits_s.clear()
    ask_side_by_side(gate, store, 40, retry.MAX_CONCURRENT)
    assert sorted(waits_s) == pytest.approx([number / 20 for number in range(20, 60)])


def test_requests_to_a_store_that_fails_wait_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FAILING_REQUESTS_PER_S", 20)
    store = Store()
    store.error = Passing()
    ask_side_by_side(Gate(), store, 10, 4)
    # The first waits for nothing; four threads may send theirs before it fails.
    assert store.asked_at[-1] - store.asked_at[0] >= 6 / 20 - 0.01


def test_a_success_opens_the_gate(monkeypatch: pytest.MonkeyPatch, waits_s: list[float]) -> None:
    monkeypatch.setattr(retry, "FAILING_REQUESTS_PER_S", 5)
    gate, store = Gate(), Store()
    store.error = Passing()
    ask_side_by_side(gate, store, 2, 1)
    store.error = None
    assert gate.ask(store, is_transient) == "answer"
    assert waits_s == pytest.approx([0.0, 0.0, 0.2])
    ask_side_by_side(gate, store, 100, 4)
    assert waits_s[3:] == [0.0] * 100
    # A refusal is an answer, too.
    store.error = Passing()
    ask_side_by_side(gate, store, 1, 1)
    store.error = ValueError("refused")
    with pytest.raises(ValueError, match="refused"):
        gate.ask(store, is_transient)
    assert waits_s.pop() > 0
    store.error = None
    ask_side_by_side(gate, store, 100, 4)
    assert waits_s[103:] == [0.0] * 101


def test_each_store_fails_for_itself(waits_s: list[float]) -> None:
    store = Store()
    store.error = Passing()
    ask_side_by_side(Gate(), store, 1, 1)
    store.error = None
    ask_side_by_side(Gate(), store, 50, 4)
    assert waits_s == [0.0] * 51


class OpenGate(Gate):
    """A gate that lets everybody through."""

    def ask(self, call: Callable[[], T], is_transient: Callable[[BaseException], bool]) -> T:
        return call()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again after a moment."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 0.05)


def failing(n: int, store: Store) -> tuple[list[Exception], Callable[[float], str]]:
    """Return the errors that will be raised, and a call that raises each and then answers."""
    errors: list[Exception] = [Passing(str(number)) for number in range(n)]
    left = iter(errors)

    def call(seconds: float) -> str:
        store.error = next(left, None)
        return store(seconds)

    return errors, call


def test_a_transient_error_is_followed_by_another_attempt(quick: None) -> None:
    store = Store()
    _, call = failing(4, store)
    with patience(20):
        assert ask(Gate(), call, is_transient) == "answer"
    assert len(store.asked_at) == 5


def test_any_other_error_is_raised_at_once() -> None:
    store = Store()
    store.error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        ask(Gate(), store, is_transient)
    assert caught.value is store.error
    assert len(store.asked_at) == 1


def test_the_last_error_is_raised_when_patience_ends(quick: None) -> None:
    store = Store()
    errors, call = failing(1_000, store)
    started_at = time.monotonic()
    with patience(0.6), pytest.raises(Passing) as caught:
        ask(Gate(), call, is_transient)
    assert time.monotonic() - started_at > 0.3
    assert len(store.asked_at) > 3
    assert caught.value is errors[len(store.asked_at) - 1]


def test_nobody_sleeps_beyond_the_end_of_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.wait_random_exponential", lambda multiplier, max: lambda _: 5.0)
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    store = Store()
    store.error = Passing()
    with patience(0.2), pytest.raises(Passing):
        ask(OpenGate(), store, is_transient)
    assert slept == []


def test_without_patience_there_is_one_attempt_and_it_has_a_second() -> None:
    given: list[float] = []

    def call(seconds: float) -> str:
        given.append(seconds)
        raise Passing

    with patience(0), pytest.raises(Passing):
        ask(Gate(), call, is_transient)
    assert given == [1.0]


def test_each_attempt_is_told_what_is_left(quick: None) -> None:
    given: list[float] = []

    def call(seconds: float) -> str:
        given.append(seconds)
        if len(given) < 3:
            raise Passing
        return "answer"

    with patience(7):
        ask(Gate(), call, is_transient)
    assert 6 < given[0] <= 7
    assert given[0] > given[1] > given[2] > 5


def test_waits_grow_and_are_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    for _ in range(20):
        _, call = failing(9, Store())
        with patience(10_000):
            ask(OpenGate(), call, is_transient)
    longest = [max(slept[number::9]) for number in range(9)]
    assert max(longest) <= retry.LONGEST_WAIT_S
    assert longest[0] <= retry.FIRST_WAIT_S
    assert longest[8] > 8 * longest[0]
    assert len(slept) == 180
    assert len(set(slept)) > 170


def test_patience_nests() -> None:
    assert patience_s() == retry.DEFAULT_PATIENCE_S
    with patience(5):
        assert patience_s() == 5
        with suppress(ValueError), patience(1):
            assert patience_s() == 1
            raise ValueError
        assert patience_s() == 5
    assert patience_s() == retry.DEFAULT_PATIENCE_S


def test_patience_reaches_the_threads_of_a_pool_and_stays_where_it_is_set() -> None:
    def impatient() -> float:
        with patience(1):
            return patience_s()

    with ThreadPoolExecutor(1) as pool:
        assert submit(pool, patience_s).result() == retry.DEFAULT_PATIENCE_S
        with patience(3):
            assert submit(pool, patience_s).result() == 3
            assert pool.submit(patience_s).result() == retry.DEFAULT_PATIENCE_S
            assert submit(pool, impatient).result() == 1
            waiting = threading.Event()
            pool.submit(waiting.wait, 10)
            late = submit(pool, patience_s)
        waiting.set()
        # As it was when it was submitted.
        assert late.result() == 3
        assert submit(pool, patience_s).result() == retry.DEFAULT_PATIENCE_S
        assert submit(pool, max, 2, 3).result() == 3


def test_calls_run_side_by_side_and_their_answers_come_in_order() -> None:
    together = threading.Barrier(4)

    def wait_for_the_others(item: int) -> tuple[int, float]:
        together.wait(timeout=30)
        return item, patience_s()

    with patience(7.0):
        assert list(in_order(wait_for_the_others, range(8), at_once=4)) == [(item, 7.0) for item in range(8)]


def test_no_more_items_are_taken_than_may_be_under_way() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    answers = in_order(abs, items(), at_once=3)
    for answered in range(20):
        assert next(answers) == answered
        assert len(taken) <= answered + 4


def test_an_error_comes_in_its_place_and_ends_what_has_not_begun() -> None:
    begun = []

    def fail_at_two(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise Passing
        return item

    answers = in_order(fail_at_two, range(100), at_once=3)
    assert [next(answers), next(answers)] == [0, 1]
    with pytest.raises(Passing):
        next(answers)
    assert len(begun) <= 6
