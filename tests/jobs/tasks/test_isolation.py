"""Where recordings are worked on: what kills, hangs or asks for too much is told, and the next call works."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heartbeat_core.errors import NotAudio, OutOfMemory, ProcessTimeout, WorkerCrash
from heartbeat_core.settings import Limits
from jobs.tasks.core import computing
from jobs.tasks.isolation import Child, Here, child
from tests.helpers import environment
from tests.jobs import misbehaviour

LIMITS = Limits(deadline_s=1.0, max_memory_bytes=2**30)
OTHER_LIMITS = Limits(deadline_s=2.0, max_memory_bytes=2**30)
"""Not those of the fixture's child, which is shared by all that ask with the same limits."""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while is_alive(pid):
        assert time.monotonic() < deadline, "an orphan"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def place() -> Iterator[Child]:
    """One child for all tests of the module: each leaves it fit for the next."""
    with child(LIMITS) as made:
        yield made


def test_a_child_is_another_process_that_is_kept(place: Child) -> None:
    pid = place.call(os.getpid)
    assert pid != os.getpid()
    assert place.call(os.getpid) == pid
    assert place.call(sorted, [3, 1, 2]) == [1, 2, 3]


def test_a_working_directory_with_a_folder_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own -m would take the package from there."""
    for name in ("jobs", "heartbeat_core"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('another project')")
    monkeypatch.chdir(tmp_path)
    with child(OTHER_LIMITS) as place:
        assert place.call(os.getcwd) == str(tmp_path)


def check_next_call(place: Child, before: int) -> None:
    """The one that died is gone, with no zombie left, and another answers."""
    assert not is_alive(before)
    pid = place.call(os.getpid)
    assert pid not in (before, os.getpid())


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_told_by_its_signal(place: Child, number: signal.Signals) -> None:
    before = place.call(os.getpid)
    with pytest.raises(WorkerCrash, match=f"^the process that worked on it was ended by {number.name}$"):
        place.call(misbehaviour.end_by, int(number))
    check_next_call(place, before)


def test_an_exit_is_a_crash(place: Child) -> None:
    before = place.call(os.getpid)
    with pytest.raises(WorkerCrash, match=r"^the process that worked on it ended with exit code 3$"):
        place.call(os._exit, 3)
    check_next_call(place, before)


def test_a_call_over_its_deadline_is_ended(place: Child) -> None:
    before = place.call(os.getpid)
    began = time.monotonic()
    with pytest.raises(ProcessTimeout, match="longer than 1 s and was ended"):
        place.call(time.sleep, 30)
    assert 1.0 <= time.monotonic() - began < 25
    check_next_call(place, before)


def test_the_deadline_is_each_calls_own(place: Child) -> None:
    pid = place.call(os.getpid)
    for _ in range(3):
        place.call(time.sleep, 0.5)
    assert place.call(os.getpid) == pid


def test_too_much_memory_is_told_and_the_parent_is_not_limited(place: Child) -> None:
    before = place.call(os.getpid)
    with pytest.raises(OutOfMemory, match=f"more than {2**30} bytes"):
        place.call(misbehaviour.take_memory, 2**30)
    check_next_call(place, before)
    assert place.call(misbehaviour.take_memory, 2**27) == 2**27
    assert misbehaviour.take_memory(2**30) == 2**30


def test_a_bad_recording_is_raised_as_it_is_and_the_child_is_kept(place: Child) -> None:
    pid = place.call(os.getpid)
    with pytest.raises(NotAudio, match=r"^no sound at all$"):
        place.call(misbehaviour.refuse, "no sound at all")
    assert place.call(os.getpid) == pid


def test_a_bug_stays_loud(place: Child) -> None:
    before = place.call(os.getpid)
    with pytest.raises(ZeroDivisionError):
        place.call(divmod, 1, 0)
    check_next_call(place, before)
    with pytest.raises(TypeError):
        place.call(len)


def test_what_an_earlier_call_left_is_not_the_fault_of_the_next(place: Child) -> None:
    """A delayed crash, and memory that is not given back."""
    before = place.call(misbehaviour.end_later, 0.2)
    assert place.call(misbehaviour.sleep_and_tell, 0.6) != before
    assert not is_alive(before)
    place.call(misbehaviour.leave_memory, 2**29)
    before = place.call(os.getpid)
    assert place.call(misbehaviour.take_memory, 2**29) == 2**29
    check_next_call(place, before)


def test_what_kills_on_its_own_fails_after_two_children(place: Child, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    for n_children in (2, 1):
        # The second time the child is a new one.
        if n_children == 2:
            place.call(os.getpid)
        noted.unlink(missing_ok=True)
        with pytest.raises(WorkerCrash, match="SIGKILL"):
            place.call(misbehaviour.end_and_note, str(noted))
        assert len(set(noted.read_text().split())) == n_children


def test_nothing_is_started_without_a_call_or_left_after_the_block() -> None:
    n_open = len(os.listdir("/proc/self/fd"))
    with child(OTHER_LIMITS) as place:
        assert place._process is None
    with child(OTHER_LIMITS) as place:
        pid = place.call(os.getpid)
    assert not is_alive(pid)

    def fail_in_the_block() -> None:
        nonlocal pid
        with child(OTHER_LIMITS) as place:
            pid = place.call(os.getpid)
            raise KeyError

    with pytest.raises(KeyError):
        fail_in_the_block()
    assert not is_alive(pid)
    assert len(os.listdir("/proc/self/fd")) == n_open


def run_script(script: str, *arguments: object, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=timeout_s,
    )


LEAVE_A_CHILD = """
import os, sys, threading, time
from heartbeat_core.settings import Limits
from jobs.tasks.isolation import child
from tests.jobs import misbehaviour

