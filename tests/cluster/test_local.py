"""The cluster on this machine: what its workers survive."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import psutil
import pytest

from heartbeat_core.storage import Access
from jobs.cluster.connect import connect
from jobs.settings import ClusterSettings
from tests.helpers import environment, write_many


def test_workers_survive_a_machine_that_sleeps_longer_than_the_schedulers_patience(tmp_path: Path) -> None:
    """A job that ran while the machine slept had waited for ever: its workers were given up, and none came instead."""
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": "2s"}),
        connect(ClusterSettings(workers=1), str(tmp_path), Access()) as connection,
    ):
        [worker] = connection.client.run(os.getpid).values()
        task = connection.client.submit(time.sleep, 0.1)
        os.kill(worker, signal.SIGSTOP)
        time.sleep(6)
        os.kill(worker, signal.SIGCONT)
        task.result(timeout=60)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounts need root and unshare")
def test_a_machine_without_shared_memory_is_told_so(tmp_path: Path) -> None:
    write_many(tmp_path / "in", 1)
    classify = [sys.executable, "-m", "jobs.cli", "classify", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    read_only = ["sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh"]
    done = subprocess.run(
        ["unshare", "--mount", *read_only, *classify], capture_output=True, text=True, env=environment(), check=False
    )

    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert "/dev/shm, which must exist and be writable" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_dashboard_has_its_pages_for_who_asks_and_a_job_does_without(tmp_path: Path) -> None:
    code = (
        "import sys; from heartbeat_core.storage import Access; from jobs.cluster import connect; "
        "from jobs.settings import ClusterSettings\n"
        "if __name__ == '__main__':\n"
        "    with connect.connect(ClusterSettings(workers=1), sys.argv[1], Access()): pass\n"
        "    print('bokeh' in sys.modules)\n"
    )
    script = tmp_path / "short.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.strip() == "False"

    with connect(ClusterSettings(workers=1), str(tmp_path), Access()) as connection:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(_page, [connection.dashboard] * 3))
        assert all("Bokeh" in (page or "") for page in found)
        assert _page(connection.dashboard.replace("status", "nothing")) is None


def _page(address: str) -> str | None:
    """Return a page of a local server, None as long as it has none there."""
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


@pytest.mark.parametrize(("wanted", "worth", "expected"), [(None, 1, 1), (2, 1, 2)])
def test_no_more_workers_start_than_the_work_is_worth_unless_they_are_asked_for(
    wanted: int | None, worth: int, expected: int, tmp_path: Path
) -> None:
    with connect(ClusterSettings(workers=wanted), str(tmp_path), Access(), worth) as connection:
        assert connection.n_workers == expected


def test_a_cluster_of_this_machine_listens_on_loopback_alone(tmp_path: Path) -> None:
    with connect(ClusterSettings(workers=2), str(tmp_path), Access()) as connection:
        workers = list(connection.client.run(os.getpid).values())
        found = _listeners([os.getpid(), *workers])
        assert {pid for pid, _ in found} >= set(workers), "the walk over the listeners sees none of the workers"
        assert [address for _, address in found if not ipaddress.ip_address(address).is_loopback] == []


def _listeners(pids: list[int]) -> list[tuple[int, str]]:
    """Return the processes with a TCP socket that listens, and the address at which it does."""
    return [
        (pid, one.laddr.ip)
        for pid in pids
        for one in psutil.Process(pid).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    ]
