"""What the fault runs share: recordings in a bucket, commands in processes, rows read back by another reader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from heartbeat_core.labels import ORIGINAL_LABELS
from tests.helpers import environment, heart_bytes
from tests.s3.server import BUCKET, Store

SABOTAGE = Path(__file__).parent / "sabotage"
VOLATILE = ("run_id", "processed_at", "failed_at", "modified_at")
TABLES = ("predictions", "features", "failures")


@dataclass(frozen=True)
class Finding:
    """One figure: what was claimed, what was found, and whether it holds."""

    fault: str
    figure: str
    holds: bool


def tiny_recordings(count: int) -> dict[str, bytes]:
    """Return short synthetic recordings by name; no two are equal."""
    return {
        f"{ORIGINAL_LABELS[i % 5]}/{i:06d}.wav": heart_bytes(ORIGINAL_LABELS[i % 5], i, 0.5, 2_000)
        for i in range(count)
    }


def upload(store: Store, folder: str, files: Mapping[str, bytes]) -> str:
    """Put files below a prefix and return its URL."""
    refused = store.put_all({f"{folder}/{name}": data for name, data in files.items()})
    assert not refused, refused
    return f"s3://{BUCKET}/{folder}"


def start(*arguments: object, log: Path, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start ``heartbeat`` in a process group of its own; what it says is appended to ``log``."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-c", "from jobs.cli.__main__ import main; main()", *map(str, arguments)],
            cwd=log.parent,
            start_new_session=True,
            stdout=file,
            stderr=file,
            env={**environment(), **(variables or {})},
        )


def sabotaged() -> dict[str, str]:
    """Return the environment in which recordings with a marker kill, hang or eat."""
    return {"PYTHONPATH": f"{SABOTAGE}{os.pathsep}{environment()['PYTHONPATH']}"}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a command and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the worker processes of a command's local cluster: the children of its fork server.

    The process that a worker starts for a single recording has the worker's command line until it runs its own
    program, so the parent tells which is which.
    """
    try:
        servers = [child for child in psutil.Process(process.pid).children() if _is_forked(child)]
        return [worker for server in servers for worker in server.children() if _is_forked(worker)]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _is_forked(process: psutil.Process) -> bool:
    return "forkserver" in " ".join(process.cmdline())


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until something holds; tells whether it did in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def names_in(store: Store, url: str) -> list[str]:
    """Return the names of the objects below a prefix."""
    client = store.client()
    path = url.removeprefix("s3://")
    return [name[len(path) + 1 :] for name in client.find(path)] if client.exists(path) else []


def read_rows(store: Store, out: str, table: str) -> list[dict[str, Any]]:
    """Read all rows of a table with clients that are not the program's."""
    client = store.client()
    path = f"{out.removeprefix('s3://')}/{table}"
    names = [name for name in names_in(store, f"s3://{path}") if name.endswith(".parquet")]
    with ThreadPoolExecutor(16) as pool:
        parts = pool.map(lambda name: pq.ParquetFile(pa.BufferReader(client.cat_file(f"{path}/{name}"))).read(), names)
        return [row for part in parts for row in part.to_pylist()]


def by_recording(rows: Iterable[Mapping[str, Any]], root: str) -> dict[str, dict[str, Any]]:
    """Return rows by their path below ``root``, without what names the place, the run and the moment."""
    dropped = {*VOLATILE, "uri", "encoded_uri", "recording_id", "message"}
    return {
        row["uri"].removeprefix(root): {name: value for name, value in row.items() if name not in dropped}
        for row in rows
    }


@dataclass(frozen=True)
class Account:
    """How the rows of an output stand to what was listed and to another run."""

    n_rows: int
    missing: int
    duplicate: int
    different: int

    @property
    def is_exact(self) -> bool:
        """Whether each recording has exactly its row."""
        return self.missing == self.duplicate == self.different == 0


def account(store: Store, out: str, root: str, expected: Mapping[str, Mapping[str, Any]]) -> Account:
    """Hold an output's predictions, features and failures against those of an undisturbed run, by path."""
    different = 0
    listed = {path for table in ("predictions", "failures") for path in expected[table]}
    rows = {table: read_rows(store, out, table) for table in TABLES}
    for table in TABLES:
        found = by_recording(rows[table], root)
        different += sum(found.get(path) != row for path, row in expected[table].items())
    uris = [row["uri"] for table in ("predictions", "failures") for row in rows[table]]
    missing = len(listed - {uri.removeprefix(root) for uri in uris})
    return Account(len(uris), missing, len(uris) - len(set(uris)), different)


def undisturbed(
    store: Store, inputs: str, out: str, log: Path, *options: object
) -> dict[str, dict[str, dict[str, Any]]]:
    """Run the job once without any fault and return its rows by table and path."""
    process = start("classify", inputs, "-o", out, *options, log=log, variables=store.variables())
    code = process.wait(600)
    if code != 0:
        raise RuntimeError(f"the undisturbed run ended with {code}:\n{log.read_text()[-3000:]}")
    return {table: by_recording(read_rows(store, out, table), inputs) for table in TABLES}
