"""Failures that a store gave for a while, taken again by real processes, one of which is killed in the middle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import StorageError
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import S3Settings
from jobs.drivers.classify import classify
from jobs.listing.again import look_again
from jobs.output.status import read_status
from jobs.settings import JobSettings
from tests.faults.rig import kill_group, names_in, read_rows, start, tiny_recordings, upload, wait_until
from tests.s3.conftest import Store
from tests.s3.proxy import Fault, FaultProxy

N_AWAY = 100


def test_a_hundred_timeouts_become_a_hundred_predictions_though_a_driver_is_killed(
    s3: Store, bucket: str, bundle: Path, tmp_path: Path, in_process: None, console: Console
) -> None:
    recordings = tiny_recordings(120)
    inputs = upload(s3, f"{bucket.removeprefix('s3://hearts/')}/in", recordings)
    out = f"{bucket}/out"
    away = set(list(recordings)[:N_AWAY])
    with FaultProxy(s3.endpoint) as proxy:
        # Objects are refused for longer than the deadline, but the store answers other requests.
        proxy.only = lambda method, path: method == "GET" and path.partition("/in/")[2] in away
        proxy.rates = {Fault.SLOW_DOWN: 1.0}
        content = {"model": str(bundle), "s3": {"endpoint_url": proxy.endpoint}, "limits": {"deadline_s": 0.2}}
        first = classify([inputs], out, JobSettings.model_validate(content), console)
        assert (first.totals.listed, first.errors) == (120, {"timeout": N_AWAY})
        proxy.rates = {}
        n_commits = len(names_in(s3, f"{out}/_commits"))

        # The retry may take longer.
        content["limits"] = {"deadline_s": 60.0}
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(content))
        command = ("classify", inputs, "-o", out, "--config", tmp_path / "job.yaml", "--retry-failed", "timeout")
        # Slow enough that some of it is left when the driver dies.
        proxy.latency_s = 0.15
        killed = start(*command, log=tmp_path / "killed", variables=s3.variables())
        assert wait_until(lambda: len(names_in(s3, f"{out}/_commits")) > n_commits, 90), (
            tmp_path / "killed"
        ).read_text()
        kill_group(killed)
        proxy.latency_s = 0.0
        begun = read_status(out)
        assert (begun.listed, begun.retried, begun.finished) == (120, N_AWAY, False)
        assert begun.left > 0
        assert start(*command, log=tmp_path / "again", variables=s3.variables()).wait(120) == 0
    text = (tmp_path / "again").read_text()
    assert "retry 1 had been begun and is finished now" in text
    assert "120 recordings listed = 120 predictions + 0 failures" in text
    rows = read_rows(s3, out, "predictions")
    found = {row["uri"].removeprefix(f"{inputs}/"): row["generation"] for row in rows}
    assert len(rows) == 120
    assert found == {name: int(name in away) for name in recordings}
    assert Counter(row["generation"] for row in read_rows(s3, out, "failures")) == {0: N_AWAY}
    done = read_status(out)
    assert (done.listed, done.done, done.failed, done.left, done.generations) == (120, 120, 0, 0, 2)


def test_an_object_that_was_replaced_has_its_new_etag(
    s3: Store, bucket: str, bundle: Path, in_process: None, console: Console
) -> None:
    recordings = list(tiny_recordings(3).values())
    client = s3.client()
    client.pipe_file(f"{bucket}/in/a.wav", b"no sound")
    client.pipe_file(f"{bucket}/in/b.wav", recordings[0])
    settings = JobSettings(model=str(bundle))
    assert classify([f"{bucket}/in"], f"{bucket}/out", settings, console).errors == {"not_audio": 1}
    client.pipe_file(f"{bucket}/in/a.wav", recordings[1])
    for options in ({"retry_failed": []}, {"update": True}):
        summary = classify([f"{bucket}/in"], f"{bucket}/out", settings, console, **options)
        assert (summary.totals.listed, summary.totals.failed) == (2, 0)
    rows = read_rows(s3, f"{bucket}/out", "predictions")
    assert sorted((row["uri"].rpartition("/")[2], row["generation"]) for row in rows) == [("a.wav", 1), ("b.wav", 0)]


def test_a_store_that_does_not_answer_is_no_reason_to_plan(s3: Store, bucket: str) -> None:
    with FaultProxy(s3.endpoint) as proxy:
        proxy.away = True
        with (
            storage.using(storage.Access(S3Settings(endpoint_url=proxy.endpoint)), 1),
            pytest.raises(StorageError, match=r"/a\.wav: the store does not answer: "),
        ):
            list(look_again([Recording(f"{bucket}/a.wav", "a.wav", 3, "etag")]))
