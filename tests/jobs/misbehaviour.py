"""Functions for the tests that run in other processes: they crash, hang and ask for too much. Quick to import."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from heartbeat_core.errors import NotAudio

_left: list[bytes] = []


def end_by(number: int) -> None:
    """End this process by a signal."""
    os.kill(os.getpid(), number)
    time.sleep(60)


def end_later(seconds: float) -> int:
    """Return this process's id, and end it a while later, whatever it does then."""
    threading.Timer(seconds, os.abort).start()
    return os.getpid()


def sleep_and_tell(seconds: float) -> int:
    """Sleep, and return this process's id."""
    time.sleep(seconds)
    return os.getpid()


def leave_memory(n_bytes: int) -> int:
    """Take memory and keep it."""
    _left.append(b"x" * n_bytes)
    return n_bytes


def end_and_note(path: str) -> None:
    """Note this process in a file and end it."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    end_by(signal.SIGKILL)


def take_memory(n_bytes: int) -> int:
    """Ask for memory and touch it."""
    return len(b"x" * n_bytes)


def refuse(text: str) -> None:
    """Raise what stands for a bad recording."""
    raise NotAudio(text)


def memory_error_in(pid: int) -> int:
    """Return this process's id, but in one process run out of memory."""
    if os.getpid() == pid:
        raise MemoryError
    return os.getpid()


def write_and_sleep(path: str, seconds: float) -> None:
    """Leave this process's id in a file and hang."""
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)


def process(recording: Any, *arguments: Any) -> Any:
    """Process a recording as ever, unless its name says how it kills."""
    match recording.relative_path.removesuffix(".wav"):
        case "kill":
            end_by(signal.SIGKILL)
        case "memory":
            take_memory(2**31)
        case "hang":
            time.sleep(60)
    from heartbeat_core.recordings.process import process

    return process(recording, *arguments)
