"""The faults that need no store, in small; ``tests/s3/test_faults.py`` has the others."""

from __future__ import annotations

from pathlib import Path

from tests.faults import scenarios


def test_mutated_files_and_bombs(tmp_path: Path) -> None:
    (finding,) = scenarios.mutants(tmp_path, 400)
    assert finding.holds, finding


def test_a_local_writer_that_is_killed(tmp_path: Path) -> None:
    (finding,) = scenarios.writer_kills(tmp_path, 8)
    assert finding.holds, finding
