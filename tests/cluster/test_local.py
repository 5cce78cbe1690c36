"""The cluster on this machine: what its workers survive."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import dask

from heartbeat_core.storage import Access
from jobs.cluster.connect import connect
from jobs.settings import ClusterSettings


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
