"""Metrics of a real job are what its tables hold, and do not fall while it runs."""

from __future__ import annotations

import re
import threading
import urllib.request
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from rich.console import Console

from heartbeat_core.errors import InputError
from jobs.drivers.classify import classify
from jobs.drivers.metrics import read_metrics
from jobs.settings import JobSettings
from tests.helpers import write_broken, write_many
from tests.jobs.output.test_metrics import values as samples

N = 40


def test_they_are_the_tables_counts_and_never_fall(
    bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    write_many(tmp_path / "in", N)
    write_broken(tmp_path / "broken")
    out = tmp_path / "out"
    content = {"model": str(bundle), "shards": {"recordings": 4}, "metrics_port": 0}
    seen: list[dict[str, float]] = []
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(0.02):
            if address := re.search(r"metrics: (\S+)", console.file.getvalue()):  # type: ignore[attr-defined]
                try:
                    seen.append(samples(urllib.request.urlopen(address[1]).read().decode()))
                except OSError:
                    return

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        inputs = [str(tmp_path / "in"), str(tmp_path / "broken")]
        classify(inputs, str(out), JobSettings.model_validate(content), console)
    finally:
        ended.set()
        scraper.join()
    counters = {name for one in seen for name in one if "_total" in name}
    for name in counters:
        values = [one.get(name, 0.0) for one in seen]
        assert values == sorted(values), name
    assert len({one["heartbeat_shards_left"] for one in seen}) > 2

    found = samples(read_metrics(str(out)))
    rows = {name: ds.dataset(out / name, format="parquet").to_table() for name in ("features", "failures")}
    errors = rows["failures"].column("error_type").to_pylist()
    assert found["heartbeat_recordings_total done"] == rows["features"].num_rows >= N
    assert found["heartbeat_recordings_total failed"] == rows["failures"].num_rows > 0
    by_reason = {name.split()[1]: value for name, value in found.items() if name.startswith("heartbeat_failures_total")}
    assert by_reason == {name: errors.count(name) for name in set(errors)}
    assert found["heartbeat_bytes_total"] == sum(rows["features"].column("size_bytes").to_pylist())
    assert found["heartbeat_shards_committed_total"] == len(list((out / "_commits").glob("*.json")))
    assert (found["heartbeat_shards_left"], found["heartbeat_recordings_left"]) == (0, 0)
    assert found["heartbeat_stage_seconds_total features"] > 0


def test_a_folder_that_is_no_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not the output of a heartbeat job"):
        read_metrics(str(tmp_path))
