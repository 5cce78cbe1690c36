"""``heartbeat sql`` over a bucket, through the client and the settings of a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.commands import done, heartbeat
from tests.conftest import quiet_console
from tests.helpers import COUNTS
from tests.s3.conftest import Store


@pytest.fixture
def results(s3: Store, bucket: str, library: Path, bundle: Path, in_process: None) -> str:
    settings = JobSettings.model_validate({"model": str(bundle), "shards": {"recordings": 8}})
    classify([str(library)], f"{bucket}/out [1]", settings, quiet_console())
    return f"{bucket}/out [1]"


QUERY = "SELECT count(*) AS n, sum(duration_s) > 0 AS is_long FROM predictions JOIN features USING (recording_id)"


def test_a_bucket_is_read_with_the_settings_of_the_job(
    results: str, s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    config = tmp_path / "job.yaml"
    config.write_text(json.dumps({"s3": {"endpoint_url": s3.endpoint}}))
    found = done("sql", results, "--config", config, "--format", "json", "-c", QUERY)
    assert json.loads(found.stdout) == [{"n": sum(COUNTS.values()), "is_long": True}]


def test_a_bucket_that_is_not_there_is_told(s3: Store) -> None:
    found = heartbeat("sql", "s3://no-such-bucket/out", "-c", "SELECT 1")
    assert found.exit_code in (1, 2)
    assert "Traceback" not in found.output
    assert len(found.stderr.splitlines()) == 1
