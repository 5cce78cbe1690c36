"""Columns of a user's tables in ours: the same types in every part, whenever a driver died and whatever comes later."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import InputError, OutputError
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.folder import Results
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.classify import ClassifySummary, classify
from jobs.drivers.compact import compact
from jobs.listing.labels import read_labels
from jobs.settings import JobSettings
from jobs.tasks.shards import classify_task, dataset_task
from tests.commands import heartbeat
from tests.helpers import heart_bytes, read_rows, read_table, tree, write_csv

TABLES = ("predictions", "features", "failures")
HEADER = ("path", " Site ", "Age", "Recorded at", "Größe", "smoker", "Patient")
ROWS = [
    ("a.wav", "007", "61", "2024-02-29", "1,80", "true", "p1"),
    ("b.wav", "12", "", "2024-03-01T08:30:00+01:00", "2", "False", "p1"),
    ("none.wav", "AV", "9", "", "", "", ""),
    ("c.wav", "", "4", "2024-03-01 08:30", "1,5", "true", ""),
]
KEEP = ("site", "AGE", "recorded at", "größe", "smoker")
TYPES = {
    "site": "string",
    "age": "int64",
    "recorded_at": "timestamp[us, tz=UTC]",
    "grosse": "double",
    "smoker": "bool",
}
VALUES = {
    "a.wav": ("007", 61, datetime(2024, 2, 29, tzinfo=UTC), 1.8, True, "p1"),
    "b.wav": ("12", None, datetime(2024, 3, 1, 7, 30, tzinfo=UTC), 2.0, False, "p1"),
    "none.wav": ("AV", 9, None, None, None, None),
    "c.wav": (None, 4, datetime(2024, 3, 1, 8, 30, tzinfo=UTC), 1.5, True, None),
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Write three recordings, and a table of them and of one that is not there, as a German spreadsheet would."""
    for seed, name in enumerate(("a.wav", "b.wav", "c.wav")):
        (tmp_path / name).write_bytes(heart_bytes("normal", seed))
    return write_table(tmp_path / "m.csv", ROWS)


