"""Who works on a folder now: each driver tells of itself every few seconds, for ``status`` and for the lease.

On disk, or under any URL: ``OUT/_drivers/ID.json``, rewritten while the driver lives and removed when it ends.

A store that ignores the condition of a conditional create cannot let the first of two writers win. There a driver must
be alone: it announces itself, looks whether another is there, and only then begins. Of two that come at once each sees
the other or is seen by it.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, field

from heartbeat_core import storage
from heartbeat_core.errors import JobError, OutputError, StorageError
from heartbeat_core.settings import canonical_json
from heartbeat_core.storage import retry
from jobs.output.ledger import DRIVERS_FOLDER

BEAT_S = 5.0
GONE_AFTER_S = 60.0
"""A driver that was not heard of for so long is taken for dead."""

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Driver:
    """What a driver tells of itself; times are seconds since 1970."""

    id: str
    host: str
    pid: int
    started_at: float
    seen_at: float
    is_running: bool = False
    shards: tuple[int, ...] = ()
    """Shards that it has handed to the cluster and that are not done."""
    done: int = 0
    failed: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether it is taken for dead."""
        return time.time() - self.seen_at > GONE_AFTER_S


@dataclass
class Presence:
    """This driver's own word on its work; written by a thread."""

    out: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    done: int = 0
    failed: int = 0
    shards: set[int] = field(default_factory=set)

    def submitted(self, shard: int) -> None:
        """Take note that a shard was handed to the cluster."""
        self.shards.add(shard)

    def finished(self, shard: int, done: int, failed: int) -> None:
        """Take note that a shard is done."""
        self.shards.discard(shard)
        self.done += done
        self.failed += failed

    def snapshot(self, started_at: float, *, is_running: bool) -> Driver:
        """Return what there is to tell now."""
        shards = tuple(sorted(self.shards.copy()))
        host, now = socket.gethostname(), time.time()
        return Driver(self.id, host, os.getpid(), started_at, now, is_running, shards, self.done, self.failed)


def live_drivers(out: str) -> list[Driver]:
    """Return the drivers that work on a folder, by what they told last."""
    folder = storage.join(out, DRIVERS_FOLDER)
    found = []
    for name in storage.list_names(folder):
        if not name.endswith(".json"):
            continue
        try:
            record = json.loads(storage.read(storage.join(folder, name)))
            driver = Driver(**{**record, "shards": tuple(record["shards"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            continue  # It has just ended, or another release wrote it.
        if not driver.is_gone:
            found.append(driver)
    return found


@contextmanager
def present(out: str, *, alone: bool) -> Iterator[Presence]:
    """Tell of this driver while the block runs; with ``alone``, be the only one.

    Raises
    ------
    OutputError
        ``alone``, and another driver works there.
    JobError
        ``alone``, and the store could not be told in time, so that another driver may have begun.
    """
    presence = Presence(out)
    started_at = time.time()
    uri = storage.join(out, DRIVERS_FOLDER, f"{presence.id}.json")
    heard_at = time.monotonic()
    ended = threading.Event()

    def tell(*, is_running: bool) -> None:
        storage.put(uri, canonical_json(asdict(presence.snapshot(started_at, is_running=is_running))))

    def beat() -> None:
        nonlocal heard_at
        with retry.patience(BEAT_S):
            while not ended.wait(BEAT_S):
                try:
                    tell(is_running=True)
                    heard_at = time.monotonic()
                except StorageError:
                    continue  # The work itself finds out whether the store is away.

    try:
        if alone:
            _be_alone(presence, uri, started_at)
        tell(is_running=True)
        thread = threading.Thread(target=copy_context().run, args=(beat,), name="presence", daemon=True)
        thread.start()
        try:
            yield presence
            if alone and time.monotonic() - heard_at > GONE_AFTER_S:
                raise JobError("the store was away for so long that another driver may have begun: run it again")
        finally:
            ended.set()
            thread.join()
    finally:
        with retry.patience(BEAT_S), suppress(StorageError):
            storage.remove(uri)


def _be_alone(presence: Presence, uri: str, started_at: float) -> None:
    for _ in range(_TRIES):
        storage.put(uri, canonical_json(asdict(presence.snapshot(started_at, is_running=False))))
        others = [driver for driver in live_drivers(presence.out) if driver.id != presence.id]
        running = [driver for driver in others if driver.is_running]
        if running:
            raise OutputError(
                f"{storage.display(presence.out)}: {running[0].host}, process {running[0].pid}, works there, and "
                "this store ignores conditional writes, so that drivers must be alone: stop it, or wait for it "
                f"(one that died is forgotten after {GONE_AFTER_S:g} s)"
            )
        if not others:
            return
        storage.remove(uri)
        time.sleep(random.uniform(0.2, 2.0))
    raise OutputError(f"{storage.display(presence.out)}: several drivers try to begin there at once: start one")
