"""Drivers tell of themselves; where the store needs it, one of them is alone."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from heartbeat_core import storage
from heartbeat_core.errors import HeartbeatError, JobError, OutputError, StorageError, StoreUnavailable
from jobs.output import lease
from jobs.output.lease import Driver, live_drivers, present
from tests.helpers import tree


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beat and look again ten times as often."""
    uniform = random.uniform
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease.random, "uniform", lambda low, high: uniform(low, high) / 10)


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"file://{tmp_path}"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def leave_record(folder: Path, **changed: Any) -> Driver:
    """Leave what a driver that died has told last."""
    now = time.time()
    driver = Driver(**{"id": "dead", "host": "ward-7", "pid": 4711, "started_at": now, "seen_at": now, **changed})
    (folder / "_drivers").mkdir(exist_ok=True)
    (folder / "_drivers" / f"{driver.id}.json").write_text(json.dumps(asdict(driver)))
    return driver


@pytest.mark.parametrize("alone", [False, True])
def test_a_driver_tells_of_itself_and_is_gone_at_the_end(tmp_path: Path, out: str, alone: bool) -> None:
    assert live_drivers(out) == []
    before = time.time()
    with present(out, alone=alone) as mine:
        assert list(tree(tmp_path)) == [f"_drivers/{mine.id}.json"]
        (driver,) = live_drivers(out)
        assert (driver.id, driver.host, driver.pid) == (mine.id, socket.gethostname(), os.getpid())
        assert before - 1 < driver.started_at <= driver.seen_at < time.time() + 1
        assert driver.is_running
        assert (driver.shards, driver.done, driver.failed) == ((), 0, 0)
        for shard in (7, 2, 5):
            mine.submitted(shard)
        mine.finished(2, done=8, failed=3)
        until(lambda: live_drivers(out)[0].done == 8)
        (later,) = live_drivers(out)
        assert (later.shards, later.failed) == ((5, 7), 3)
        assert later.started_at == driver.started_at
        # It is refreshed though there is nothing new.
        until(lambda: live_drivers(out)[0].seen_at > later.seen_at)
    assert tree(tmp_path) == {}
    time.sleep(0.15)
    assert tree(tmp_path) == {}, "a beat after the end"


def test_a_driver_that_ends_by_an_error_is_gone_too(tmp_path: Path, out: str) -> None:
    for error in (JobError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), present(out, alone=True):
            raise error
        assert tree(tmp_path) == {}


