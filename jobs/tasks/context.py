"""The facts that every task of a run knows, and how tasks are stopped."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from heartbeat_core import storage
from heartbeat_core.errors import JobError
from heartbeat_core.formats.kept import KeptColumn
from heartbeat_core.settings import Device, Limits

TASK_PATIENCE_S = 600.0
"""How long a task keeps asking its store again for data that the job needs to continue."""


class Stopped(JobError):
    """The driver was asked to stop before this shard began to commit."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts about a run that its parts hold, where the parts go, and how stores are reached; it holds no secret.

    Attributes
    ----------
    out : str
        URI of the output folder.
    run_id : str
    limits : Limits
        Of a recording, in shards that have none of their own.
    provenance : tuple[tuple[str, str], ...]
        Names and texts that the metadata of every part holds.
    access : storage.Access
    path_column : str | None
        The column of a manifest with the addresses; None for the usual ones.
    driver : str
        Id of the process that currently runs the job.
    device : Device
    kept : tuple[KeptColumn, ...]
        The columns of the inputs that go along.
    salt_env : str | None
        The environment variable that holds the secret for pseudonyms, on each worker; None without pseudonyms.
    """

    out: str
    run_id: str
    limits: Limits
    provenance: tuple[tuple[str, str], ...]
    access: storage.Access = storage.FROM_ENVIRONMENT
    path_column: str | None = None
    driver: str = ""
    device: Device = "auto"
    kept: tuple[KeptColumn, ...] = ()
    salt_env: str | None = None


_STOPPING = threading.Lock()
_stopped_drivers: set[str] = set()
_committing: set[tuple[str, int]] = set()
"""The shards that this process is committing, by driver."""


def stop_work(driver: str) -> int:
    """Stop a driver's tasks in this process before they commit; return how many are committing, which go on."""
    with _STOPPING:
        _stopped_drivers.add(driver)
        return sum(one == driver for one, _ in _committing)


def is_stopped(driver: str) -> bool:
    """Return whether a driver was asked to stop."""
    return driver in _stopped_drivers


def begin_commit(driver: str, shard: int) -> None:
    """Mark a shard as committing, so that a stop waits for it; raises Stopped if its driver was asked to stop."""
    with _STOPPING:
        if is_stopped(driver):
            raise Stopped("stopped before the commit")
        _committing.add((driver, shard))


def end_commit(driver: str, shard: int) -> None:
    """Mark a shard as no longer committing."""
    _committing.discard((driver, shard))
