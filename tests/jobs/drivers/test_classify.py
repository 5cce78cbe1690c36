"""The main job, end to end and without a cluster: every recording ends as exactly one row."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
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

from heartbeat_core import storage
from heartbeat_core.audio.decode import decode
from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.errors import BundleError, JobError, OutputError
from heartbeat_core.features.statistics_columns import NAMES
from heartbeat_core.formats.parquet import from_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.results.folder import Results
from heartbeat_core.results.schema import FAILURES, features_schema, predictions_schema
from heartbeat_core.settings import Limits
from jobs.drivers.classify import ClassifySummary, classify
from jobs.drivers.predict import predict
from jobs.drivers.run import Run, count
from jobs.output.ledger import Ledger, Totals
from jobs.output.newest import read_failures
from jobs.output.status import read_status
from jobs.settings import JobSettings
from jobs.tasks import processing as tasks
from jobs.tasks.shards import classify_task
from tests.conftest import quiet_console, without_cluster
from tests.helpers import (
    COUNTS,
    LIMITS,
    WARD_ROWS,
    audio_bytes,
    comparable,
    heart_bytes,
    read_rows,
    read_table,
    statistics_of,
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


def text_of(console: Console) -> str:
    """Return what was told since it was asked last."""
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return text


def test_predictions_and_failures_are_the_listed_recordings(finished: Finished, library: Path) -> None:
    n_good = sum(COUNTS.values())
    assert len(finished.broken) >= 30
    assert finished.summary.totals == Totals(n_good + len(finished.broken), len(finished.broken))
    predicted = [row["uri"] for row in read_rows(finished.out, "predictions")]
    failed = [row["uri"] for row in read_rows(finished.out, "failures")]
    assert sorted(predicted) == sorted(f"file://{path}" for path in library.rglob("*.wav"))
    assert len(failed) == len(set(failed)) == len(finished.broken)
    mark = json.loads((finished.out / "_SUCCESS").read_text())
    assert [f"_journal/{mark.pop('journal')}"] == [one for one in tree(finished.out) if one.startswith("_journal/")]
    assert mark == {
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


def test_each_table_has_its_schema_beside_it(finished: Finished) -> None:
    assert sorted(tree(finished.out / "_schemas")) == sorted(f"{name}.json" for name in (*TABLES, "duplicates"))
    for name in TABLES:
        stored = json.loads((finished.out / "_schemas" / f"{name}.json").read_text())
        assert [one["name"] for one in stored["fields"]] == read_table(finished.out, name).column_names
        assert all(one["description"] for one in stored["fields"])


def test_by_default_the_features_hold_what_the_model_reads(
    finished: Finished, library: Path, tmp_path: Path, in_process: None, console: Console
) -> None:
    assert read_table(finished.out, "features").schema.equals(
        features_schema(["aligned", "statistics", "signal-quality", "beats"])
    )
    inputs = [str(library / "normal")]
    classify(inputs, str(tmp_path / "default"), JobSettings(), console)
    assert read_table(tmp_path / "default", "features").schema.equals(
        features_schema(["aligned", "statistics", "signal-quality", "cycle-spectrum", "beats"])
    )
    # Whoever names the sets gets those alone.
    classify(inputs, str(tmp_path / "named"), JobSettings(features=("aligned",)), console)
    assert read_table(tmp_path / "named", "features").schema.equals(features_schema(["aligned"]))


def test_features_and_predictions_have_the_same_rows(finished: Finished) -> None:
    features, predictions = read_rows(finished.out, "features"), read_rows(finished.out, "predictions")
    for column in ("recording_id", "uri", "audio_sha256"):
        assert [row[column] for row in features] == [row[column] for row in predictions]
    ids = [row["recording_id"] for row in [*features, *read_rows(finished.out, "failures")]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("predictions", predictions_schema(ORIGINAL_LABELS)),
        ("features", features_schema(["aligned", "statistics", "signal-quality", "beats"])),
        ("failures", FAILURES),
    ],
)
def test_schemas_are_equal_in_every_part(finished: Finished, name: str, schema: Any) -> None:
    table = read_table(finished.out, name)
    assert table.schema.equals(schema, check_metadata=False)
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata["heartbeat.model_id"] == finished.summary.model_id
    assert metadata["heartbeat.recipe"] == "tiny"
    assert metadata["heartbeat.schema_version"] == "7"


def test_predictions_are_probabilities_of_trained_labels(finished: Finished) -> None:
    for row in read_rows(finished.out, "predictions"):
        chances = [row[f"prob_{label}"] for label in ORIGINAL_LABELS]
        assert sum(chances) == pytest.approx(1, abs=1e-6)
        assert row["prob_artifact"] == 0
        assert row["predicted_code"] == int(np.argmax(chances))
        assert row["predicted_label"] == ORIGINAL_LABELS[row["predicted_code"]]
        assert row["confidence"] == max(chances)
        assert len(row["logits"]) == len(ORIGINAL_LABELS)
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


def test_statistics_are_columns_by_name(finished: Finished) -> None:
    names = read_table(finished.out, "features").column_names
    first = names.index(NAMES[0])
    assert tuple(names[first : first + len(NAMES)]) == NAMES
    assert names.index("amplitude") < first
    for row in read_rows(finished.out, "features"):
        waveform = decode(storage.read(row["uri"]))
        expected = statistics_of(waveform.samples, waveform.sample_rate_hz)
        found = np.array([row[name] for name in NAMES], np.float32)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # A column that an analyst asks for by its name.
    query = f"SELECT min({NAMES[0]}), max({NAMES[0]}) FROM '{finished.out}/features/*.parquet'"
    values = [row[NAMES[0]] for row in read_rows(finished.out, "features")]
    assert duckdb.sql(query).fetchall() == [(min(values), max(values))]
    assert min(values) < max(values)


def below_murmur(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return rows with their paths below the folder ``murmur``."""
    return {uri: {**row, "relative_path": row["relative_path"].removeprefix("murmur/")} for uri, row in rows.items()}


