"""Freed memory goes back to the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster.forkserver import WORKER_ENVIRONMENT

SCRIPT = """
import os
from pathlib import Path

from heartbeat_core.formats import memory


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def given_back_mb():
    blocks = [b"x" * 10**6 for _ in range(200)]
    kept = [blocks[i] for i in range(0, 200, 20)]
    del blocks
    before = resident_mb()
    memory.give_back_memory()
    return before - resident_mb()


first, soon = given_back_mb(), given_back_mb()
memory.PAUSE_S = 0.0
print(first, soon, given_back_mb())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_memory_between_blocks_in_use_goes_back() -> None:
    """With the settings of a worker, glibc itself keeps what lies between blocks that are still in use."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **WORKER_ENVIRONMENT}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    first, soon, later = map(float, found.stdout.split())
    assert first > 100
    assert soon < 10, "not again at once"
    assert later > 100
