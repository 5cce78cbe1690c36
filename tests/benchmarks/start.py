"""Where the time goes from the start to the end of a small job, and of one prediction.

    python -m tests.benchmarks.start [--data FOLDER] [--recordings 12] [--workers N] [--runs 5] [--json FILE]

The moments of the job are seen from outside: lines as they are printed, and the files of the output folder. The pieces
of ``predict`` are those of commands that each do more than the one before. CPU is that of all processes together.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from tests.benchmarks.common import arguments, audio_files, recordings, report

_SET_CHILD_SUBREAPER = 36
"""Of prctl(2): processes whose parent has ended become children of this one."""

MAIN = "from jobs.cli.__main__ import main; main()"
PIECES = {
    "Python": ["-c", "pass"],
    "the command line": ["-c", MAIN, "--version"],
    "NumPy": ["-c", "import jobs.cli.__main__, numpy"],
    "SciPy's transforms": ["-c", "import jobs.cli.__main__, numpy, scipy.fft"],
    "the modules of predict": ["-c", "import jobs.cli.__main__, numpy, scipy.fft, jobs.drivers.predict"],
}
"""Each does more than the one before; the whole of ``predict`` follows."""

Moments = dict[str, tuple[float, float]]
"""Of each moment, the seconds since the start, and the CPU seconds of all processes where they are known, else 0."""

LINES = {"listed": "listed", "dashboard:": "workers ready"}
"""What a line holds first, and the moment that it shows."""


def main() -> None:
    """Run both in turn and print what each piece takes."""
    parser = arguments("Time the pieces of a small job and of one prediction.")
    parser.add_argument("--recordings", type=int, default=12, help="how many the job classifies [default: 12]")
    parser.add_argument("--workers", type=int, help="of the job [default: the job's own choice]")
    options = parser.parse_args()
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with TemporaryDirectory() as scratch:
        files = audio_files(recordings(options.data, Path(scratch)))[: options.recordings]
        inputs = Path(scratch, "some.csv")
        inputs.write_text("\n".join(["path", *map(str, files)]) + "\n")
        more = [] if options.workers is None else ["--workers", str(options.workers)]
        jobs, predictions = [], []
        for run in range(options.runs + 1):
            found = _job(["classify", str(inputs), "-o", f"{scratch}/out-{run}", *more], Path(scratch, f"out-{run}"))
            pieces = _predict(str(files[0]))
            if run > 0:  # The first fills the caches of the disk.
                jobs.append(found)
                predictions.append(pieces)
    figures = {"job": _medians(jobs), "predict": _medians(predictions)}
    tables = [_table(f"classify, {len(files)} recordings", figures["job"])]
    tables.append(_table("predict, 1 recording", figures["predict"]))
    report("start", tables, {"recordings": len(files), "workers": options.workers, **figures}, options.json)


def _job(command: Sequence[str], out: Path) -> Moments:
    """Return the seconds since the start at which each moment of a job came; for the end also the CPU seconds."""
    began = time.time()
    moments: Moments = {}
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        for sign, name in LINES.items():
            if sign in line:
                moments.setdefault(name, (time.time() - began, 0.0))
    ended, cpu, exit_code = _wait_for_all(process)
    if exit_code:
        raise SystemExit("".join(printed))
    commits = sorted(path.stat().st_mtime for path in (out / "_commits").iterdir())
    moments["first shard committed"] = commits[0] - began, 0.0
    moments["last shard committed"] = commits[-1] - began, 0.0
    moments["success marked"] = (out / "_SUCCESS").stat().st_mtime - began, 0.0
    return moments | {"command ended": (ended - began, cpu)}


def _predict(file: str) -> Moments:
    """Return wall and CPU seconds of each command of ``PIECES``, and of the whole."""
    found = {}
    for name, command in {**PIECES, "all of predict": ["-c", MAIN, "predict", file]}.items():
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # As predict sets it.
        )
        ended, cpu, exit_code = _wait_for_all(process)
        found[name] = ended - began, cpu
        if exit_code:
            raise SystemExit(f"{command} failed")
    return found


def _wait_for_all(process: subprocess.Popen[str]) -> tuple[float, float, int]:
    """Wait for a command and all that it started; return when it ended, their CPU seconds, and its exit code."""
    ended, cpu, exit_code = 0.0, 0.0, 0
    with suppress(ChildProcessError):
        while True:
            pid, status, usage = os.wait4(-1, 0)
            cpu += usage.ru_utime + usage.ru_stime
            if pid == process.pid:
                ended, exit_code = time.time(), os.waitstatus_to_exitcode(status)
    process.returncode = exit_code
    return ended, cpu, exit_code


def _medians(runs: Sequence[Moments]) -> Moments:
    return {
        name: (statistics.median(run[name][0] for run in runs), statistics.median(run[name][1] for run in runs))
        for name in runs[0]
    }


def _table(title: str, figures: Moments) -> Table:
    table = Table("until", "seconds", "since the line above", "CPU seconds", title=title)
    before = 0.0
    for name, (seconds, cpu) in figures.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds - before:.2f}", f"{cpu:.2f}" if cpu else "")
        before = seconds
    return table


if __name__ == "__main__":
    main()