@pytest.mark.parametrize("feature_set", ["aligned", "statistics"])
def test_one_feature_set_alone(
    finished: Finished,
    library: Path,
    bundle: Path,
    tmp_path: Path,
    console: Console,
    in_process: None,
    feature_set: str,
) -> None:
    settings = JobSettings.model_validate({"model": str(bundle), "features": [feature_set]})
    classify([str(library / "murmur")], str(tmp_path / "out"), settings, console)
    assert read_table(tmp_path / "out", "features").schema.equals(features_schema([feature_set]), check_metadata=False)
    both, expected = (below_murmur(comparable(finished.out, table)) for table in ("features", "predictions"))
    for uri, row in comparable(tmp_path / "out", "features").items():
        assert row == {name: both[uri][name] for name in row}
        assert ("frequency_hz" in row, NAMES[0] in row) == (feature_set == "aligned", feature_set == "statistics")
    # Whatever is written, the predictions are the same.
    predicted = comparable(tmp_path / "out", "predictions")
    assert predicted == {uri: expected[uri] for uri in predicted}


def test_a_model_of_statistics_reads_them_though_they_are_not_written(
    ward: Path, statistics_bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    found = []
    for features in (["aligned"], ["aligned", "statistics"]):
        settings = JobSettings.model_validate({"model": str(statistics_bundle), "features": features})
        out = tmp_path / "-".join(features)
        classify([str(ward / "07.wav"), str(ward / "08.wav")], str(out), settings, console)
        found.append(comparable(out, "predictions"))
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_other_feature_sets_are_another_job(
    finished: Finished, bundle: Path, console: Console, in_process: None
) -> None:
    settings = settings_for(bundle).model_copy(update={"features": ("aligned",)})
    told = r"holds another job \(--features: statistics, signal-quality, beats there, none of these here\)"
    with pytest.raises(OutputError, match=told):
        classify(finished.inputs, str(finished.out), settings, console)


def test_what_a_prediction_is_unsure_of(
    ward: Path, statistics_bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    """From the bytes to the columns: one recording for each reason, and one that nothing speaks against."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    beat = decode((ward / "02.wav").read_bytes())
    for name, samples in {
        "clipped": np.clip(beat.samples * 20, -1, 1),
        "short": beat.samples[: beat.sample_rate_hz // 2],
        "silent": np.concatenate([np.zeros(3 * beat.samples.size, np.float32), beat.samples]),
        # Nothing of the kind was trained on.
        "hum": np.sign(np.sin(np.arange(8_000) * 1.1)) * rng.uniform(0.1, 0.12, 8_000),
    }.items():
        (tmp_path / "in" / f"{name}.wav").write_bytes(audio_bytes(samples, beat.sample_rate_hz))
    broken_off = audio_bytes(beat.samples, beat.sample_rate_hz)
    (tmp_path / "in" / "truncated.wav").write_bytes(broken_off[:-100])
    settings = JobSettings.model_validate({"model": str(statistics_bundle)})
    classify([str(tmp_path / "in"), str(ward)], str(tmp_path / "out"), settings, console)
    rows = {Path(uri).stem: row for uri, row in comparable(tmp_path / "out", "predictions").items()}
    limits = read_manifest(str(statistics_bundle)).sureness
    for row in rows.values():
        reasons = (row["unsure_reason"] or "").split(",")
        assert row["unsure"] == (row["unsure_reason"] is not None)
        assert ("low_confidence" in reasons) == (row["confidence"] < limits.min_confidence)
    for name in ("clipped", "short", "silent", "truncated"):
        assert "poor_quality" in rows[name]["unsure_reason"].split(","), name
    assert "out_of_distribution" in rows["hum"]["unsure_reason"].split(",")
    assert "poor_quality" not in rows["hum"]["unsure_reason"].split(",")
    known = [row["unsure_reason"] or "" for name, row in rows.items() if name.isdecimal()]
    assert len(known) == WARD_ROWS
    assert sum("out_of_distribution" in reason for reason in known) <= 3
    assert not any("poor_quality" in reason for reason in known)
    assert sum("low_confidence" in reason for reason in known) < WARD_ROWS / 2
    # The single-file mode says the same.
    for told in predict([str(tmp_path / "in")], str(statistics_bundle), Limits()):
        stored = rows[Path(told["uri"]).stem]
        assert (told["unsure"], told["unsure_reason"]) == (stored["unsure"], stored["unsure_reason"])


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
    assert f"{n_listed} recordings listed, 1 other file skipped" in finished.text
    assert f"classify: {n_listed}/{n_listed} recordings" in finished.text
    assert f"{len(finished.broken)} failures" in finished.text
    expected = Counter(row["error_type"] for row in read_rows(finished.out, "failures"))
    assert Counter(row["error_type"] for row in read_failures(finished.summary.out)) == expected


def test_the_same_command_again_does_nothing(
    finished: Finished, bundle: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a finished job asked for a cluster")

    monkeypatch.setattr("jobs.cluster.connect.connect", refuse)
    monkeypatch.setattr("jobs.listing.listing.Listing.__iter__", refuse)
    before = tree(finished.out)
    assert classify(finished.inputs, str(finished.out), settings_for(bundle), console) == finished.summary
    assert tree(finished.out) == before
    finished_line, update_line = text_of(console).splitlines()
    assert finished_line.startswith("finished already: ")
    assert update_line == "the inputs were not looked at: --update takes what is new or has changed in them"


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
    assert f"going on: {n_shards - 3} of {n_shards} shards committed already" in console.file.getvalue()
    assert left.items() <= tree(out).items()
    assert (out / "_SUCCESS").exists()
    for name in TABLES:
        assert comparable(out, name) == comparable(finished.out, name)
    assert summary.labels == Counter(row["predicted_label"] for row in read_rows(out, "predictions"))


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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("inputs", "INPUT"),
        ("limits", "limits.max_channels"),
        ("shards", "shards.recordings"),
        ("path_column", "--path-column"),
    ],
)
def test_another_job_in_the_folder_is_refused(
    finished: Finished, bundle: Path, console: Console, change: str, told: str
) -> None:
    inputs = finished.inputs[:1] if change == "inputs" else finished.inputs
    more: dict[str, Any] = {
        "limits": {"limits": {"max_channels": 2}},
        "shards": {"shards": {"recordings": 9}},
        "path_column": {"path_column": "uri"},
    }.get(change, {})
    before = tree(finished.out)
    with pytest.raises(OutputError, match=rf"holds another job \({told}: "):
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
    files = tree(tmp_path / "out")
    ours = {"_run.json", "_plan", "_settled", "_commits", "_journal", "_schemas", "_SUCCESS"}
    assert {name.partition("/")[0] for name in files} == {*ours, *TABLES, "duplicates.parquet"}
    files |= {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*report*") if path.is_file()}
    files |= {path.name: path.read_bytes() for path in (tmp_path / "out" / "_report").iterdir()}
    assert {"report.html", "labels.parquet"} <= files.keys()
    for name, data in files.items():
        assert b"hunter2" not in data
        if name.endswith(".parquet"):  # Compressed, its bytes do not tell.
            table = from_parquet(data)
            assert "hunter2" not in repr(table.to_pylist())
            assert b"hunter2" not in repr(table.schema.metadata).encode()
    assert "hunter2" not in text_of(console)


def test_addresses_that_differ_by_their_query_are_each_a_row(
    library: Path, bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    out, manifest = tmp_path / "out", tmp_path / "m.csv"
    with web_server(library) as (address, _):
        get = f"{address}/normal/normal_00.wav"

        def run(*queries: str, update: bool) -> ClassifySummary:
            write_csv(manifest, ("url",), [(f"{get}?{query}",) for query in queries])
            return classify([str(manifest)], str(out), settings_for(bundle), console, update=update)

        assert run("id=1&sig=a", "id=2&sig=b", update=False).totals == Totals(2, 0)
        assert run("id=2&sig=c", "id=3&sig=d", "id=1&sig=e", update=True).totals == Totals(3, 0)
    rows = read_rows(out, "predictions")
    assert [row["uri"] for row in rows] == [get] * 3
    assert len({row["recording_id"] for row in rows}) == 3


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


def test_failures_can_be_read_though_nothing_failed(
    library: Path, bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    """From the first shard on, and by each engine that reads the files of the folder."""
    inputs, out, settings = [str(library)], tmp_path / "out", settings_for(bundle)
    assert classify(inputs, str(out), settings, console).errors == {}
    assert [path.name for path in (out / "failures").iterdir()] == ["part-empty.parquet"]
    query = f"SELECT stage, error_type, count(*) AS n FROM '{out}/failures/*.parquet' GROUP BY ALL"
    assert duckdb.sql(query).fetchall() == []
    assert len(pd.read_parquet(out / "failures")) == 0
    assert Results(out).failures().schema.equals(FAILURES, check_metadata=False)
    assert read_failures(str(out)) == []
    # A later failure has a part of its own.
    shutil.copytree(library, tmp_path / "in")
    (tmp_path / "in" / "a.wav").write_text("text")
    summary = classify([str(tmp_path / "in")], str(tmp_path / "more"), settings, console)
    assert summary.errors == {"not_audio": 1}
    assert len(list((tmp_path / "more" / "failures").iterdir())) == 2
    assert [row["error_type"] for row in read_failures(str(tmp_path / "more"))] == ["not_audio"]


def test_a_driver_tells_what_succeeded_and_what_failed(
    library: Path,
    bundle: Path,
    tmp_path: Path,
    console: Console,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []

    def noting(run: Run) -> Totals:
        told.append((run.presence.done, run.presence.failed))
        return count(run)

    monkeypatch.setattr("jobs.drivers.run.count", noting)
    (tmp_path / "a.wav").write_text("text")
    inputs = [str(library), str(tmp_path / "a.wav")]
    classify(inputs, str(tmp_path / "out"), settings_for(bundle), console)
    assert told == [(sum(COUNTS.values()), 1)]


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
        if shard.index == 3:
            raise JobError("the store went away")
        return classify_task(shard, job)

    inputs, out = [str(library)], str(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("jobs.drivers.classify.classify_task", failing)
        with pytest.raises(JobError, match="the store went away"):
            classify(inputs, out, settings_for(bundle), console)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    committed = {path.name for path in (tmp_path / "out" / "_commits").iterdir()}
    assert 0 < len(committed) < 4
    assert "part-000003.json" not in committed
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
        return classify_task(shard, job)

    monkeypatch.setattr("jobs.drivers.classify.classify_task", elsewhere)
    monkeypatch.chdir(bundle.parent)
    classify([str(library / "normal")], str(tmp_path / "out"), settings_for(Path(bundle.name)), console)
    assert seen == [f"file://{bundle}"]


def test_a_missing_model_is_refused_before_anything_is_written(library: Path, tmp_path: Path, console: Console) -> None:
    with pytest.raises(BundleError, match="no model bundle there"):
        classify([str(library)], str(tmp_path / "out"), settings_for(tmp_path / "none"), console)
    assert not (tmp_path / "out").exists()


# Updates.

NEWEST_SQL = """
WITH newest AS (
    SELECT recording_id, max(generation) AS generation
    FROM (
        SELECT recording_id, generation FROM '{out}/predictions/*.parquet'
        UNION ALL
        SELECT recording_id, generation FROM '{out}/failures/*.parquet'
    )
    GROUP BY ALL
)
SELECT p.* FROM '{out}/predictions/*.parquet' p JOIN newest USING (recording_id, generation)
"""
"""The documented query for the newest row of each recording."""


def newest_in_duckdb(out: Path) -> dict[str, dict[str, Any]]:
    relation = duckdb.sql(NEWEST_SQL.format(out=out))
    rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    found = {Path(row["uri"]).name: row for row in rows}
    assert len(found) == len(rows), "a recording has two newest rows"
    return found


@dataclass
class Clinic:
    """A folder of recordings that grows, the job over it, and which recordings its tasks have read."""

    folder: Path
    out: Path
    settings: JobSettings
    console: Console
    read: list[str]

    def put(self, name: str, seed: int | None) -> None:
        """Write a recording, or what is none."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(b"no sound" if seed is None else heart_bytes("normal", seed))

    def classify(self, *, update: bool) -> ClassifySummary:
        self.read.clear()
        return classify([str(self.folder)], str(self.out), self.settings, self.console, update=update)

    def generations(self, table: str) -> list[tuple[str, int]]:
        return sorted((Path(row["uri"]).name, row["generation"]) for row in read_rows(self.out, table))

    def success(self) -> Any:
        mark = json.loads((self.out / "_SUCCESS").read_text())
        assert [one.name for one in (self.out / "_journal").iterdir()] == [mark.pop("journal")]
        return mark


@pytest.fixture
def clinic(bundle: Path, tmp_path: Path, console: Console, in_process: None, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    """Three good recordings and a broken one."""
    read: list[str] = []
    real = tasks.read_recordings

    def reading(recordings: Any, limits: Any) -> Any:
        read.extend(recording.relative_path for recording in recordings)
        return real(recordings, limits)

    monkeypatch.setattr("jobs.tasks.processing.read_recordings", reading)
    made = Clinic(tmp_path / "in", tmp_path / "out", settings_for(bundle), console, read)
    for seed, name in enumerate(("a.wav", "b.wav", "c.wav")):
        made.put(name, seed)
    made.put("broken.wav", None)
    return made


def test_an_update_takes_what_is_new_and_what_has_changed(clinic: Clinic) -> None:
    first = clinic.classify(update=False)
    assert first.totals == Totals(4, 1)
    before = tree(clinic.out)
    clinic.put("new/d.wav", 10)
    clinic.put("new/e.wav", None)
    clinic.put("b.wav", 11)
    clinic.put("broken.wav", 12)
    text_of(clinic.console)
    second = clinic.classify(update=True)
    assert clinic.read == ["b.wav", "broken.wav", "new/d.wav", "new/e.wav"]
    assert "update 1: 4 recordings are new or changed" in text_of(clinic.console)
    assert second.totals == Totals(6, 1)
    assert clinic.generations("predictions") == [
        *(("a.wav", 0), ("b.wav", 0), ("b.wav", 1), ("broken.wav", 1), ("c.wav", 0), ("d.wav", 1))
    ]
    assert clinic.generations("features") == clinic.generations("predictions")
    assert clinic.generations("failures") == [("broken.wav", 0), ("e.wav", 1)]
    # What was there stays as it is, and the new parts go on in the numbers. The table of duplicates is made anew.
    after = tree(clinic.out)
    changed = {name for name in before if after.get(name) != before[name]}
    [old], [new] = ([name for name in files if name.startswith("_journal/")] for files in (before, after))
    assert changed == {"_SUCCESS", "duplicates.parquet", old}
    assert {name for name in after.keys() - before.keys() if not name.startswith("_plan/")} == {
        new,
        "_commits/part-000001.json",
        "_settled/part-000001",
        *(f"{table}/part-000001.parquet" for table in TABLES),
    }
    assert clinic.success() == {"listed": 6, "done": 5, "failed": 1}
    # By the newest row, each recording counts once.
    assert [(Path(row["uri"]).name, row["error_type"]) for row in read_failures(str(clinic.out))] == [
        ("e.wav", "not_audio")
    ]
    assert sum(second.labels.values()) == 5
    status = read_status(str(clinic.out))
    assert (status.listed, status.done, status.failed, status.errors) == (6, 5, 1, {"not_audio": 1})
    assert (status.changed, status.retried) == (2, 0)
    newest = newest_in_duckdb(clinic.out)
    assert {name: row["generation"] for name, row in newest.items()} == {
        "a.wav": 0,
        "b.wav": 1,
        "broken.wav": 1,
        "c.wav": 0,
        "d.wav": 1,
    }
    assert newest["b.wav"]["audio_sha256"] == sha256((clinic.folder / "b.wav").read_bytes()).hexdigest()
    # The same command without the option tells the same, and does nothing.
    assert clinic.classify(update=False) == second
    assert clinic.read == []
    assert tree(clinic.out) == after


def test_an_update_of_what_failed_since_is_no_prediction_any_more(clinic: Clinic) -> None:
    clinic.classify(update=False)
    clinic.put("b.wav", None)
    clinic.put("c.wav", 20)
    assert clinic.classify(update=True).totals == Totals(4, 2)
    assert newest_in_duckdb(clinic.out).keys() == {"a.wav", "c.wav"}
    clinic.put("b.wav", 21)
    assert clinic.classify(update=True).totals == Totals(4, 1)
    newest = newest_in_duckdb(clinic.out)
    assert {name: row["generation"] for name, row in newest.items()} == {"a.wav": 0, "b.wav": 2, "c.wav": 1}
    assert sorted(path.name for path in (clinic.out / "predictions").iterdir()) == [
        f"part-00000{number}.parquet" for number in range(3)
    ]


def test_an_update_where_nothing_is_new_adds_nothing(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    first = clinic.classify(update=False)
    before = tree(clinic.out)
    text_of(clinic.console)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("an update without work asked for a cluster")

    monkeypatch.setattr("jobs.cluster.connect.connect", refuse)
    (clinic.folder / "c.wav").rename(clinic.folder / "c.txt")  # What is gone from the inputs keeps its row.
    assert clinic.classify(update=True) == first
    text = text_of(clinic.console)
    assert "3 recordings listed, 1 other file skipped" in text
    assert "nothing is new and nothing has changed" in text
    assert tree(clinic.out) == before


def test_an_update_of_a_free_folder_is_the_job_itself(clinic: Clinic) -> None:
    assert clinic.classify(update=True).totals == Totals(4, 1)
    # What was listed just now is not listed again.
    assert text_of(clinic.console).count("4 recordings listed") == 1
    assert {generation for _, generation in clinic.generations("predictions")} == {0}


def test_an_update_first_finishes_what_was_begun(clinic: Clinic) -> None:
    clinic.classify(update=False)
    for name in ("_SUCCESS", "_commits/part-000000.json", "predictions/part-000000.parquet"):
        (clinic.out / name).unlink()
    clinic.put("d.wav", 10)
    assert clinic.classify(update=True).totals == Totals(5, 1)
    assert clinic.read == ["a.wav", "b.wav", "broken.wav", "c.wav", "d.wav"]
    assert clinic.generations("predictions") == [("a.wav", 0), ("b.wav", 0), ("c.wav", 0), ("d.wav", 1)]


@pytest.mark.parametrize("update", [True, False], ids=["with-update", "without"])
@pytest.mark.parametrize("moment", ["plan", "mark", "first-shard", "second-shard", "success"])
def test_an_update_killed_in_the_middle_goes_on(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, moment: str, update: bool
) -> None:
    clinic.classify(update=False)
    for number in range(12):
        clinic.put(f"new/{number:02d}.wav", 30 + number)
    with monkeypatch.context() as patch:

        def dying(*arguments: Any, **options: Any) -> None:
            raise KeyboardInterrupt

        def dying_shard(shard: Any, job: Any) -> Any:
            if shard.index == (1 if moment == "first-shard" else 2):
                raise KeyboardInterrupt
            return classify_task(shard, job)

        match moment:
            case "plan":
                patch.setattr("jobs.output.plans.PlanFolder.settle", dying)
            case "mark":
                patch.setattr("jobs.output.ledger.Ledger.unmark_success", dying)
            case "success":
                unmark = Ledger.unmark_success

                def unmarking(self: Ledger) -> None:
                    unmark(self)
                    patch.setattr("jobs.output.ledger.Ledger.mark_success", dying)

                patch.setattr("jobs.output.ledger.Ledger.unmark_success", unmarking)
            case _:
                patch.setattr("jobs.drivers.classify.classify_task", dying_shard)
        with pytest.raises(KeyboardInterrupt):
            clinic.classify(update=True)
    begun = len(list((clinic.out / "_plan").glob("*.json"))) == 2
    assert begun == (moment != "plan")
    if moment in ("first-shard", "second-shard", "success"):
        assert not (clinic.out / "_SUCCESS").exists()
    replaced = ("_SUCCESS", "_journal/", "duplicates.parquet")
    left = {name: data for name, data in tree(clinic.out).items() if not name.startswith(replaced)}
    again = clinic.classify(update=update)
    whole = begun or update
    assert again.totals == (Totals(16, 1) if whole else Totals(4, 1))
    n_read = {"plan": 12 * update, "mark": 12, "first-shard": 12, "second-shard": 4, "success": 0}[moment]
    assert len(clinic.read) == n_read
    assert left.items() <= tree(clinic.out).items()
    listed = 16 if whole else 4
    assert clinic.success() == {"listed": listed, "done": listed - 1, "failed": 1}
    assert len(newest_in_duckdb(clinic.out)) == listed - 1
    assert len(list((clinic.out / "_plan").glob("*.json"))) == 1 + whole, "the update was planned again"
    if whole:
        assert Counter(generation for _, generation in clinic.generations("predictions")) == {0: 3, 1: 12}


def test_a_recording_that_changed_after_it_was_listed_is_taken_anew_by_an_update(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = tasks.read_recordings

    def changing(recordings: Any, limits: Any) -> Any:
        clinic.put("b.wav", 40)
        return reading(recordings, limits)

    with monkeypatch.context() as patch:
        patch.setattr("jobs.tasks.processing.read_recordings", changing)
        assert clinic.classify(update=False).totals == Totals(4, 2)
    failures = {Path(row["uri"]).name: row for row in read_rows(clinic.out, "failures")}
    assert (failures["b.wav"]["stage"], failures["b.wav"]["error_type"]) == ("read", "changed_since_listed")
    assert clinic.classify(update=True).totals == Totals(4, 1)
    assert clinic.read == ["b.wav"]
    newest = newest_in_duckdb(clinic.out)
    assert newest["b.wav"]["audio_sha256"] == sha256((clinic.folder / "b.wav").read_bytes()).hexdigest()
    assert newest["b.wav"]["generation"] == 1


def test_filters_are_part_of_the_job(clinic: Clinic, bundle: Path) -> None:
    clinic.settings = settings_for(bundle, selection={"exclude": ["b*"]})
    assert clinic.classify(update=False).totals == Totals(2, 0)
    assert "2 recordings listed, 2 left out by the filters" in text_of(clinic.console)
    clinic.settings = settings_for(bundle, selection={"exclude": ["a*"]})
    with pytest.raises(OutputError, match=r"holds another job \(--exclude: b\* there, a\* here\)"):
        clinic.classify(update=True)
