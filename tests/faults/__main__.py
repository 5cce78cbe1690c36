"""Run the faults and print the figures: ``make faults``, or ``python -m tests.faults soak kills --data FOLDER``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults import scenarios
from tests.faults.rig import Finding
from tests.s3.server import Store, running_store

RUNS: dict[str, Callable[[Store, Path, argparse.Namespace], list[Finding]]] = {
    "soak": lambda store, folder, options: scenarios.soak(store, folder, 5_000, 15, 3),
    "kills": lambda store, folder, options: scenarios.driver_kills(store, folder, 400, 50),
    "lost": lambda store, folder, options: scenarios.lost_responses(store, 100),
    "killers": lambda store, folder, options: scenarios.killer_files(store, folder, 200),
    "mutants": lambda store, folder, options: scenarios.mutants(folder, 10_000),
    "flips": lambda store, folder, options: scenarios.flips(store, folder, 2_000),
    "away": lambda store, folder, options: scenarios.store_away(store, folder, 3_000, 60.0),
    "writers": lambda store, folder, options: scenarios.writer_kills(folder, 200),
    "runs": lambda store, folder, options: scenarios.full_runs(store, folder, 50, 40),
    "latency": lambda store, folder, options: scenarios.latency(store, folder, options.data, 0.05, 3),
}


def main() -> None:
    """Run what is named, or all, and print a line a figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("fault", nargs="*", help=f"all, or some of: {' '.join(RUNS)}")
    parser.add_argument("--data", type=Path, help="recordings (.flac) for the latency run; synthetic ones without")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    unknown = set(options.fault) - RUNS.keys()
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    findings: list[Finding] = []
    with TemporaryDirectory(prefix="heartbeat-faults-", ignore_cleanup_errors=True) as temporary:
        server = Path(temporary, "server")
        server.mkdir()
        with running_store(server) as store:
            os.environ.update(store.variables())
            for name in options.fault or RUNS:
                folder = Path(temporary, name)
                folder.mkdir()
                began = time.monotonic()
                for finding in RUNS[name](store, folder, options):
                    findings.append(finding)
                    mark = "ok  " if finding.holds else "FAIL"
                    print(f"{mark} {finding.fault}: {finding.figure} ({time.monotonic() - began:.0f} s)", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    sys.exit(not all(finding.holds for finding in findings))


if __name__ == "__main__":
    main()