def write_table(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_bytes("".join(";".join(row) + "\r\n" for row in (HEADER, *rows)).encode("cp1252"))
    return path


def run(
    manifest: Path, bundle: Path, console: Console, *, update: bool = False, keep: tuple[str, ...] = KEEP
) -> ClassifySummary:
    content = {"model": str(bundle), "shards": {"recordings": 1}, "keep_columns": keep}
    settings = JobSettings.model_validate(content)
    return classify([str(manifest)], str(manifest.parent / "out"), settings, console, update=update)


def kept(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {row["relative_path"]: tuple(row[name] for name in (*TYPES, "patient_id")) for row in rows}


def types(out: Path, table: str) -> dict[str, str]:
    schema = read_table(out, table).schema
    assert all(schema.field(name).nullable for name in TYPES)
    return {field.name: str(field.type) for field in schema}


def test_the_tables_of_classify(manifest: Path, bundle: Path, console: Console, in_process: None) -> None:
    run(manifest, bundle, console)
    out = manifest.parent / "out"
    for table in TABLES:
        # Behind our own columns, in the order in which they were named.
        assert list(types(out, table).items())[-len(TYPES) :] == list(TYPES.items())
    for table in ("predictions", "features"):
        assert kept(read_rows(out, table)) == {name: VALUES[name] for name in ("a.wav", "b.wav", "c.wav")}
    assert kept(read_rows(out, "failures")) == {"none.wav": VALUES["none.wav"]}
    for row in read_rows(out, "predictions"):
        found = storage.find(f"file://{manifest.parent}/{row['relative_path']}")
        assert found is not None
        assert row["modified_at"] == found.modified


def test_engines_read_them_with_their_types(manifest: Path, bundle: Path, console: Console, in_process: None) -> None:
    run(manifest, bundle, console)
    out = manifest.parent / "out"
    query = (
        "SELECT sum(age), max(grosse), count(*) FILTER (smoker), max(recorded_at) FROM "
        f"'{out}/predictions/*.parquet' WHERE patient_id = 'p1' AND year(recorded_at) = 2024"
    )
    assert duckdb.sql(query).fetchall() == [(61, 2.0, 1, datetime(2024, 3, 1, 7, 30, tzinfo=UTC))]
    frame = pd.read_parquet(out / "predictions").set_index("relative_path")
    assert frame["grosse"].mean() == pytest.approx((1.8 + 2 + 1.5) / 3)
    assert frame["recorded_at"].max() == pd.Timestamp("2024-03-01 08:30", tz="UTC")
    assert frame.loc["a.wav", "site"] == "007"
    assert Results(out).predictions(["age", "site"]).to_pydict() == {"age": [61, None, 4], "site": ["007", "12", None]}


def test_files_of_a_folder_have_their_time_and_no_kept_values(
    manifest: Path, bundle: Path, console: Console, in_process: None
) -> None:
    out = manifest.parent / "out"
    settings = JobSettings.model_validate({"model": str(bundle), "keep_columns": ["site"]})
    (manifest.parent / "sub").mkdir()
    (manifest.parent / "sub" / "d.wav").write_bytes(heart_bytes("normal", 9))
    classify([str(manifest.parent / "sub"), str(manifest)], str(out), settings, console)
    rows = {row["relative_path"]: row for row in read_rows(out, "features")}
    found = storage.find(f"file://{manifest.parent}/sub/d.wav")
    assert found is not None
    assert rows["d.wav"]["modified_at"] == found.modified
    assert [rows["d.wav"][name] for name in ("site", "patient_id")] == [None, None]
    assert rows["a.wav"]["site"] == "007"


def test_a_killed_driver_is_resumed_with_the_types_that_were_settled(
    manifest: Path, bundle: Path, console: Console, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = manifest.parent / "out"
    with monkeypatch.context() as patch:

        def dying(shard: Any, job: Any) -> Any:
            if shard.index == 2:
                raise KeyboardInterrupt
            return classify_task(shard, job)

        patch.setattr("jobs.drivers.classify.classify_task", dying)
        with pytest.raises(KeyboardInterrupt):
            run(manifest, bundle, console)
    before = tree(out)
    # What the table says now does not matter: what was listed counts.
    write_table(manifest, [(name, "x", "old", "soon", "x", "x", "x") for name, *_ in ROWS])
    assert run(manifest, bundle, console).totals.listed == 4
    assert before.items() <= tree(out).items()
    assert kept(read_rows(out, "predictions")) == {name: VALUES[name] for name in ("a.wav", "b.wav", "c.wav")}
    assert {name: types(out, "predictions")[name] for name in TYPES} == TYPES


def test_an_update_keeps_the_types_or_is_refused(
    manifest: Path, bundle: Path, console: Console, in_process: None
) -> None:
    out = manifest.parent / "out"
    run(manifest, bundle, console)
    before = tree(out)
    new = manifest.parent / "d.wav"
    new.write_bytes(heart_bytes("normal", 7))
    write_table(manifest, [*ROWS, ("d.wav", "13", "7,5", "", "", "", "")])
    with pytest.raises(InputError) as caught:
        run(manifest, bundle, console, update=True)
    assert str(caught.value) == (
        f"{new}: the column 'AGE' has '7.5', which is not int64, the type of this column in the output: correct the "
        "value, leave it empty, or name another output folder"
    )
    assert tree(out) == before
    write_table(manifest, [*ROWS, ("d.wav", "13", "7", "", "1", "", "p2")])
    run(manifest, bundle, console, update=True)
    assert kept(read_rows(out, "predictions"))["d.wav"] == ("13", 7, None, 1.0, None, "p2")
    assert {name: types(out, "predictions")[name] for name in TYPES} == TYPES
    rows = kept(read_rows(out, "features"))
    compact(str(out), console)
    assert kept(read_rows(out, "features")) == rows
    assert {name: types(out, "failures")[name] for name in TYPES} == TYPES


def test_other_kept_columns_are_another_job(manifest: Path, bundle: Path, console: Console, in_process: None) -> None:
    run(manifest, bundle, console)
    with pytest.raises(OutputError, match=r"holds another job \(--keep-columns: "):
        run(manifest, bundle, console, keep=("site",))


@pytest.mark.parametrize("keep", ["URI", "Generation", "n frames", "frequency_hz", "Patient ID"])
def test_a_name_of_our_own_is_refused(manifest: Path, bundle: Path, console: Console, keep: str) -> None:
    told = rf"^--keep-columns: '{keep}' would be the column .*: rename it in your table$"
    with pytest.raises(InputError, match=told):
        run(manifest, bundle, console, keep=(keep,))
    assert not (manifest.parent / "out").exists()


def test_a_name_that_no_manifest_has_is_refused(manifest: Path, bundle: Path, console: Console) -> None:
    with pytest.raises(InputError, match=r"has a column 'sex'; the columns are: path, Site, Age, Recorded at, Größe,"):
        run(manifest, bundle, console, keep=("sex",))
    assert tree(manifest.parent / "out") == {}


@pytest.fixture
def labels(manifest: Path) -> Path:
    header = ("path", "label", "Site", "note", "patient")
    return write_csv(
        manifest.parent / "labels.csv",
        header,
        [("a.wav", "normal", "MV", "x", ""), ("b.wav", "murmur", "", "1", "p9")],
    )


def test_the_rows_of_a_dataset(
    manifest: Path,
    labels: Path,
    recipe: Recipe,
    console: Console,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = manifest.parent / "dataset"
    keep = ("site", "age", "note")
    settings = JobSettings.model_validate({"keep_columns": keep, "shards": {"recordings": 1}})
    options = DatasetOptions(recipe, labels=read_labels(str(labels), keep_columns=keep))
    arguments = [str(manifest)], str(out), options, settings, console
    with monkeypatch.context() as patch:

        def dying(shard: Any, job: Any) -> Any:
            if shard.index == 1:
                raise KeyboardInterrupt
            return dataset_task(shard, job)

        patch.setattr("jobs.drivers.build_dataset.dataset_task", dying)
        with pytest.raises(KeyboardInterrupt):
            build_dataset(*arguments)
    build_dataset(*arguments)
    table = read_table(out, "recordings")
    assert table.column_names[-5:] == ["relative_path", "modified_at", *keep]
    columns = ("relative_path", "site", "age", "note", "patient_id", "label")
    assert [tuple(row[name] for name in columns) for row in table.to_pylist()] == [
        ("a.wav", "MV", 61, "x", "p1", "normal"),
        ("b.wav", "12", None, "1", "p9", "murmur"),
        ("c.wav", None, 4, None, None, None),
    ]
    assert read_table(out, "failures").schema.names[-3:] == list(keep)
    settings = JobSettings.model_validate({"keep_columns": ["label"]})
    with pytest.raises(InputError, match="--keep-columns: 'label' would be the column 'label'"):
        build_dataset([str(manifest)], str(out), options, settings, console)


def test_the_commands(manifest: Path, labels: Path, bundle: Path, in_process: None) -> None:
    more = ("--keep-columns", "site, age", "--patient-column", "smoker")
    found = heartbeat("classify", manifest, "-o", manifest.parent / "out", "--model", bundle, *more)
    assert found.exit_code == 0, found.output
    rows = read_rows(manifest.parent / "out", "predictions")
    assert [(row["site"], row["age"], row["patient_id"]) for row in rows] == [
        *(("007", 61, "true"), ("12", None, "False"), (None, 4, "true"))
    ]
    more = ("--recipe", "seed-mini", "--labels", labels, "--keep-columns", "note,age", "--patient-column", "patient")
    built = heartbeat("build-dataset", manifest, "-o", manifest.parent / "dataset", *more)
    assert built.exit_code == 0, built.output
    rows = read_rows(manifest.parent / "dataset", "recordings")
    assert [(row["note"], row["age"], row["patient_id"]) for row in rows] == [
        *(("x", 61, "p1"), ("1", None, "p9"), (None, 4, None))
    ]


def test_the_patients_of_a_label_file_are_found_by_the_settings_file(tmp_path: Path, in_process: None) -> None:
    (tmp_path / "recordings").mkdir()
    for name in "ab":
        (tmp_path / f"recordings/{name}.wav").write_bytes(heart_bytes("normal", ord(name)))
    (tmp_path / "labels.csv").write_text("path,label,child\na.wav,normal,p1\nb.wav,murmur,p1\n")
    (tmp_path / "job.yaml").write_text("patient_column: child")
    more = ("--recipe", "seed-mini", "--labels", tmp_path / "labels.csv", "--config", tmp_path / "job.yaml")
    built = heartbeat("build-dataset", tmp_path / "recordings", "-o", tmp_path / "dataset", *more)
    assert built.exit_code == 0, built.output
    assert [row["patient_id"] for row in read_rows(tmp_path / "dataset", "recordings")] == ["p1", "p1"]


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        ("site,,age", "'' has no letter of English and no digit"),
        ("site,Site", "would both be the column 'site'"),
        ("prob_x", "'prob_x' would be the column 'prob_x'"),
        ("uri", "'uri' would be the column 'uri'"),
        ("sex", "no manifest or label file has a column 'sex'"),
    ],
)
def test_the_commands_refuse_in_one_line(manifest: Path, bundle: Path, keep: str, told: str) -> None:
    found = heartbeat("classify", manifest, "-o", manifest.parent / "out", "--model", bundle, "--keep-columns", keep)
    assert found.exit_code == 2
    [line] = found.stderr.splitlines()
    assert told in line
    assert "--keep-columns" in line


def test_a_plan_counts_them(manifest: Path, bundle: Path, tmp_path: Path) -> None:
    sizes = []
    for keep in ([], list(KEEP)):
        (tmp_path / "job.yaml").write_text(f"{{model: '{bundle}', keep_columns: {keep}}}")
        found = heartbeat("plan", manifest, "--json", "--config", tmp_path / "job.yaml")
        assert found.exit_code == 0, found.output
        sizes.append(json.loads(found.stdout)["output_bytes"]["predictions"])
    assert sizes[0] < sizes[1]
    planned = heartbeat("plan", manifest.parent, "--recipe", "seed-mini", "--config", tmp_path / "job.yaml")
    assert planned.exit_code == 0, planned.output