path, seconds = sys.argv[1], float(sys.argv[2])

def die():
    while not os.path.exists(path) or not os.path.getsize(path):
        time.sleep(0.01)
    os._exit(5)

threading.Thread(target=die).start()
with child(Limits(deadline_s=1.5)) as place:
    place.call(misbehaviour.write_and_sleep, path, seconds)
    time.sleep(60)
"""


@pytest.mark.parametrize("seconds", [0.0, 600.0], ids=["idle", "busy"])
def test_a_child_does_not_outlive_its_parent(tmp_path: Path, seconds: float) -> None:
    """The parent is killed, by a nanny perhaps; even a call that hangs then ends, within its deadline."""
    assert run_script(LEAVE_A_CHILD, tmp_path / "pid", seconds).returncode == 5
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_the_threads_of_a_worker_share_a_child_until_the_last_is_done() -> None:
    with child(OTHER_LIMITS) as first:
        pid = first.call(os.getpid)
        with child(OTHER_LIMITS) as second:
            assert second.call(os.getpid) == pid
        assert first.call(os.getpid) == pid
    assert not is_alive(pid)


def test_a_thread_whose_child_is_ended_does_not_take_anothers_along() -> None:
    def work(number: int) -> str:
        with child(OTHER_LIMITS) as place:
            try:
                if number % 3 == 0:
                    place.call(misbehaviour.take_memory, 2**31)
                place.call(os.getpid)
            except OutOfMemory:
                return "out of memory"
            return "done"

    with ThreadPoolExecutor(4) as pool, child(OTHER_LIMITS):
        found = list(pool.map(work, range(12)))
    assert found == ["out of memory" if number % 3 == 0 else "done" for number in range(12)]


# In this process.


def test_here_is_this_process() -> None:
    assert Here(LIMITS).call(os.getpid) == Here(LIMITS, 5.0).call(os.getpid) == os.getpid()


def test_errors_are_raised_as_they_are_here() -> None:
    with pytest.raises(NotAudio, match=r"^text$"):
        Here(LIMITS, 5.0).call(misbehaviour.refuse, "text")
    with pytest.raises(ZeroDivisionError):
        Here(LIMITS, 5.0).call(divmod, 1, 0)


def test_what_runs_out_of_memory_here_is_done_again_in_a_child() -> None:
    found = Here(OTHER_LIMITS, 5.0).call(misbehaviour.memory_error_in, os.getpid())
    assert found != os.getpid()
    assert not is_alive(found)


def test_what_asks_for_too_much_anywhere_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(n_bytes: int) -> None:
        raise MemoryError

    no_memory.__module__, no_memory.__qualname__ = misbehaviour.__name__, "take_memory"
    # Pickled by its name, it is the real one in the child.
    with monkeypatch.context() as patch:
        patch.setattr(misbehaviour, "take_memory", no_memory)
        with pytest.raises(OutOfMemory):
            Here(LIMITS, 5.0).call(no_memory, 2**31)


def test_one_computes_at_a_time() -> None:
    inside, most = 0, []

    def work() -> None:
        nonlocal inside
        inside += 1
        most.append(inside)
        time.sleep(0.02)
        inside -= 1

    threads = [threading.Thread(target=Here(LIMITS).call, args=(work,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    with computing():
        work()
    for thread in threads:
        thread.join()
    assert most == [1] * 7


WATCHED = """
import re, sys, threading, time
from heartbeat_core.settings import Limits
from heartbeat_core.errors import NotAudio
from jobs.tasks.isolation import Here
from tests.jobs import misbehaviour

here = Here(Limits(), 1.0)

def in_time():
    for _ in range(3):
        here.call(time.sleep, 0.5)

def waits_for_another():
    threads = [threading.Thread(target=here.call, args=(time.sleep, 0.7)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def raises():
    for function, arguments in ((misbehaviour.refuse, ("x",)), (divmod, (1, 0))):
        try:
            here.call(function, *arguments)
        except (NotAudio, ZeroDivisionError):
            pass
    time.sleep(1.5)

def hangs():
    here.call(time.sleep, 60)

def holds_the_lock():
    here.call(re.match, "(a+)+$", "a" * 60 + "b")

def computes():
    here.call(pow, 10, 10**8)

def without_deadline():
    Here(Limits()).call(time.sleep, 1.5)

print("begins", flush=True)
globals()[sys.argv[1]]()
print("ends")
"""


@pytest.mark.parametrize("what", ["hangs", "holds_the_lock", "computes"])
def test_the_watchdog_ends_a_process_whose_call_is_over_its_deadline(what: str) -> None:
    done = run_script(WATCHED, what, timeout_s=20)
    assert done.stdout == "begins\n"
    assert done.returncode == -signal.SIGALRM
    # What a worker's log would be full of says nothing to anyone.
    assert done.stderr == ""


@pytest.mark.parametrize("what", ["in_time", "waits_for_another", "raises", "without_deadline"])
def test_the_watchdog_lets_a_process_live_that_is_in_time(what: str) -> None:
    done = run_script(WATCHED, what)
    assert (done.returncode, done.stdout) == (0, "begins\nends\n"), done.stderr


def test_the_long_match_is_one() -> None:
    """Of the length that the watchdog's test takes, it would take for ever."""
    began = time.monotonic()
    assert re.match("(a+)+$", "a" * 18 + "b") is None
    short_s = time.monotonic() - began
    assert short_s * 2**42 > 3_600
