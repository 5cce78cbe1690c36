"""The jobs over buckets of a real S3 server."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.datasets.dataset import Dataset
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.helpers import comparable, start_command
from tests.s3.conftest import Store

ELSEWHERE = ("--cluster", "tcp://127.0.0.1:9")
"""A cluster that is never asked: the command ends before, and loads no libraries for workers of its own."""


@pytest.fixture
def uploaded(s3: Store, bucket: str, library: Path) -> str:
    """Return the URL of a copy of the library."""
    s3.client().put(str(library), f"{bucket}/in", recursive=True)
    return f"{bucket}/in"


def rows(s3: Store, out: str, table: str) -> list[dict[str, Any]]:
    """Read a table with a client that is not the program's."""
    client = s3.client()
    parts = (pq.ParquetFile(client.open(path)).read() for path in sorted(client.find(f"{out}/{table}")))
    return [row for part in parts for row in part.to_pylist()]


def without_names(table: list[dict[str, Any]], root: str) -> dict[str, dict[str, Any]]:
    """Return rows by their path below ``root``, without what names the place, the run and the moment."""
    dropped = ("uri", "encoded_uri", "recording_id", "run_id", "processed_at", "modified_at")
    return {
        row["uri"].removeprefix(root): {name: value for name, value in row.items() if name not in dropped}
        for row in table
    }


def test_rows_are_those_of_the_local_run(
    s3: Store,
    bucket: str,
    uploaded: str,
    library: Path,
    bundle: Path,
    tmp_path: Path,
    in_process: None,
    console: Console,
) -> None:
    settings = JobSettings(model=str(bundle))
    remote = classify([uploaded], f"{bucket}/out", settings, console)
    local = classify([str(library)], str(tmp_path / "out"), settings, console)
    assert remote.totals == local.totals
    assert remote.totals.failed == 0
    for table in ("predictions", "features"):
        here = list(comparable(tmp_path / "out", table).values())
        there = rows(s3, f"{bucket}/out", table)
        assert without_names(there, uploaded) == without_names(here, f"file://{library}")


def test_the_command_on_its_own_cluster_and_again(
    s3: Store, bucket: str, uploaded: str, bundle: Path, tmp_path: Path
) -> None:
    command = ("classify", uploaded, "-o", f"{bucket}/out", "--model", bundle, "--workers", "2")
    for _ in range(2):
        process = start_command(*command, cwd=tmp_path)
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert "31 recordings listed = 31 predictions + 0 failures" in out
        assert len(rows(s3, f"{bucket}/out", "predictions")) == 31
        # The second time, half of the work has to be found missing and done again.
        client = s3.client()
        client.rm(sorted(client.find(f"{bucket}/out/_commits"))[::2])
        client.rm(f"{bucket}/out/_SUCCESS")


def test_dataset_and_bundle_in_a_bucket(
    s3: Store, bucket: str, uploaded: str, bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    s3.client().put(str(dataset), f"{bucket}/ds", recursive=True)
    opened = Dataset(f"{bucket}/ds")
    assert opened.rows().fingerprint() == Dataset(str(dataset)).rows().fingerprint()
    trained = start_command("train", f"{bucket}/ds", "-o", f"{bucket}/model", cwd=tmp_path)
    _, error = trained.communicate(timeout=120)
    assert trained.returncode == 0, error
    predicted = start_command("predict", f"{uploaded}/normal/normal_00.wav", "--model", f"{bucket}/model", cwd=tmp_path)
    out, error = predicted.communicate(timeout=120)
    assert predicted.returncode == 0, error
    assert "normal_00.wav" in out


def test_one_writer_wins(s3: Store, bucket: str) -> None:
    texts = [f"writer {number}".encode() for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda text: storage.create(f"{bucket}/part", text), texts))
    assert sum(won) == 1
    assert s3.client().cat_file(f"{bucket}/part") == texts[won.index(True)]


def without_keys(patch: pytest.MonkeyPatch) -> None:
    """Leave no credentials, and no machine to ask for some."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.delenv(name)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("change", "said", "code"),
    [
        (lambda patch: patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong"), "Forbidden|signature", 2),
        # Another attempt may succeed.
        (lambda patch: patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), "Could not connect to the endpoint", 1),
        (lambda patch: patch.delenv("AWS_SECRET_ACCESS_KEY"), "Partial credentials", 2),
        (without_keys, "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ", 2),
    ],
)
def test_a_store_that_refuses_is_one_line(
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
    said: str,
    code: int,
) -> None:
    change(monkeypatch)
    commands = [
        ("classify", f"{bucket}/in", "-o", "out"),
        ("classify", f"{bucket}/in/*.wav", "-o", "out", *ELSEWHERE),
        ("classify", f"{bucket}/list.csv", "-o", "out", *ELSEWHERE),
        ("classify", ".", "-o", f"{bucket}/out", *ELSEWHERE),
        ("predict", f"{bucket}/in/a.wav"),
    ]
    for process in [start_command(*command, cwd=tmp_path) for command in commands]:
        _, error = process.communicate(timeout=120)
        assert process.returncode == code, error
        assert re.search(said, error.splitlines()[-1])
        assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_missing_bucket_or_prefix_is_one_line(bucket: str, tmp_path: Path) -> None:
    for place in ("s3://no-such-bucket/in", f"{bucket}/nothing"):
        process = start_command("classify", place, "-o", f"{bucket}/out", *ELSEWHERE, cwd=tmp_path)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 2
        assert error.splitlines()[-1] == f"heartbeat: {place}: no such file or folder"
