"""What the workers of another cluster must have before the first task: this release, and the packages that it runs on.

Rows must not depend on which worker made them, so the packages that compute, read and store have to be the same
everywhere. Dask itself only warns, and only about its own.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from distributed import Client
from distributed.comm.core import CommClosedError

import heartbeat_core
from heartbeat_core import storage
from heartbeat_core.errors import HeartbeatError, JobError
from heartbeat_core.recipe import RESULTS_VERSION
from jobs.cluster.connection import SchedulerGone
from jobs.settings import ANSWER_PATIENCE_S, PROBE_PATIENCE_S, TRIAL_PATIENCE_S

PACKAGES = (
    *("dask", "distributed", "fsspec", "librosa", "numpy", "pyarrow", "pydantic", "s3fs", "safetensors"),
    *("scikit-learn", "scipy", "soundfile", "soxr", "torch"),
)
"""The packages that a task runs on."""
PING_PATIENCE_S = 3.0
"""Once not all have answered in time: a worker is silent when none has answered for so long, and it has not either.

Many workers on a busy machine answer late, but one after the other.
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Versions:
    """What runs on one machine; ``results`` is the ``RESULTS_VERSION`` of its release."""

    heartbeat: str
    results: int
    python: str
    """Major and minor: pickled functions need no more."""
    packages: tuple[tuple[str, str], ...]
    """By name; a package that is not installed has no version."""


def ask(client: Client, function: Callable[..., T], *arguments: Any) -> dict[str, T | HeartbeatError]:
    """Call a function on each worker at the same time; return what it returned or raised there, by worker.

    Parameters
    ----------
    client : Client
    function : Callable[..., T]
        A function of a module that the workers can import.
    *arguments : Any
        Values that can be pickled.

    Returns
    -------
    dict[str, T | HeartbeatError]
        By address of the worker.

    Raises
    ------
    JobError
        A worker does not answer, or cannot run it, for instance because it has another release.
    SchedulerGone
        The scheduler does not answer any more.
    """
    try:
        # First what needs no import: a worker that hangs is known soon, and one that loads slowly has its time.
        client.sync(_answers, client, ANSWER_PATIENCE_S, os.getpid)
        answers: dict[str, Any] = client.sync(_answers, client, TRIAL_PATIENCE_S, function, *arguments)
    except OSError as error:
        raise scheduler_gone(error) from None
    for worker, answer in answers.items():
        if isinstance(answer, CommClosedError):
            raise JobError(f"worker {worker} ended while it was asked: run the same command again")
        if isinstance(answer, Exception) and not isinstance(answer, HeartbeatError):
            raise JobError(
                f"worker {worker} cannot run heartbeat ({type(answer).__name__}: {answer}): "
                "install the same release there"
            )
    return answers


def scheduler_gone(error: OSError) -> SchedulerGone:
    """Return the error that says what Dask's connection error means."""
    return SchedulerGone(f"the scheduler cannot be reached any more ({error}): run the same command again to go on")


async def _answers(client: Client, patience_s: float, function: Callable[..., T], *arguments: Any) -> dict[str, Any]:
    """Wait for all answers as long as no worker is silent; raises JobError."""
    answers: asyncio.Future[dict[str, Any]] = asyncio.ensure_future(client.run(function, *arguments, on_error="return"))
    while not (await asyncio.wait([answers], timeout=patience_s))[0]:
        if silent := await _silent(client):
            answers.cancel()
            others = f" (nor do {len(silent) - 1} others)" if len(silent) > 1 else ""
            raise JobError(
                f"worker {silent[0]} does not answer{others}: it hangs, or its machine cannot be reached: "
                "end it or start it again, then run the same command again"
            )
    return answers.result()


async def _silent(client: Client) -> list[str]:
    """Return the workers that do not even answer with their number."""
    pings: dict[asyncio.Future[Any], str] = {
        asyncio.ensure_future(client.run(os.getpid, workers=[worker], on_error="ignore")): worker
        for worker in await client.nthreads()
    }
    late, answered = set(pings), set(pings)
    while late and answered:
        answered, late = await asyncio.wait(late, timeout=PING_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    for ping in late:
        ping.cancel()
    return [worker for ping, worker in pings.items() if ping in late]


def check_workers(client: Client, shared: str, access: storage.Access) -> None:
    """Check, before the first task, what would make every task fail, or fail only on some workers.

    Parameters
    ----------
    client : Client
    shared : str
        URI of a file that every worker must be able to read.
    access : storage.Access
        How it is reached.

    Raises
    ------
    JobError
        A worker does not answer, has another release, Python or package, or does not see the file. The text names the
        worker.
    """
    ours = installed_versions()
    for worker, answer in ask(client, probe_worker, shared, access).items():
        if isinstance(answer, HeartbeatError):
            raise JobError(f"worker {worker}: {answer}: its machine needs the access that this one has")
        versions, sees_shared = answer
        if told := describe_mismatch(versions, ours):
            raise JobError(f"worker {worker} has {told}: install the same there, or start it from the same image")
        if not sees_shared:
            raise JobError(
                f"worker {worker} does not see {storage.display(shared)}: "
                "put the output in a folder that all machines share, or in a bucket"
            )


def probe_worker(shared: str, access: storage.Access) -> tuple[Versions, bool]:
    """Return a worker's versions, and whether it can read ``shared``.

    Parameters
    ----------
    shared : str
        URI of a file.
    access : storage.Access
        How it is reached.

    Raises
    ------
    StorageError
        The store does not answer, or refuses to say.
    """
    with storage.using(access, PROBE_PATIENCE_S):
        return installed_versions(), storage.find(shared) is not None


def installed_versions() -> Versions:
    """Return what runs in this process."""
    major, minor, _ = platform.python_version_tuple()
    packages = tuple((name, _version(name)) for name in PACKAGES)
    return Versions(heartbeat_core.__version__, RESULTS_VERSION, f"{major}.{minor}", packages)


def describe_mismatch(theirs: Versions, ours: Versions) -> str:
    """Return how a worker differs from this process, as ``numpy 2.1, not 2.2``; empty where it does not.

    Builds of one version do not count: ``torch 2.4+cpu`` goes with ``torch 2.4+cu124``.
    """
    pairs: Iterable[tuple[str, str, str]] = (
        ("heartbeat", f"{theirs.heartbeat} (results {theirs.results})", f"{ours.heartbeat} (results {ours.results})"),
        ("Python", theirs.python, ours.python),
        *((name, dict(theirs.packages).get(name, ""), wanted) for name, wanted in ours.packages),
    )
    different = [
        f"{name} {found}, not {wanted}" if found else f"no {name}, which has to be {wanted}"
        for name, found, wanted in pairs
        if found.partition("+")[0] != wanted.partition("+")[0]
    ]
    return "; ".join(different)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
