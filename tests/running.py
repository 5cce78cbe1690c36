"""How the suite runs: over several processes, the long tests first, and what is said at the end."""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

LONG = ("tests/s3/", "tests/cluster/test_hosts.py", "tests/cluster/test_slurm.py", "tests/faults/")
"""Tests that mostly wait for other processes, and share no fixture of their file."""


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes ``-n auto`` starts: one more than cores, since many tests wait.

    With two a core they wait for each other; of each, the memory and the clusters have to fit, too.
    """
    return min(len(os.sched_getaffinity(0)) + 1, 8)


class Schedule(LoadScopeScheduling):
    """A file's tests go to one process, which makes their fixtures once; long tests go one by one."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(LONG) else nodeid.partition("::")[0]

    def remove_node(self, node: WorkerController) -> str | None:
        """Return the test that ended its process, if one did; what it had not begun goes to the others.

        The base class would have that test run again until no process may be started any more.
        """
        units = self.assigned_work[node]
        left = [(unit, nodeid) for unit in units.values() for nodeid, is_done in unit.items() if not is_done]
        if left:
            unit, crashed = left[0]
            unit[crashed] = True
        self.assigned_work[node] = {scope: unit for scope, unit in units.items() if not all(unit.values())}
        super().remove_node(node)
        return crashed if left else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Replace the schedule that ``--dist loadscope`` names."""
    return Schedule(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests, so that no process is left with one at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, in red, where tests of S3 did not run."""
    skipped = [one for one in terminalreporter.stats.get("skipped", []) if one.nodeid.startswith("tests/s3/")]
    if skipped:
        reasons = sorted({one.longrepr[2].removeprefix("Skipped: ") for one in skipped})
        terminalreporter.section("S3 was not tested", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests of tests/s3 did not run: {'; '.join(reasons)}")
