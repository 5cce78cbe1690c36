"""The main job, end to end and without a cluster: every recording ends as exactly one row."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset
import pytest
import soundfile
from rich.console import Console

from heartbeat_core.config import LABELS
from heartbeat_core.errors import BundleError, JobError, OutputError
from heartbeat_core.schema import FAILURES, FEATURES, PREDICTIONS
from jobs.classify import ClassifySummary, classify, count_values
from jobs.ledger import Totals
from jobs.settings import JobSettings
from jobs.shard import classify_shard
from tests.conftest import quiet_console, without_cluster
from tests.helpers import (
    COUNTS,
    LIMITS,
    comparable,
    heart_bytes,
    read_rows,
    read_table,
    tree,
    web_server,
    write_broken,
    write_csv,
)

TABLES = ("predictions", "features", "failures")


def settings_for(bundle: Path, **more: Any) -> JobSettings:
    content = {"model": str(bundle), "shards": {"recordings": 8}, "limits": LIMITS, **more}
    return JobSettings.model_validate(content)


@dataclass(frozen=True)
class Finished:
    """A run over the library and the broken files."""

    inputs: list[str]
    out: Path
    summary: ClassifySummary
    text: str
    broken: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, library: Path, bundle: Path) -> Finished:
    folder = tmp_path_factory.mktemp("classify")
    broken = write_broken(folder / "broken")
    inputs = [str(library), str(folder / "broken")]
    console = quiet_console()
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        summary = classify(inputs, str(folder / "out"), settings_for(bundle), console)
    assert isinstance(console.file, io.StringIO)
    return Finished(inputs, folder / "out", summary, console.file.getvalue(), broken)


def test_predictions_and_failures_are_the_listed_recordings(finished: Finished, library: Path) -> None:
    n_good = sum(COUNTS.values())
    assert len(finished.broken) >= 30
    assert finished.summary.totals == Totals(n_good + len(finished.broken), len(finished.broken))
    predicted = [row["uri"] for row in read_rows(finished.out, "predictions")]
    failed = [row["uri"] for row in read_rows(finished.out, "failures")]
    assert sorted(predicted) == sorted(f"file://{path}" for path in library.rglob("*.wav"))
    assert len(failed) == len(set(failed)) == len(finished.broken)
    assert json.loads((finished.out / "_SUCCESS").read_text()) == {
        "listed": n_good + len(finished.broken),
        "done": n_good,
        "failed": len(finished.broken),
    }


def test_every_failure_has_its_stage_and_reason(finished: Finished) -> None:
    rows = {row["uri"].rpartition("/")[2]: row for row in read_rows(finished.out, "failures")}
    assert {name: (row["stage"], row["error_type"]) for name, row in rows.items()} == finished.broken
    for row in rows.values():
        assert row["message"]
        assert "\n" not in row["message"]
        assert row["attempts"] == 1


def test_features_and_predictions_have_the_same_rows(finished: Finished) -> None:
    features, predictions = read_rows(finished.out, "features"), read_rows(finished.out, "predictions")
    for column in ("recording_id", "uri", "audio_sha256"):
        assert [row[column] for row in features] == [row[column] for row in predictions]
    ids = [row["recording_id"] for row in [*features, *read_rows(finished.out, "failures")]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("name", "schema"), [("predictions", PREDICTIONS), ("features", FEATURES), ("failures", FAILURES)]
)
def test_schemas_are_equal_in_every_part(finished: Finished, name: str, schema: Any) -> None:
    table = read_table(finished.out, name)
    assert table.schema.equals(schema, check_metadata=False)
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata["heartbeat.model_id"] == finished.summary.model_id
    assert metadata["heartbeat.recipe"] == "tiny"
    assert metadata["heartbeat.schema_version"] == "1"


def test_predictions_are_probabilities_of_trained_labels(finished: Finished) -> None:
    for row in read_rows(finished.out, "predictions"):
        chances = [row[f"prob_{label}"] for label in LABELS]
        assert sum(chances) == pytest.approx(1, abs=1e-6)
        assert row["prob_artifact"] == 0
        assert row["predicted_code"] == int(np.argmax(chances))
        assert row["predicted_label"] == LABELS[row["predicted_code"]]
        assert row["confidence"] == max(chances)
        assert len(row["logits"]) == len(LABELS)
        assert row["model_id"] == finished.summary.model_id


def test_features_are_unpadded_and_name_their_place(finished: Finished, dataset: Path) -> None:
    length = json.loads((dataset / "_dataset.json").read_text())["length_frames"]
    for row in read_rows(finished.out, "features"):
        assert len(row["frequency_hz"]) == len(row["amplitude"]) == row["n_frames"] > 0
        assert 0 <= row["offset_frames"] <= length - row["n_frames"]
        assert row["n_frames_cut"] == 0
        assert (row["format"], row["subtype"], row["channels"], row["truncated"]) == ("WAV", "PCM_16", 1, False)
        assert row["duration_s"] == row["n_samples"] / row["sample_rate_hz"]
        assert row["alignment_distance"] >= 0


def test_duckdb_pandas_polars_and_pyarrow_read_the_parts(finished: Finished) -> None:
    pattern = f"{finished.out}/predictions/*.parquet"
    expected = Counter(row["predicted_label"] for row in read_rows(finished.out, "predictions"))
    query = f"SELECT predicted_label, count(*) FROM '{pattern}' GROUP BY predicted_label"
    assert dict(duckdb.sql(query).fetchall()) == expected
    assert pd.read_parquet(finished.out / "predictions")["predicted_label"].value_counts().to_dict() == expected
    assert dict(pl.scan_parquet(pattern).group_by("predicted_label").len().collect().iter_rows()) == expected
    # Names that begin with '_' are ours; what reads a folder must not stumble over them.
    assert pyarrow.dataset.dataset(finished.out / "features").count_rows() == expected.total()
    joined = duckdb.sql(
        f"SELECT count(*) FROM '{pattern}' p JOIN '{finished.out}/features/*.parquet' f USING (recording_id)"
    ).fetchall()
    assert joined == [(expected.total(),)]


def test_what_is_told(finished: Finished) -> None:
    n_listed = sum(COUNTS.values()) + len(finished.broken)
    assert f"{n_listed} recordings listed, 1 other files skipped" in finished.text
    assert f"classify: {n_listed}/{n_listed} recordings" in finished.text
    assert f"{len(finished.broken)} failures" in finished.text
    expected = Counter(row["error_type"] for row in read_rows(finished.out, "failures"))
    assert count_values(finished.summary.out, "failures", "error_type") == expected


def test_the_same_command_again_does_nothing(
    finished: Finished, bundle: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a finished job asked for a cluster")

    monkeypatch.setattr("jobs.classify.connect", refuse)
    monkeypatch.setattr("jobs.classify.list_inputs", refuse)
    before = tree(finished.out)
    assert classify(finished.inputs, str(finished.out), settings_for(bundle), console) == finished.summary
    assert tree(finished.out) == before


def copy_of(finished: Finished, folder: Path) -> Path:
    for name, data in tree(finished.out).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_job_goes_on_where_it_stopped(
    finished: Finished, bundle: Path, console: Console, tmp_path: Path, in_process: None
) -> None:
    out = copy_of(finished, tmp_path / "out")
    (out / "_SUCCESS").unlink()
    # One shard lost its commit, one all it had, one was interrupted in the middle of its parts.
    lost = {1: ("_commits",), 3: ("_commits", "failures", "features", "predictions"), 4: ("_commits", "predictions")}
    for shard, folders in lost.items():
        for folder in folders:
            next((out / folder).glob(f"part-{shard:06d}.*")).unlink()
    (out / "predictions" / ".part-000004.parquet.00aa.tmp").write_bytes(b"PAR1 killed here")
    (out / "_commits" / ".part-000004.json.00aa.tmp").write_bytes(b"{")
    left = tree(out)
    summary = classify(finished.inputs, str(out), settings_for(bundle), console)
    assert summary.totals == finished.summary.totals
    assert isinstance(console.file, io.StringIO)
    n_shards = len(list((finished.out / "_commits").iterdir()))
    assert f"going on: {n_shards - 3} of {n_shards} shards are committed" in console.file.getvalue()
    assert left.items() <= tree(out).items()
    assert (out / "_SUCCESS").exists()
    for name in TABLES:
        assert comparable(out, name) == comparable(finished.out, name)
    assert count_values(summary.out, "predictions", "predicted_label").total() == summary.totals.done


def test_inputs_are_listed_once(bundle: Path, tmp_path: Path, console: Console, in_process: None) -> None:
    """What is added to the folder later does not enter a job that has begun."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(heart_bytes("normal", 1))
    inputs = [str(tmp_path / "in")]
    classify(inputs, str(tmp_path / "out"), settings_for(bundle), console)
    (tmp_path / "in" / "b.wav").write_bytes(heart_bytes("normal", 2))
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert classify(inputs, str(tmp_path / "out"), settings_for(bundle), console).totals == Totals(1, 0)


