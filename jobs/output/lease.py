"""Who works on an output folder now: each driver says so every few seconds, for ``status`` and for the lease.

On disk, or under any URL: ``OUT/_drivers/ID.json``, rewritten while the driver lives and removed when it ends.

Several drivers may work on one folder, unless one of them must be alone: a compaction, or any driver on a store that
ignores the condition of a conditional create and so cannot let the first of two writers win. A driver first announces
itself, then looks for others that it may not work beside, and only then begins. So of two that start at once, at least
one sees the other.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from typing import Literal

from heartbeat_core import storage
from heartbeat_core.errors import JobError, OutputError, StorageError, StoreUnavailable
from heartbeat_core.settings import canonical_json
from heartbeat_core.storage import retry
from jobs.output.places import DRIVERS_FOLDER

BEAT_S = 5.0
GONE_AFTER_S = 60.0
"""A driver that has said nothing for this long is taken for dead."""
AWAY_TOLD_S = 20.0
"""When the user is told that the store does not answer; most pauses of a store are shorter."""

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Driver:
    """What a driver says of itself; times are seconds since 1970."""

    id: str
    host: str
    pid: int
    started_at: float
    seen_at: float
    is_running: bool = False
    alone: bool = False
    """Whether no other driver may work beside it."""
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
    """The record of one driver in the folder; a thread rewrites it while the driver lives.

    Attributes
    ----------
    alone : bool
        Whether no other driver may work beside this one.
    stage : str
        How far this driver has come: it has ``claimed`` the folder, has ``planned`` its shards, or is ``working``,
        so that tasks may write into the folder.
    tell : Callable[[str], None]
        Called in another thread when the store has not answered for a while, and when it answers again.
    """

    out: str
    alone: bool = False
    stage: Literal["claimed", "planned", "working"] = "claimed"
    tell: Callable[[str], None] = lambda _: None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: float = field(default_factory=time.time)
    done: int = 0
    failed: int = 0
    shards: set[int] = field(default_factory=set)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def uri(self) -> str:
        """Where its record is."""
        return storage.join(self.out, DRIVERS_FOLDER, f"{self.id}.json")

    def submitted(self, shard: int) -> None:
        """Note that a shard was handed to the cluster."""
        self.shards.add(shard)

    def finished(self, shard: int, done: int, failed: int) -> None:
        """Note that a shard is done.

        Parameters
        ----------
        shard : int
            Its number.
        done, failed : int
            How many of its recordings succeeded, and how many failed.
        """
        self.shards.discard(shard)
        self.done += done
        self.failed += failed

    def write(self, *, is_running: bool) -> None:
        """Write the record as it is now.

        Parameters
        ----------
        is_running : bool
            False while this driver still looks for others that it may not work beside.

        Raises
        ------
        StorageError
            The store does not take it.
        """
        with self._writing:
            driver = Driver(
                id=self.id,
                host=socket.gethostname(),
                pid=os.getpid(),
                started_at=self.started_at,
                seen_at=time.time(),
                is_running=is_running,
                alone=self.alone,
                shards=tuple(sorted(self.shards.copy())),
                done=self.done,
                failed=self.failed,
            )
            storage.put(self.uri, canonical_json(asdict(driver)))

    def conflicts(self) -> list[Driver]:
        """Return the other drivers that this one may not work beside."""
        return [driver for driver in live_drivers(self.out, but=self.id) if self.alone or driver.alone]

    def try_to_be_alone(self) -> bool:
        """Keep others from beginning from now on; tells whether no other is there already. Raises as ``write``."""
        self.alone = True
        self.write(is_running=True)
        return not self.conflicts()


def live_drivers(out: str, *, but: str = "") -> list[Driver]:
    """Return the drivers that work on a folder, as they described themselves last.

    Parameters
    ----------
    out : str
        URI of the output folder.
    but : str
        The ``id`` of a driver to leave out; an empty text leaves out none.
    """
    folder = storage.join(out, DRIVERS_FOLDER)
    found = []
    for name in storage.list_names(folder):
        if not name.endswith(".json") or name == f"{but}.json":
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
    """Announce this driver while the block runs; yields its record.

    Parameters
    ----------
    out : str
        URI of the output folder.
    alone : bool
        Whether no other driver may work beside this one.

    Raises
    ------
    OutputError
        Another driver works there and one of the two must be alone, or the folder cannot be written.
    JobError
        At the end of the block: ``alone``, and the store was away for so long that another driver may have begun.
    """
    presence = Presence(out, alone)
    written_at = time.monotonic()
    ended = threading.Event()

    def beat() -> None:
        nonlocal written_at
        is_told = False
        with retry.patience(BEAT_S):
            while not ended.wait(BEAT_S):
                try:
                    presence.write(is_running=True)
                    written_at = time.monotonic()
                except StorageError as error:  # The work itself finds out whether to go on.
                    away_s = time.monotonic() - written_at
                    is_away = isinstance(error, StoreUnavailable) and away_s > AWAY_TOLD_S
                    if is_away and not is_told and not ended.is_set():
                        is_told = True
                        presence.tell(
                            f"{storage.display(out)}: the store has not answered for {away_s:.0f} s: the job waits for "
                            "it; stop it by Ctrl-C"
                        )
                    continue
                if is_told:
                    is_told = False
                    presence.tell(f"{storage.display(out)}: the store answers again")

    try:
        with storage.refusals_as(OutputError):
            _announce(presence)
        thread = threading.Thread(target=copy_context().run, args=(beat,), name="presence", daemon=True)
        thread.start()
        try:
            yield presence
            if alone and time.monotonic() - written_at > GONE_AFTER_S:
                raise JobError(
                    "the store was away for so long that another driver may have begun: run the same command again"
                )
        finally:
            ended.set()
            thread.join()
    finally:
        with retry.patience(BEAT_S), suppress(StorageError):
            storage.remove(presence.uri)


def _announce(presence: Presence) -> None:
    """Write the record, and begin to run as soon as no other driver is in the way."""
    for _ in range(_TRIES):
        presence.write(is_running=False)
        others = presence.conflicts()
        running = [driver for driver in others if driver.is_running]
        if running:
            raise OutputError(
                f"{storage.display(presence.out)}: another job works there ({running[0].host}, process "
                f"{running[0].pid}), and one of the two must be alone, as a compaction must and every job on a store "
                "that ignores conditional writes: wait for it, or stop it (after a crash, it is forgotten in "
                f"{GONE_AFTER_S:g} s)"
            )
        if not others:
            presence.write(is_running=True)
            return
        # Both have seen each other: whoever waits longer comes second.
        storage.remove(presence.uri)
        time.sleep(random.uniform(0.2, 2.0))
    raise OutputError(
        f"{storage.display(presence.out)}: several jobs try to begin there at once, and one must be alone: "
        "start one after the other"
    )
