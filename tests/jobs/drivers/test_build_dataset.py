"""The aligned dataset, end to end and without a cluster."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import safetensors.numpy
from rich.console import Console
from sklearn.preprocessing import StandardScaler

from heartbeat_core.audio.decode import decode
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.errors import DatasetError, InputError, JobError, OutputError
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.schema import RECORDINGS
from jobs.drivers.build_dataset import DatasetOptions, DatasetSummary, build_dataset
from jobs.listing.labels import read_labels
from jobs.listing.shards import Shard
from jobs.output.ledger import Totals
from jobs.settings import JobSettings
from jobs.tasks.shards import dataset_task
from tests.helpers import (
    COUNTS,
    LIMITS,
    comparable,
    heart_bytes,
    read_rows,
    read_table,
    tree,
    write_broken,
    write_csv,
)

N_ROWS = sum(COUNTS.values())
N_SHARDS = 4


def settings_of(**more: Any) -> JobSettings:
    return JobSettings.model_validate({"shards": {"recordings": 8}, **more})


def options_of(recipe: Recipe, library: Path, **more: Any) -> DatasetOptions:
    return DatasetOptions(recipe, labels=read_labels(str(library / "labels.csv")), **more)


def test_rows_labels_and_facts(dataset: Path, library: Path, recipe: Recipe) -> None:
    table = read_table(dataset, "recordings")
    assert table.schema.equals(RECORDINGS, check_metadata=False)
    assert table.schema.metadata[b"heartbeat.layout"] == b"compact"
    rows = table.to_pylist()
    assert [row["uri"] for row in rows] == sorted(f"file://{path}" for path in library.rglob("*.wav"))
    with (library / "labels.csv").open(newline="") as file:
        labels = {f"file://{library}/{row['path']}": row for row in csv.DictReader(file)}
    for row in rows:
        assert row["label"] == labels[row["uri"]]["label"] == ORIGINAL_LABELS[row["label_code"]]
        for column in ("patient_id", "device"):
            assert row[column] == (labels[row["uri"]][column] or None)
    assert Dataset(str(dataset)).rows().devices == [row["device"] or f"{row['sample_rate_hz']} Hz" for row in rows]
    facts = Dataset(str(dataset)).facts
    assert facts.recipe == recipe
    assert (facts.n_rows, facts.n_failures, facts.layout) == (N_ROWS, 0, "compact")
    assert facts.rows_by_label == COUNTS
    assert len(list((dataset / "recordings").iterdir())) == 4
    assert not list(dataset.glob("_scalers/*"))


def test_the_reference_is_the_longest_and_lies_on_itself(dataset: Path, library: Path, recipe: Recipe) -> None:
    lengths, frames = {}, {}
    for path in sorted(library.rglob("*.wav")):
        waveform = decode(path.read_bytes())
        uri = f"file://{path}"
        frames[uri] = compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)
        lengths[uri] = len(frames[uri])
    first_longest = max(lengths, key=lengths.__getitem__)
    opened = Dataset(str(dataset))
    assert len(opened.reference) == opened.facts.length_frames == lengths[first_longest]
    np.testing.assert_array_equal(opened.reference.frames, frames[first_longest])
    rows = comparable(dataset, "recordings")
    assert rows[first_longest]["offset_frames"] == 0
    assert rows[first_longest]["alignment_distance"] == 0
    assert rows[first_longest]["audio_sha256"] == opened.facts.reference_audio_sha256


def test_offsets_and_distances_are_those_of_the_plain_loop(dataset: Path) -> None:
    opened = Dataset(str(dataset))
    longest = opened.reference.frames.astype(np.float64)
    distances = {row["recording_id"]: row["alignment_distance"] for row in read_rows(dataset, "recordings")}
    rows = opened.rows()
    for recording_id, frames, offset in zip(rows.recording_id, rows.frames, rows.offsets, strict=True):
        query = frames.astype(np.float64)
        profile = [np.linalg.norm(query - longest[i : i + len(query)]) for i in range(len(longest) - len(query) + 1)]
        assert offset == int(np.argmin(profile))
        assert distances[recording_id] == pytest.approx(min(profile), rel=1e-9)


def test_the_scaler_is_that_of_all_padded_rows_at_once(dataset: Path) -> None:
    opened = Dataset(str(dataset))
    padded = opened.rows().padded(opened.facts.length_frames)
    expected = StandardScaler().fit(padded.reshape(len(padded), -1).astype(np.float64))
    np.testing.assert_allclose(opened.scaler.mean.ravel(), expected.mean_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(opened.scaler.scale.ravel(), expected.scale_, rtol=1e-9)


@pytest.fixture
def padded(
    tmp_path: Path, library: Path, recipe: Recipe, console: Console, in_process: None
) -> tuple[Path, DatasetSummary]:
    summary = build_dataset(
        [str(library)],
        str(tmp_path / "padded"),
        options_of(recipe, library, layout="padded"),
        settings_of(),
        console,
    )
    return tmp_path / "padded", summary


def test_padded_is_compact_expanded(dataset: Path, padded: tuple[Path, DatasetSummary]) -> None:
    out, summary = padded
    compact_set, padded_set = Dataset(str(dataset)), Dataset(str(out))
    assert summary.facts == padded_set.facts
    assert padded_set.facts.layout == "padded"
    length = compact_set.facts.length_frames
    expanded = compact_set.rows().padded(length)
    stored = read_rows(out, "recordings")
    written = np.array([[row["frequency_hz"], row["amplitude"]] for row in stored], np.float32).transpose(0, 2, 1)
    assert written.shape == (N_ROWS, length, 2)
    np.testing.assert_array_equal(written, expanded)
    # And read back it is the same dataset.
    np.testing.assert_array_equal(padded_set.rows().padded(length), expanded)
    for one, other in zip(compact_set.rows().frames, padded_set.rows().frames, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (out / "_scaler.safetensors").read_bytes() == (dataset / "_scaler.safetensors").read_bytes()
    compact_rows = comparable(dataset, "recordings")
    for row in stored:
        row.pop("frequency_hz"), row.pop("amplitude")
        assert row.items() <= compact_rows[row["uri"]].items()


def test_duckdb_counts_the_labels(dataset: Path) -> None:
    query = f"SELECT label, count(*) FROM '{dataset}/recordings/*.parquet' GROUP BY label"
    assert dict(duckdb.sql(query).fetchall()) == COUNTS


def test_the_same_command_again_does_nothing(
    dataset: Path, library: Path, recipe: Recipe, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a finished job asked for a cluster")

    monkeypatch.setattr("jobs.cluster.connect.connect", refuse)
    before = tree(dataset)
    summary = build_dataset([str(library)], str(dataset), options_of(recipe, library), settings_of(), console)
    assert summary.totals == Totals(N_ROWS, 0)
    assert summary.facts == Dataset(str(dataset)).facts
    assert tree(dataset) == before


def kill_at(shard_index: int) -> Any:
    """Return a task that raises where a driver would be killed, once some shards are done."""

    def task(shard: Shard, job: Any) -> Any:
        if shard.index == shard_index:
            raise KeyboardInterrupt
        return dataset_task(shard, job)

    return task


@pytest.mark.parametrize("layout", ["compact", "padded"])
def test_a_build_goes_on_where_it_stopped(
    dataset: Path,
    library: Path,
    recipe: Recipe,
    console: Console,
    tmp_path: Path,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
    layout: Any,
) -> None:
    out = tmp_path / "out"
    arguments = [str(library)], str(out), options_of(recipe, library, layout=layout), settings_of(), console
    with monkeypatch.context() as patch:
        patch.setattr("jobs.drivers.build_dataset.dataset_task", kill_at(3))
        with pytest.raises(KeyboardInterrupt):
            build_dataset(*arguments)
    with pytest.raises(DatasetError, match=r"not a finished dataset .* is not there"):
        Dataset(str(out))
    left = {name: data for name, data in tree(out).items() if not name.startswith("_scalers/")}
    assert 0 < len([name for name in left if name.startswith("_commits/")]) < N_SHARDS
    with monkeypatch.context() as patch:

        def no_scan(*arguments: Any) -> None:
            raise AssertionError("the reference was settled already")

        patch.setattr("jobs.drivers.build_dataset.claim_task", no_scan)
        summary = build_dataset(*arguments)
    assert summary.totals == Totals(N_ROWS, 0)
    assert left.items() <= tree(out).items()
    for name in ("_scaler.safetensors", "_reference.safetensors"):
        assert (out / name).read_bytes() == (dataset / name).read_bytes()
    rows, expected = comparable(out, "recordings"), comparable(dataset, "recordings")
    if layout == "compact":
        assert rows == expected
    assert [row["offset_frames"] for row in rows.values()] == [row["offset_frames"] for row in expected.values()]


def test_a_build_goes_on_after_commits_and_the_success_mark_were_lost(
    library: Path, recipe: Recipe, console: Console, tmp_path: Path, in_process: None
) -> None:
    out = tmp_path / "out"
    arguments = [str(library)], str(out), options_of(recipe, library), settings_of(), console
    build_dataset(*arguments)
    before = tree(out)
    for name in ("_SUCCESS", "_commits/part-000001.json", "_commits/part-000003.json"):
        (out / name).unlink()
    (out / "recordings/part-000003.parquet").unlink()
    build_dataset(*arguments)
    # Rows of a part come in any order, and these tell when and where the work was done.
    told = ("_commits/", "_journal/", "_history/", "_SUCCESS", "recordings/part-000003.parquet")
    after = tree(out)
    same = {name for name in before if not name.startswith(told)}
    assert {name for name in after if not name.startswith(("_journal/", "_history/"))} == {
        name for name in before if not name.startswith(("_journal/", "_history/"))
    }
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_broken_recordings_are_failures(
    library: Path, recipe: Recipe, console: Console, tmp_path: Path, in_process: None
) -> None:
    expected = write_broken(tmp_path / "broken")
    (tmp_path / "broken" / "claims.wav").write_bytes(heart_bytes("normal", 1, 20.0)[: 44 + 2 * 6_000])
    summary = build_dataset(
        [str(library), str(tmp_path / "broken")],
        str(tmp_path / "out"),
        options_of(recipe, library),
        settings_of(limits=LIMITS),
        console,
    )
    n_listed = N_ROWS + len(expected) + 1
    assert summary.totals == Totals(n_listed, len(expected))
    failures = {
        row["uri"].rpartition("/")[2]: (row["stage"], row["error_type"])
        for row in read_rows(tmp_path / "out", "failures")
    }
    assert failures == expected
    # The file that claims twenty seconds and holds 1.5 is a row, and not the reference.
    assert len(read_rows(tmp_path / "out", "recordings")) == N_ROWS + 1
    assert summary.facts.reference_audio_sha256 == Dataset(str(tmp_path / "out")).facts.reference_audio_sha256
    assert summary.facts.length_frames < 200
    assert summary.facts.n_failures == len(expected)


def test_what_finds_no_other_half_is_counted_and_listed(
    library: Path, recipe: Recipe, console: Console, tmp_path: Path, in_process: None
) -> None:
    rows = [
        ("normal_00.wav", "normal"),  # by its name
        ("murmur/murmur_01.wav", "MURMUR"),
        ("normal/normal_02.wav", ""),
        ("gone.wav", "artifact"),
        ("twin.wav", "normal"),
    ]
    write_csv(tmp_path / "labels.csv", ("filename", "label"), rows)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin.wav").write_bytes(heart_bytes("normal", ord(folder)))
    summary = build_dataset(
        [str(library / "normal"), str(library), str(tmp_path)],
        str(tmp_path / "out"),
        DatasetOptions(recipe, labels=read_labels(str(tmp_path / "labels.csv"))),
        settings_of(),
        console,
    )
    # The library's rest and both twins; one of the labels is empty.
    assert summary.unmatched == {
        "label without a recording": 1,
        "label whose file name is not unique": 1,
        "recording without a label": N_ROWS + 2 - 2,
    }
    assert summary.facts.rows_by_label == {"normal": 1, "murmur": 1}
    with (tmp_path / "out" / "_unmatched_labels.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert Counter(row["what"] for row in listed) == summary.unmatched
    assert [row["path"] for row in listed[:2]] == ["gone.wav", "twin.wav"]
    unlabelled = [row for row in read_rows(tmp_path / "out", "recordings") if row["label"] is None]
    assert len(unlabelled) == N_ROWS
    assert {row["label_code"] for row in unlabelled} == {None}


def test_labels_from_the_folders(
    library: Path, recipe: Recipe, console: Console, tmp_path: Path, in_process: None
) -> None:
    options = DatasetOptions(recipe, label_from_folder=True)
    summary = build_dataset([str(library)], str(tmp_path / "out"), options, settings_of(), console)
    assert summary.facts.rows_by_label == COUNTS
    assert {row[name] for row in read_rows(tmp_path / "out", "recordings") for name in ("patient_id", "device")} == {
        None
    }
    (tmp_path / "else where").mkdir()
    (tmp_path / "else where" / "a.wav").write_bytes(b"")
    with pytest.raises(InputError, match="'else where' cannot be a label"):
        build_dataset([str(tmp_path / "else where")], str(tmp_path / "new"), options, settings_of(), console)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layout": "padded"}, "--layout: compact there, padded here"),
        ({"labels": None}, "--labels: "),
        ({"recipe": {"frames": {"delta_time_s": 0.05}}}, "--recipe frames.delta_time_s: 0.1 there, 0.05 here"),
        ({"recipe": {"alignment": {"pad_mode": "back"}}}, "--recipe alignment.pad_mode: both there, back here"),
    ],
)
def test_another_build_in_the_folder_is_refused(
    dataset: Path, library: Path, recipe: Recipe, console: Console, change: dict[str, Any], told: str
) -> None:
    other = Recipe.model_validate({**recipe.model_dump(), **change.get("recipe", {})})
    options = options_of(other, library, layout=change.get("layout", "compact"))
    if "labels" in change:
        options = DatasetOptions(other)
    before = tree(dataset)
    with pytest.raises(OutputError) as caught:
        build_dataset([str(library)], str(dataset), options, settings_of(), console)
    assert f"holds another job ({told}" in str(caught.value)
    assert tree(dataset) == before


def test_nothing_that_can_be_decoded_is_a_failed_job(
    recipe: Recipe, console: Console, tmp_path: Path, in_process: None
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_text("text")
    with pytest.raises(JobError, match="none of the recordings can be decoded"):
        build_dataset([str(tmp_path / "in")], str(tmp_path / "out"), DatasetOptions(recipe), settings_of(), console)
    assert not (tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.parametrize("pad_mode", ["front", "back"])
def test_the_other_pad_modes(
    library: Path, recipe: Recipe, console: Console, tmp_path: Path, in_process: None, pad_mode: str
) -> None:
    other = Recipe.model_validate({**recipe.model_dump(), "alignment": {"pad_mode": pad_mode}})
    summary = build_dataset(
        [str(library / "normal")], str(tmp_path / "out"), DatasetOptions(other), settings_of(), console
    )
    for row in read_rows(tmp_path / "out", "recordings"):
        rest = summary.facts.length_frames - row["n_frames"]
        assert row["offset_frames"] == (rest if pad_mode == "front" else 0)


def test_a_reader_goes_part_by_part(dataset: Path) -> None:
    opened = Dataset(str(dataset))
    parts = list(opened.iter_parts())
    assert [len(part) for part in parts] == [8, 8, 8, N_ROWS - 24]
    together = opened.rows()
    assert [one for part in parts for one in part.recording_id] == together.recording_id
    assert together.groups[0].startswith("patient:")


def test_progress_and_reference_are_told(
    library: Path, recipe: Recipe, console: Console, tmp_path: Path, in_process: None
) -> None:
    build_dataset([str(library)], str(tmp_path / "out"), options_of(recipe, library), settings_of(), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    facts = json.loads((tmp_path / "out" / "_dataset.json").read_text())
    assert f"{N_ROWS} recordings listed, 1 other file skipped" in text
    assert f"reference: {facts['length_frames']} frames, {library}/" in text
    assert f"build-dataset: {N_ROWS}/{N_ROWS} recordings" in text


def test_the_scaler_and_the_reference_are_plain_safetensors(dataset: Path) -> None:
    scaler = safetensors.numpy.load((dataset / "_scaler.safetensors").read_bytes())
    reference = safetensors.numpy.load((dataset / "_reference.safetensors").read_bytes())
    length = Dataset(str(dataset)).facts.length_frames
    assert {name: array.shape for name, array in scaler.items()} == {
        "scaler.mean": (length, 2),
        "scaler.scale": (length, 2),
    }
    assert {name: array.shape for name, array in reference.items()} == {"reference.frames": (length, 2)}


def test_a_scaler_that_another_driver_stores_meanwhile_is_taken(
    library: Path,
    recipe: Recipe,
    dataset: Path,
    console: Console,
    tmp_path: Path,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That driver has finished, and taken away what the scaler is made of."""
    out = tmp_path / "out"

    def too_late(*arguments: Any) -> None:
        (out / "_scaler.safetensors").write_bytes((dataset / "_scaler.safetensors").read_bytes())
        raise FileNotFoundError("taken away")

    monkeypatch.setattr("jobs.drivers.build_dataset.merge", too_late)
    build_dataset([str(library)], str(out), options_of(recipe, library), settings_of(), console)
    assert (out / "_scaler.safetensors").read_bytes() == (dataset / "_scaler.safetensors").read_bytes()