def test_a_store_that_is_away_for_a_while_is_told_once(
    tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, is_away = storage.put, threading.Event()
    told: list[str] = []

    def away(uri: str, data: bytes) -> None:
        if is_away.is_set():
            raise StoreUnavailable(uri)
        put(uri, data)

    monkeypatch.setattr(lease, "AWAY_TOLD_S", 0.2)
    monkeypatch.setattr(storage, "put", away)
    with present(out, alone=False) as mine:
        mine.tell = told.append
        for _ in range(2):
            is_away.set()
            until(lambda: len(told) % 2 == 1)
            time.sleep(0.2)  # Told once, however long it lasts.
            is_away.clear()
            until(lambda: len(told) % 2 == 0)
    assert len(told) == 4
    shown = storage.display(out)
    for one in told[::2]:
        assert re.sub(r"\d+ s", "N s", one) == (
            f"{shown}: the store has not answered for N s: the job waits for it; stop it by Ctrl-C"
        )
    assert told[1] == told[3] == f"{shown}: the store answers again"


def test_a_beat_that_is_under_way_at_the_end_is_waited_for(
    tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, telling = storage.put, threading.Event()

    def slow(uri: str, data: bytes) -> None:
        telling.set()
        time.sleep(0.2)
        put(uri, data)

    with present(out, alone=False):
        monkeypatch.setattr(storage, "put", slow)
        assert telling.wait(60)
    time.sleep(0.4)
    assert tree(tmp_path) == {}


def test_drivers_beside_each_other(out: str) -> None:
    with present(out, alone=False) as first, present(out, alone=False) as second:
        assert {driver.id for driver in live_drivers(out)} == {first.id, second.id}
    assert live_drivers(out) == []


def test_a_stale_driver_is_not_live(tmp_path: Path, out: str) -> None:
    leave_record(tmp_path, id="old", seen_at=time.time() - lease.GONE_AFTER_S - 1, is_running=True)
    young = leave_record(tmp_path, id="young", seen_at=time.time() - lease.GONE_AFTER_S + 5)
    assert live_drivers(out) == [young]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"id": "x"}', '{"shards": 3}', "\xff"])
def test_a_record_that_is_not_read_is_no_driver(tmp_path: Path, out: str, content: str) -> None:
    leave_record(tmp_path)
    (tmp_path / "_drivers" / "x.json").write_text(content)
    (tmp_path / "_drivers" / ".x.json.00aa.tmp").write_text("{")
    assert [driver.id for driver in live_drivers(out)] == ["dead"]


def test_a_driver_goes_on_while_its_store_is_away(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with present(out, alone=False) as mine:
        n_asked, put = 0, storage.put

        def failing(uri: str, data: bytes) -> None:
            nonlocal n_asked
            n_asked += 1
            raise StorageError("away")

        monkeypatch.setattr(storage, "put", failing)
        until(lambda: n_asked > 3)
        monkeypatch.setattr(storage, "put", put)
        mine.submitted(3)
        until(lambda: live_drivers(out)[0].shards == (3,))


# Alone.


def test_a_second_driver_is_refused_in_one_line(tmp_path: Path, out: str) -> None:
    with present(out, alone=True):
        before = set(tree(tmp_path))
        with pytest.raises(OutputError) as caught, present(out, alone=True):
            raise AssertionError("two drivers")
        told = str(caught.value)
        who = f"{socket.gethostname()}, process {os.getpid()}"
        assert told.startswith(f"{tmp_path}: another job works there ({who}), and one of the two must be alone")
        assert told.endswith("wait for it, or stop it (after a crash, it is forgotten in 60 s)")
        assert "\n" not in told
        assert set(tree(tmp_path)) == before
    with present(out, alone=True):
        assert len(live_drivers(out)) == 1


def test_of_eight_that_begin_at_once_one_is_inside_at_any_time(tmp_path: Path, out: str) -> None:
    begin = threading.Barrier(8)
    inside, most, entered = 0, 0, 0
    refused: list[HeartbeatError] = []
    lock = threading.Lock()

    def drive() -> None:
        nonlocal inside, most, entered
        begin.wait()
        try:
            with present(out, alone=True):
                with lock:
                    inside += 1
                    entered += 1
                    most = max(most, inside)
                time.sleep(0.3)
                with lock:
                    inside -= 1
        except OutputError as error:
            refused.append(error)

    threads = [threading.Thread(target=drive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert entered + len(refused) == 8
    assert tree(tmp_path) == {}


def test_of_two_that_begin_at_once_one_begins(tmp_path: Path, out: str) -> None:
    """They step back for times of their own, so that one comes first."""
    begin = threading.Barrier(2)
    told = []

    def drive() -> None:
        begin.wait()
        try:
            with present(out, alone=True):
                told.append("began")
                time.sleep(0.3)
        except OutputError as error:
            told.append(str(error))

    threads = [threading.Thread(target=drive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 2
    assert "began" in told
    assert not [text for text in told if "several jobs" in text]


def test_of_two_that_see_each_other_both_step_back(tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another that has announced itself and does not run yet is waited for, and refused where it stays so."""
    leave_record(tmp_path, is_running=False, seen_at=time.time() + 1000)
    monkeypatch.setattr(lease, "_TRIES", 3)
    with pytest.raises(OutputError, match="several jobs try to begin there at once, and one must be alone"):
        present(out, alone=True).__enter__()
    assert list(tree(tmp_path)) == ["_drivers/dead.json"]
    threading.Timer(0.1, (tmp_path / "_drivers" / "dead.json").unlink).start()
    monkeypatch.setattr(lease, "_TRIES", 100)
    with present(out, alone=True) as mine:
        assert [driver.id for driver in live_drivers(out)] == [mine.id]


def test_one_that_died_is_forgotten(tmp_path: Path, out: str) -> None:
    leave_record(tmp_path, is_running=True)
    with pytest.raises(OutputError, match=r"works there \(ward-7, process 4711\).* is forgotten in 60 s"):
        present(out, alone=True).__enter__()
    leave_record(tmp_path, is_running=True, seen_at=time.time() - lease.GONE_AFTER_S - 1)
    with present(out, alone=True) as mine:
        assert [driver.id for driver in live_drivers(out)] == [mine.id]


def test_who_could_not_tell_for_so_long_may_not_be_alone_any_more(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(uri: str, data: bytes) -> None:
        raise StorageError("away")

    monkeypatch.setattr(lease, "GONE_AFTER_S", 0.3)

    def drive() -> None:
        with present(out, alone=True):
            monkeypatch.setattr(storage, "put", failing)
            time.sleep(0.5)

    with pytest.raises(JobError, match="another driver may have begun: run the same command again"):
        drive()


@pytest.mark.parametrize("alone", [True, False])
def test_one_that_must_be_alone_and_any_other_keep_each_other_out(out: str, alone: bool) -> None:
    """Whichever of the two came first."""
    with present(out, alone=alone):
        for _ in range(2):
            with pytest.raises(OutputError, match="one of the two must be alone"), present(out, alone=not alone):
                raise AssertionError("beside each other")
    with present(out, alone=not alone):
        pass


def test_of_one_that_must_be_alone_and_another_that_start_at_once_one_begins(out: str) -> None:
    for _ in range(5):
        begin = threading.Barrier(2)
        inside: list[bool] = []
        most: list[int] = []

        def drive(alone: bool, begin: threading.Barrier, inside: list[bool], most: list[int]) -> None:
            begin.wait()
            with suppress(OutputError), present(out, alone=alone):
                inside.append(alone)
                most.append(len(inside))
                time.sleep(0.1)
                inside.remove(alone)

        threads = [threading.Thread(target=drive, args=(alone, begin, inside, most)) for alone in (True, False)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(most) == {1}


def test_a_driver_can_become_alone_where_no_other_is(out: str) -> None:
    with present(out, alone=False) as first:
        with present(out, alone=False) as second:
            assert not second.try_to_be_alone()
        assert first.try_to_be_alone()
        with pytest.raises(OutputError, match="one of the two must be alone"):
            present(out, alone=False).__enter__()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        present(f"file://{tmp_path}/file", alone=False).__enter__()
