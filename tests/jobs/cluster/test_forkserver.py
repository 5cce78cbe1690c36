"""Workers forked from a process that has loaded their libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gc, multiprocessing, os, signal, sys
from jobs.cluster import forkserver

def look(queue):
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    variables = os.environ["MALLOC_TRIM_THRESHOLD_"], os.environ["OMP_NUM_THREADS"]
    queue.put((*variables, blocked, "jobs.tasks.shards" in sys.modules))
    queue.put(gc.get_freeze_count() > 4 * len(gc.get_objects()))

if __name__ == "__main__":
    assert forkserver.start_method() == "spawn"
    before = dict(os.environ)
    forkserver.start_server()
    assert dict(os.environ) == before
    assert forkserver.start_method() == "forkserver"
    context = multiprocessing.get_context("forkserver")
    queue = context.SimpleQueue()
    worker = context.Process(target=look, args=(queue,))
    worker.start()
    print(*queue.get(), queue.get())
    worker.join()
    os.environ["AWS_PROFILE"] = "another"
    assert forkserver.start_method() == "spawn", "a worker would not know the new variable"
"""


def test_workers_have_their_libraries_and_their_environment(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(256 * 2**20), "1", "True", "True", "True"]
