"""What every task of a run knows, and how tasks are stopped."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from heartbeat_core import storage
from heartbeat_core.errors import JobError
from heartbeat_core.settings import Device, Limits

TASK_PATIENCE_S = 600.0
"""For how long a task asks its store again for what the job cannot go on without."""


class Stopped(JobError):
    """The driver was asked to stop before this shard had begun to commit."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What every part of a run says of it, where it goes, and how stores are reached; nothing secret.

    ``driver`` names the process that wants the work done now.
    """

    out: str
    run_id: str
    limits: Limits
    provenance: tuple[tuple[str, str], ...]
    access: storage.Access = storage.FROM_ENVIRONMENT
    path_column: str | None = None
    driver: str = ""
    device: Device = "auto"


_STOPPING = threading.Lock()
_stopped_drivers: set[str] = set()
_committing: set[tuple[str, int]] = set()
"""Drivers and the shards that this process is committing for them."""


def stop_work(driver: str) -> int:
    """Let this process's tasks of a driver end before they commit; returns how many are committing, which go on."""
    with _STOPPING:
        _stopped_drivers.add(driver)
        return sum(one == driver for one, _ in _committing)


def is_stopped(driver: str) -> bool:
    """Tell whether a driver was asked to stop."""
    return driver in _stopped_drivers


def begin_commit(driver: str, shard: int) -> None:
    """Count a shard as committing, so that a stop waits for it; raises Stopped where its driver was asked to stop."""
    with _STOPPING:
        if is_stopped(driver):
            raise Stopped("stopped before it had begun to commit")
        _committing.add((driver, shard))


def end_commit(driver: str, shard: int) -> None:
    """Count a shard as committing no more."""
    _committing.discard((driver, shard))
