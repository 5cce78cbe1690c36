"""Metrics of a job: what commit records add up to, at any time and without falling."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from heartbeat_core.errors import ConfigError
from jobs.output.ledger import Commit
from jobs.output.metrics import JobMetrics, as_text, served


def values(text: str) -> dict[str, float]:
    """Return the samples of a text by name and the label beside those of the job."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            own = [value for name, value in sample.labels.items() if name not in ("job_name", "run_id")]
            found[" ".join([sample.name, *own])] = sample.value
    return found


def commit(shard: int, listed: int, errors: dict[str, int], seconds: dict[str, float] | None = None) -> Commit:
    notes = {} if seconds is None else {"seconds": seconds, "size_bytes": 1_000 * listed}
    rows = {"predictions": listed - sum(errors.values()), "failures": sum(errors.values())}
    return Commit(shard, listed, rows, "r1", {}, errors, notes, 100.0 + shard)


def test_sums_of_records() -> None:
    metrics = JobMetrics("classify", "r1", 4, 40)
    metrics.take([commit(0, 10, {"not_audio": 2}, {"read": 1.5, "model": 0.5})])
    metrics.take([commit(2, 10, {"not_audio": 1, "not_found": 3}, {"read": 2.0}), commit(0, 10, {"not_audio": 2})])
    assert values(as_text(metrics)) == {
        "heartbeat_recordings_total done": 14,
        "heartbeat_recordings_total failed": 6,
        "heartbeat_failures_total not_audio": 3,
        "heartbeat_failures_total not_found": 3,
        "heartbeat_stage_seconds_total read": 3.5,
        "heartbeat_stage_seconds_total model": 0.5,
        "heartbeat_bytes_total": 20_000,
        "heartbeat_shards_committed_total": 2,
        "heartbeat_shards_left": 2,
        "heartbeat_recordings_left": 20,
        "heartbeat_last_commit_timestamp_seconds": 102,
    }


def test_records_of_earlier_releases_have_no_notes() -> None:
    metrics = JobMetrics("classify", "r1", 1, 5)
    metrics.take([Commit(0, 5, {"predictions": 4, "failures": 1}, "r1")])
    found = values(as_text(metrics))
    assert found["heartbeat_recordings_total done"] == 4
    assert found["heartbeat_failures_total unknown"] == 1
    assert found["heartbeat_bytes_total"] == 0
    assert found["heartbeat_last_commit_timestamp_seconds"] == 0


def test_served_on_loopback_alone_and_no_longer_than_the_block() -> None:
    metrics = JobMetrics("classify", "r1", 2, 20)
    with served(metrics, 0) as address:
        assert address.startswith("http://127.0.0.1:")
        port = int(address.split(":")[2].split("/")[0])
        before = values(urllib.request.urlopen(address).read().decode())
        metrics.take([commit(1, 10, {})])
        after = values(urllib.request.urlopen(address).read().decode())
        assert (before["heartbeat_shards_left"], after["heartbeat_shards_left"]) == (2, 1)
        with socket.socket() as other:
            other.bind(("127.0.0.2", port))  # All of 127.0.0.0/8 would be taken by 0.0.0.0.
        with pytest.raises(ConfigError, match=rf"^--metrics-port {port}: Address already in use: name another"):
            served(metrics, port).__enter__()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address)
