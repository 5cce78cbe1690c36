"""Where results come from: the command, the configuration, the code, the packages, the cluster and the times.

On disk, or under any URL::

    OUT/_run.json            holds the origin of the driver that claimed the folder
    OUT/_history/ID.json     one for each driver that had workers: its origin, its cluster, and when and how it ended

Invariants: nothing here holds a secret. Addresses are without credentials and queries, and the names of certificate
files stay out. A record in ``_history`` is written when the work begins and once more when it ends; without
``ended_at``, its driver still works or was killed.
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import heartbeat_core
from heartbeat_core import storage
from heartbeat_core.errors import StorageError
from heartbeat_core.settings import canonical_json
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import public_uri
from jobs.output.lease import BEAT_S
from jobs.output.places import HISTORY_FOLDER, RUN_NAME
from jobs.output.plans import Generation
from jobs.settings import JobSettings

PACKAGES = (
    *("dask", "distributed", "librosa", "numpy", "pyarrow", "s3fs", "safetensors", "scikit-learn", "scipy"),
    *("soundfile", "soxr", "torch"),
)
"""The packages that results may depend on."""
_GIT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Origin:
    """What a driver is: its command, what it was told, and the code that it runs.

    Attributes
    ----------
    command : str
        The command line of the process, as a shell takes it, with addresses that hold no secret.
    configuration : dict[str, Any]
        The settings of the job, from the file, the options and the defaults.
    version, commit : str, str | None
        Of heartbeat. The commit is None where neither a checkout nor the installation tells it; ``-dirty`` marks a
        checkout with changes.
    packages : dict[str, str]
        Versions of Python and of the packages that results may depend on, in the driver's process.
    started_at : str
        ISO 8601, UTC.
    """

    command: str
    configuration: dict[str, Any]
    version: str
    commit: str | None
    packages: dict[str, str]
    started_at: str


def describe_origin(settings: JobSettings) -> Origin:
    """Return what this process is; with pseudonyms, without what names inputs.

    Parameters
    ----------
    settings : JobSettings
        Those of the job. Pseudonyms are in use where ``salt_env`` is set.
    """
    hidden = () if settings.salt_env is None else ("selection", "patient_from")
    configuration = settings.model_dump(mode="json", exclude={"cluster": {"tls"}})
    return Origin(
        command=_command(sys.argv if settings.salt_env is None else sys.argv[:2]),
        configuration={key: value for key, value in configuration.items() if key not in hidden},
        version=heartbeat_core.__version__,
        commit=find_commit_id(),
        packages=find_packages(),
        started_at=_STARTED_AT,
    )


def entries_of(origin: Origin, generations: tuple[Generation, ...], cluster: Mapping[str, Any]) -> dict[str, str]:
    """Return what every part says of where it comes from; whatever is no text is JSON.

    Parameters
    ----------
    origin : Origin
        Of the driver that made the part.
    generations : tuple[Generation, ...]
        The listings that the run has processed up to then.
    cluster : Mapping[str, Any]
        What the cluster is, such as its kind, workers and threads.

    Returns
    -------
    dict[str, str]
        By the name of the metadata. A commit that is not known has no entry.
    """
    return {**_origin_entries(asdict(origin)), "inputs": inputs_entry(generations), "cluster": _json(cluster)}


def claim_entries(out: str, inputs: str) -> dict[str, str]:
    """Return what a table says of where it comes from that a driver makes of what the tasks have stored.

    It is what the parts say, without the cluster, and of the driver that claimed the folder: whichever driver makes the
    table, it makes the same bytes.

    Parameters
    ----------
    out : str
        URI of a folder that the job has claimed.
    inputs : str
        ``inputs_entry``, or JSON that says what else the table is made of.

    Returns
    -------
    dict[str, str]
        By the name of the metadata; whatever is no text is JSON.
    """
    record = json.loads(storage.read(storage.join(out, RUN_NAME)))
    return {"run_id": record["run_id"], **_origin_entries(record.get("origin", {})), "inputs": inputs}


def inputs_entry(generations: Iterable[Generation]) -> str:
    """Return what the metadata say of the listings of a run, as JSON."""
    return _json([describe_inputs(one) for one in generations])


def datasets_entry(identity: Mapping[str, Any]) -> str:
    """Return what the metadata say of the datasets of an evaluation, as JSON.

    Parameters
    ----------
    identity : Mapping[str, Any]
        Of the evaluation; with the keys ``datasets``, and ``data`` for the fingerprint of their rows.
    """
    return _json({"datasets": identity["datasets"], "fingerprint": identity["data"]})


def _origin_entries(origin: Mapping[str, Any]) -> dict[str, str]:
    names = {"version": "heartbeat_version"}
    return {
        names.get(key, key): value if isinstance(value, str) else _json(value)
        for key, value in origin.items()
        if value is not None
    }


def describe_inputs(generation: Generation) -> dict[str, Any]:
    """Return how many recordings were listed, their bytes, and the digest of the listing."""
    return {
        "recordings": generation.n_recordings,
        "bytes": generation.n_bytes,
        "listing_sha256": generation.listing_sha256,
    }


@contextmanager
def recorded(out: str, driver_id: str, settings: JobSettings, cluster: Mapping[str, Any]) -> Iterator[None]:
    """Write the record of this driver's work, and complete it when the block ends.

    Parameters
    ----------
    out : str
        URI of the output folder.
    driver_id : str
        Names the record: ``id`` of the driver's ``Presence``.
    settings : JobSettings
        As in ``describe_origin``.
    cluster : Mapping[str, Any]
        As in ``entries_of``.

    Raises
    ------
    StorageError
        The record cannot be written when the block begins. When it ends, this is no error.
    """
    uri = storage.join(out, HISTORY_FOLDER, f"{driver_id}.json")
    record: dict[str, Any] = {**asdict(describe_origin(settings)), "cluster": dict(cluster), "working_at": _now()}
    storage.put(uri, canonical_json(record))
    outcome = "done"
    try:
        yield
    except BaseException as error:
        outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {type(error).__name__}"
        raise
    finally:
        # The store may be the reason for the end.
        with retry.patience(BEAT_S), suppress(StorageError):
            storage.put(uri, canonical_json({**record, "ended_at": _now(), "outcome": outcome}))


def read_history(out: str) -> list[dict[str, Any]]:
    """Return the records of all drivers, in the order in which their work began.

    Parameters
    ----------
    out : str
        URI of the output folder.

    Returns
    -------
    list[dict[str, Any]]
        Each with the keys of ``Origin``, ``cluster`` and ``working_at``; ``ended_at`` and ``outcome`` are missing while
        the driver works, and where it was killed. Times are ISO 8601, UTC. A damaged record is left out.
    """
    folder = storage.join(out, HISTORY_FOLDER)
    found = []
    for name in storage.list_names(folder):
        if name.endswith(".json"):
            with suppress(FileNotFoundError, ValueError):
                found.append(dict(json.loads(storage.read(storage.join(folder, name)))))
    return sorted(found, key=lambda record: str(record.get("working_at", "")))


@cache
def find_packages() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed here, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@cache
def find_commit_id() -> str | None:
    """Return the commit of this code: of its checkout, else the one that it was installed from."""
    root = Path(heartbeat_core.__file__).parents[1]
    if (root / ".git").exists():
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(describe, capture_output=True, text=True, check=True, timeout=_GIT_TIMEOUT_S)
            return done.stdout.strip() or None
        return None
    with suppress(metadata.PackageNotFoundError, ValueError, KeyError):
        installed_from = metadata.distribution("heartbeat").read_text("direct_url.json")
        if installed_from is not None:
            return str(json.loads(installed_from)["vcs_info"]["commit_id"])
    return None


def _command(arguments: list[str]) -> str:
    program, *rest = arguments or [""]
    name = Path(program).name
    called = ["python", "-m", "jobs.cli"] if name == "__main__.py" else [name]
    return shlex.join([*called, *map(_without_secrets, rest)])


def _without_secrets(argument: str) -> str:
    """Return an argument, or the value of an option, as an address without credentials and queries."""
    name, equals, value = argument.partition("=")
    if argument.startswith("-") and equals:
        return f"{name}={public_uri(value)}"
    return public_uri(argument)


def _json(content: Any) -> str:
    return canonical_json(content).decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


_STARTED_AT = _now()
"""This module is loaded when a driver begins."""
