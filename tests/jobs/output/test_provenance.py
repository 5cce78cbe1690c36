"""Where results come from, as ``_run.json``, every part, the history and ``inspect`` say it."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

import heartbeat_core
from heartbeat_core import storage
from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.errors import InputError
from jobs.cli.__main__ import app
from jobs.drivers.classify import classify
from jobs.output import provenance
from jobs.output.explain import explain, lines_of
from jobs.output.plans import Generation, PlanFolder
from jobs.settings import ClusterSettings, JobSettings, TlsSettings
from tests.conftest import quiet_console, without_cluster
from tests.helpers import heart_bytes

COMMAND = ["/opt/bin/heartbeat", "classify", "s3://key:secret@bucket/in", "-o", "out folder"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """Two recordings and a broken one, classified in shards of two, then once more after one has changed."""
    folder = tmp_path_factory.mktemp("provenance")
    (folder / "in").mkdir()
    for seed, name in enumerate(("a.wav", "b.wav")):
        (folder / "in" / name).write_bytes(heart_bytes("normal", seed))
    (folder / "in/c.wav").write_bytes(b"no sound")
    settings = JobSettings.model_validate({"model": str(bundle), "shards": {"recordings": 2}})
    with pytest.MonkeyPatch.context() as patch:
        without_cluster(patch)
        patch.setattr(sys, "argv", COMMAND)
        classify([str(folder / "in")], str(folder / "out"), settings, quiet_console())
        (folder / "in/b.wav").write_bytes(heart_bytes("normal", 9))
        (folder / "in/c.wav").write_bytes(heart_bytes("normal", 10))
        classify([str(folder / "in")], str(folder / "out"), settings, quiet_console(), update=True)
    return folder / "out"


def metadata_of(path: Path) -> dict[str, str]:
    entries = pq.read_metadata(path).metadata
    return {key.decode(): value.decode() for key, value in entries.items() if key.startswith(b"heartbeat.")}


@pytest.mark.parametrize("table", ["predictions", "features", "failures"])
def test_every_part_says_where_it_comes_from(results: Path, bundle: Path, table: str) -> None:
    parts = sorted((results / table).glob("*.parquet"))
    assert parts
    for part in parts:
        found = metadata_of(part)
        assert found["heartbeat.command"] == "heartbeat classify s3://bucket/in -o 'out folder'"
        assert found["heartbeat.model_id"] == read_manifest(str(bundle)).model_id
        assert found["heartbeat.heartbeat_version"] == heartbeat_core.__version__
        assert json.loads(found["heartbeat.packages"])["numpy"] == np.__version__
        assert json.loads(found["heartbeat.cluster"]) == {"kind": "local", "workers": 1, "threads": 1}
        assert json.loads(found["heartbeat.configuration"])["shards"]["recordings"] == 2
        assert "secret" not in str(found)


def test_the_tables_that_follow_from_the_parts_say_where_they_come_from(results: Path, bundle: Path) -> None:
    found = metadata_of(results / "duplicates.parquet")
    part = metadata_of(max((results / "predictions").glob("*.parquet")))
    # They are of all parts, and so of no one cluster; the parts of the update are of the same process here.
    assert found == {key: value for key, value in part.items() if key != "heartbeat.cluster"}
    assert len(json.loads(found["heartbeat.inputs"])) == 2


def test_a_part_names_the_listings_until_then(results: Path) -> None:
    first, _, last = (metadata_of(results / f"predictions/part-00000{shard}.parquet") for shard in range(3))
    [listed] = json.loads(first["heartbeat.inputs"])
    assert listed["recordings"] == 3
    assert json.loads(last["heartbeat.inputs"])[0] == listed
    assert [one["recordings"] for one in json.loads(last["heartbeat.inputs"])] == [3, 2]


def test_the_digest_of_a_listing_is_over_ids_sizes_and_versions(results: Path) -> None:
    plans = PlanFolder(str(results))
    for generation in plans.generations():
        recordings = [one for shard in plans.shards(generation) for one in shard.recordings]
        text = "".join(f"{one.recording_id} {one.size_bytes} {one.version}\n" for one in recordings)
        assert generation.listing_sha256 == sha256(text.encode()).hexdigest()
        assert generation.n_bytes == sum(one.size_bytes or 0 for one in recordings)


def test_the_run_record_and_the_history_name_each_driver(results: Path) -> None:
    record = json.loads((results / "_run.json").read_text())
    history = provenance.read_history(storage.to_uri(results))
    assert len(history) == 2
    assert [one["outcome"] for one in history] == ["done", "done"]
    for one in (record["origin"], *history):
        assert one["command"] == "heartbeat classify s3://bucket/in -o 'out folder'"
        assert one["commit"] == provenance.find_commit_id()
    assert all(one["working_at"] <= one["ended_at"] for one in history)


def test_what_was_replaced_counts_once_everywhere(results: Path) -> None:
    told = explain(str(results))
    assert told["recordings"] == {"listed": 3, "done": 3, "failed": 0, "left": 0}
    assert "failures by reason" not in told
    mark = json.loads((results / "_SUCCESS").read_text())
    assert (mark["listed"], mark["done"], mark["failed"]) == (3, 3, 0)
    assert [one["kind"] for one in told["listings"]] == ["first listing", "update"]


def test_inspect_tells_what_each_thing_is(results: Path, dataset: Path, bundle: Path) -> None:
    model_id = read_manifest(str(bundle)).model_id
    for place, kind in (
        (results, "output of classify"),
        (dataset, "dataset"),
        (bundle, "bundle"),
        (results / "failures/part-000001.parquet", "part"),
        ("cycles", "bundle"),
    ):
        found = CliRunner().invoke(app, ["inspect", str(place), "--json"])
        assert found.exit_code == 0, found.output
        [line] = found.stdout.splitlines()
        told = json.loads(line)
        assert told["is"] == kind
        shown = CliRunner().invoke(app, ["inspect", str(place)])
        assert shown.stdout.splitlines() == lines_of(told)
    assert explain(str(results))["job"]["model"] == model_id
    assert explain(str(bundle))["model"] == model_id
    assert explain(str(results / "failures/part-000001.parquet"))["rows"] == 1
    assert explain(str(dataset))["dataset"]["labels"]


def test_a_part_of_another_program(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "other.parquet")
    told = explain(str(tmp_path / "other.parquet"))
    assert (told["rows"], told["columns"], told["written by"]) == (2, 1, "another program")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gone", "is neither the output of a job, nor a bundle, nor a part"),
        ("gone.parquet", "no such file"),
        ("text.parquet", "not a Parquet file"),
    ],
)
def test_what_cannot_be_explained(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "text.parquet").write_text("not a table, but long enough to have a tail")
    with pytest.raises(InputError, match=f"^{tmp_path}/{name}.*{told}"):
        explain(str(tmp_path / name))


def test_lines_leave_out_what_is_not_set() -> None:
    facts: dict[str, Any] = {
        "is": "x",
        "none": None,
        "empty": [],
        "inner": {"a_b": 1, "deep": {"nothing": None}},
        "many": [{"n": 0}, {"n": 2}],
        "list": ["a", "b"],
    }
    assert lines_of(facts) == [
        *("is    x", "inner:", "  a_b  1", "many 1:", "  n  0", "many 2:", "  n  2", "list  a, b"),
    ]


def test_certificates_and_queries_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        ["heartbeat", "classify", "https://u:pw@host/a.wav?sig=s3cr3t", "--model=https://u:pw@host/m?s3cr3t"],
    )
    tls = TlsSettings(ca_file="/ca-file", cert_file="/cert-file", key_file="/key-file")
    cluster = ClusterSettings(kind="address", address="tls://host:8786", tls=tls)
    origin = provenance.describe_origin(JobSettings(cluster=cluster))
    told = str(provenance.entries_of(origin, (Generation(0, "t", 0, 1, 1, 1),), {}))
    assert not any(secret in told for secret in ("pw", "s3cr3t", "-file"))
    assert origin.command == "heartbeat classify https://host/a.wav --model=https://host/m"


def test_the_commit_is_that_of_the_checkout() -> None:
    root = Path(heartbeat_core.__file__).parents[1]
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    found = provenance.find_commit_id()
    assert found is None if head.returncode else found is not None and found.startswith(head.stdout.strip())


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(KeyboardInterrupt(), "interrupted"), (InputError("no"), "failed: InputError"), (None, "done")],
)
def test_the_history_tells_how_a_driver_ended(tmp_path: Path, error: BaseException | None, outcome: str) -> None:
    def work() -> None:
        with provenance.recorded(storage.to_uri(tmp_path), "d", JobSettings(), {"workers": 3}):
            [begun] = provenance.read_history(storage.to_uri(tmp_path))
            assert "ended_at" not in begun
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    [found] = provenance.read_history(storage.to_uri(tmp_path))
    assert (found["outcome"], found["cluster"]) == (outcome, {"workers": 3})


def test_a_folder_of_an_earlier_release_is_explained(results: Path, tmp_path: Path, console: Console) -> None:
    for path in results.rglob("*"):
        if path.is_file() and "_history" not in path.parts:
            storage.create(storage.to_uri(tmp_path / path.relative_to(results)), path.read_bytes())
    record = json.loads((tmp_path / "_run.json").read_text())
    del record["origin"]
    (tmp_path / "_run.json").write_text(json.dumps(record))
    told = explain(str(tmp_path))
    assert told["recordings"]["listed"] == 3
    assert "origin" not in told
    assert "drivers" not in told