def test_the_output_may_lie_in_the_input(bundle: Path, tmp_path: Path, console: Console, in_process: None) -> None:
    (tmp_path / "a.wav").write_bytes(heart_bytes("normal", 1))
    for _ in range(2):
        summary = classify([str(tmp_path)], str(tmp_path / "out"), settings_for(bundle), console)
        assert summary.totals == Totals(1, 0)


@pytest.mark.parametrize("change", ["inputs", "limits", "shards", "path_column"])
def test_another_job_in_the_folder_is_refused(finished: Finished, bundle: Path, console: Console, change: str) -> None:
    inputs = finished.inputs[:1] if change == "inputs" else finished.inputs
    more: dict[str, Any] = {
        "limits": {"limits": {"max_channels": 2}},
        "shards": {"shards": {"recordings": 9}},
        "path_column": {"path_column": "uri"},
    }.get(change, {})
    before = tree(finished.out)
    with pytest.raises(OutputError, match=rf"holds another job \({change}: "):
        classify(inputs, str(finished.out), settings_for(bundle, **more), console)
    assert tree(finished.out) == before


def test_settings_that_change_no_row_do_not_make_another_job(
    finished: Finished, bundle: Path, console: Console
) -> None:
    settings = settings_for(bundle, task_retries=7, max_failure_rate=0.1, cluster={"workers": 3})
    assert classify(finished.inputs, str(finished.out), settings, console) == finished.summary


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_manifest_with_rows_that_are_not_there(
    library: Path, bundle: Path, tmp_path: Path, console: Console, in_process: None, suffix: str
) -> None:
    paths = [
        f"{library}/normal/normal_00.wav",
        "near.wav",
        "gone.wav",
        str(library / "murmur"),
        "gopher://nowhere/a.wav",
    ]
    (tmp_path / "near.wav").write_bytes(heart_bytes("murmur", 50))
    if suffix == "csv":
        write_csv(tmp_path / "m.csv", ("file",), [(path,) for path in paths])
    elif suffix == "jsonl":
        (tmp_path / "m.jsonl").write_text("".join(json.dumps({"file": path}) + "\n" for path in paths))
    else:
        pd.DataFrame({"file": paths}).to_parquet(tmp_path / "m.parquet")
    inputs = [str(tmp_path / f"m.{suffix}")]
    summary = classify(inputs, str(tmp_path / "out"), settings_for(bundle), console)
    assert summary.totals == Totals(5, 3)
    assert [(row["stage"], row["error_type"]) for row in read_rows(tmp_path / "out", "failures")] == [
        ("read", "not_found"),
        ("read", "unreadable"),
        ("read", "unreadable"),
    ]


