"""``heartbeat sql`` over a bucket, through the client and the settings of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heartbeat_core.errors import ConfigError
from heartbeat_core.results.folder import Results
from heartbeat_core.settings import S3Settings
from jobs.cli.prompt import python_lines
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.commands import done, heartbeat
from tests.conftest import quiet_console
from tests.helpers import COUNTS
from tests.s3.conftest import SECRET, Store


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


def test_the_lines_of_open_reach_the_bucket_as_the_settings_do(
    results: str, s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    config = tmp_path / "job.yaml"
    config.write_text(json.dumps({"s3": {"endpoint_url": s3.endpoint, "region": "eu-west-1"}}))
    lines = done("open", results, "--config", config).stdout
    assert f"s3={{'endpoint_url': '{s3.endpoint}', 'region': 'eu-west-1'}}" in lines
    assert SECRET not in lines
    names: dict[str, Any] = {}
    exec(lines, names)  # Outside of any block that would reach the bucket in its own way.
    opened: Results = names["results"]
    n = sum(COUNTS.values())
    assert len(opened.sql("FROM predictions").df()) == n
    assert opened.predictions(["uri"]).num_rows == n
    assert "duration_s" in opened.schema("features").names


def test_what_open_prints_holds_no_secret() -> None:
    settings = S3Settings(endpoint_url="https://store.example.org", requester_pays=True)
    lines = python_lines("s3://key:pass@bucket/out", settings, "predictions")
    given = "{'endpoint_url': 'https://store.example.org', 'requester_pays': True}"
    assert f"results = hb.Results('s3://bucket/out', s3={given})" in lines
    assert "hb.Results('/data/out')" in python_lines("file:///data/out", settings, "predictions")
    assert "hb.Results('s3://bucket/out')" in python_lines("s3://bucket/out", S3Settings(), "recordings")


def test_settings_that_are_wrong_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="s3: unknown key 'endpoint'; allowed here: anonymous, endpoint_url"):
        Results(tmp_path, s3={"endpoint": "https://store.example.org"})


def test_a_bucket_that_is_not_there_is_told(s3: Store) -> None:
    found = heartbeat("sql", "s3://no-such-bucket/out", "-c", "SELECT 1")
    assert found.exit_code in (1, 2)
    assert "Traceback" not in found.output
    assert len(found.stderr.splitlines()) == 1