def test_over_http_and_without_secrets(
    library: Path, bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    with web_server(library) as (address, _):
        secret = f"{address.replace('//', '//user:hunter2@')}/normal/normal_00.wav?token=hunter2"
        inputs = [secret, f"{address}/murmur/murmur_00.wav", f"{address}/labels.csv"]
        write_csv(tmp_path / "m.csv", ("url",), [(one,) for one in [*inputs, f"{address}/gone.wav"]])
        summary = classify([str(tmp_path / "m.csv")], str(tmp_path / "out"), settings_for(bundle), console)
    assert summary.totals == Totals(4, 2)
    rows = {row["uri"]: row for name in ("predictions", "failures") for row in read_rows(tmp_path / "out", name)}
    assert sorted(rows) == sorted(
        f"{address}/{path}" for path in ("normal/normal_00.wav", "murmur/murmur_00.wav", "labels.csv", "gone.wav")
    )
    assert rows[f"{address}/gone.wav"]["error_type"] == "not_found"
    assert rows[f"{address}/labels.csv"]["error_type"] == "not_audio"
    for name, data in tree(tmp_path / "out").items():
        if not name.startswith("_plan/"):  # The plan has to open what it names.
            assert b"hunter2" not in data


def test_truncated_long_and_stereo_recordings_are_marked(
    bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    whole = heart_bytes("normal", 1, 3.0)
    (tmp_path / "cut.wav").write_bytes(whole[: 44 + 2 * 8_000])
    (tmp_path / "long.wav").write_bytes(heart_bytes("murmur", 2, 12.0))
    soundfile.write(tmp_path / "stereo.flac", np.zeros((8_000, 2)), 4_000)
    classify([str(tmp_path)], str(tmp_path / "out"), settings_for(bundle), console)
    rows = {row["uri"].rpartition("/")[2]: row for row in read_rows(tmp_path / "out", "features")}
    cut, long, stereo = rows["cut.wav"], rows["long.wav"], rows["stereo.flac"]
    assert (cut["truncated"], cut["n_samples"], cut["header_n_samples"]) == (True, 8_000, 12_000)
    assert long["n_frames_cut"] > 0
    assert long["offset_frames"] == 0
    assert (stereo["channels"], stereo["format"], stereo["truncated"]) == (2, "FLAC", False)


def test_only_broken_recordings(bundle: Path, tmp_path: Path, console: Console, in_process: None) -> None:
    (tmp_path / "a.wav").write_text("text")
    summary = classify([str(tmp_path / "a.wav")], str(tmp_path / "out"), settings_for(bundle), console)
    assert summary.totals == Totals(1, 1)
    assert read_rows(tmp_path / "out", "predictions") == []


def test_a_task_that_keeps_failing_ends_the_job_and_it_goes_on_later(
    library: Path,
    bundle: Path,
    tmp_path: Path,
    console: Console,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(shard: Any, job: Any) -> Any:
        if shard.index == 2:
            raise JobError("the store went away")
        return classify_shard(shard, job)

    inputs, out = [str(library)], str(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("jobs.classify.classify_shard", failing)
        with pytest.raises(JobError, match="the store went away"):
            classify(inputs, out, settings_for(bundle), console)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert len(list((tmp_path / "out" / "_commits").iterdir())) == 2
    totals = classify(inputs, out, settings_for(bundle), console).totals
    assert totals == Totals(sum(COUNTS.values()), 0)
    assert len(comparable(out, "predictions")) == totals.listed


def test_the_model_goes_to_the_tasks_as_a_place_that_all_can_open(
    library: Path,
    bundle: Path,
    tmp_path: Path,
    console: Console,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker's working directory is not the driver's."""
    seen = []

    def elsewhere(shard: Any, job: Any) -> Any:
        seen.append(job.model)
        monkeypatch.chdir(tmp_path)
        return classify_shard(shard, job)

    monkeypatch.setattr("jobs.classify.classify_shard", elsewhere)
    monkeypatch.chdir(bundle.parent)
    classify([str(library / "normal")], str(tmp_path / "out"), settings_for(Path(bundle.name)), console)
    assert seen == [f"file://{bundle}"]


def test_a_missing_model_is_refused_before_anything_is_written(library: Path, tmp_path: Path, console: Console) -> None:
    with pytest.raises(BundleError, match="no model bundle there"):
        classify([str(library)], str(tmp_path / "out"), settings_for(tmp_path / "none"), console)
    assert not (tmp_path / "out").exists()
