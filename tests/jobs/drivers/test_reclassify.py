"""Another model on stored features: the predictions of ``classify``, without the audio where that is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pyarrow.dataset
import pytest
from rich.console import Console

from heartbeat_core.errors import InputError, JobError, OutputError, UsageError
from jobs.drivers.classify import classify
from jobs.drivers.compact import compact
from jobs.drivers.reclassify import ReclassifySummary, reclassify
from jobs.output.ledger import Totals
from jobs.output.status import read_status
from jobs.settings import JobSettings
from jobs.tasks.shards import once
from tests.commands import done, refused
from tests.helpers import COUNTS, LIMITS, heart_bytes, read_rows, write_csv

N_GOOD = sum(COUNTS.values())
BROKEN = "broken/text.wav"


class Again:
    """Recordings of one's own, results of a first model, and the same by another."""

    def __init__(self, folder: Path, library: Path, first: Path, second: Path, console: Console) -> None:
        self.folder, self.first, self.second, self.console = folder, first, second, console
        self.inputs, self.results, self.out = folder / "in", folder / "results", folder / "out"
        copytree(library, self.inputs)
        (self.inputs / "broken").mkdir()
        (self.inputs / BROKEN).write_text("no sound")

    def classify(self, model: Path, out: Path, **more: Any) -> None:
        update = more.pop("update", False)
        content = {"model": str(model), "shards": {"recordings": 8}, "limits": LIMITS, **more}
        classify([str(self.inputs)], str(out), JobSettings.model_validate(content), self.console, update=update)

    def reclassify(self, **more: Any) -> ReclassifySummary:
        settings = JobSettings.model_validate({"model": str(self.second), **more})
        return reclassify(str(self.results), str(self.out), settings, self.console)

    def expected(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the newest rows that ``classify`` with the second model gives."""
        self.classify(self.second, self.folder / "expected")
        return rows_of(self.folder / "expected")


def rows_of(out: Path, tables: tuple[str, ...] = ("predictions", "failures")) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the rows of each table by relative path, without what differs from run to run."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for table in tables:
        # Copied features say which run computed them, so that the metadata of the parts may differ.
        rows = pyarrow.dataset.dataset(out / table).to_table().to_pylist()
        found[table] = {row["relative_path"]: row for row in rows}
        assert len(found[table]) == len(rows)
        for row in rows:
            for name in ("run_id", "processed_at", "failed_at"):
                row.pop(name, None)
    return found


def check_same(found: dict[str, dict[str, dict[str, Any]]], expected: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Compare rows; the last digit of a network's outputs depends on how many rows it computes together."""
    assert {table: rows.keys() for table, rows in found.items()} == {
        name: rows.keys() for name, rows in expected.items()
    }
    for table, rows in expected.items():
        for path, row in rows.items():
            for name, value in row.items():
                is_rounded = name in ("confidence", "logits") or name.startswith("prob_")
                wanted = pytest.approx(value, rel=1e-5, abs=1e-6) if is_rounded else value
                assert found[table][path][name] == wanted, (path, name)


@pytest.fixture
def again(
    tmp_path: Path, library: Path, bundle: Path, statistics_bundle: Path, in_process: None, console: Console
) -> Again:
    """A first model that reads frames, and a second that reads statistics."""
    made = Again(tmp_path, library, bundle, statistics_bundle, console)
    made.classify(made.first, made.results)
    return made


def test_the_predictions_are_those_of_classify_without_the_audio(again: Again) -> None:
    expected = again.expected()
    for path in again.inputs.rglob("*.wav"):
        if "broken" not in path.parts:
            path.unlink()
    summary = again.reclassify()
    check_same(rows_of(again.out), expected)
    assert (summary.n_stored, summary.lacking) == (N_GOOD, [])
    assert summary.classified.totals == Totals(N_GOOD + 1, 1)
    assert sum(summary.classified.labels.values()) == N_GOOD
    assert summary.classified.errors == {"not_audio": 1}
    # The features are the very files.
    names = sorted(path.name for path in (again.results / "features").iterdir())
    filled = [name for name in names if (again.results / "predictions" / name).stat().st_size]
    copies = {
        (again.out / "features" / name).read_bytes() for name in names if (again.out / "features" / name).exists()
    }
    assert len(copies & {(again.results / "features" / name).read_bytes() for name in filled}) >= len(filled) - 1
    assert rows_of(again.out, ("features",)) == rows_of(again.results, ("features",))
    assert read_status(str(again.out)).finished


def test_frames_are_placed_along_the_other_reference(
    tmp_path: Path, library: Path, bundle: Path, statistics_bundle: Path, in_process: None, console: Console
) -> None:
    """The first model's reference is shorter, so that long recordings were cut: these are read."""
    again = Again(tmp_path, library, statistics_bundle, bundle, console)
    again.classify(again.first, again.results)
    cut = [row["relative_path"] for row in read_rows(again.results, "features") if row["n_frames_cut"]]
    assert 0 < len(cut) < N_GOOD
    expected = again.expected()
    for path in again.inputs.rglob("*.wav"):
        if str(path.relative_to(again.inputs)) not in (*cut, BROKEN):
            path.unlink()
    again.reclassify()
    check_same(rows_of(again.out), expected)
    # One that is gone meanwhile is a failure, and has no features any more.
    (again.inputs / cut[0]).unlink()
    rmtree(again.out)
    assert again.reclassify().classified.errors == {"not_audio": 1, "not_found": 1}
    found = rows_of(again.out, ("predictions", "features", "failures"))
    assert found["failures"].keys() == {cut[0], BROKEN}
    assert found["features"].keys() == found["predictions"].keys() == expected["predictions"].keys() - {cut[0]}


def test_what_the_features_lack_is_read(again: Again) -> None:
    rmtree(again.results)
    again.classify(again.first, again.results, features=["beats"])
    expected = again.expected()
    summary = again.reclassify()
    assert (summary.n_stored, summary.lacking) == (0, ["statistics"])
    check_same(rows_of(again.out), expected)
    row = next(iter(rows_of(again.out, ("features",))["features"].values()))
    assert {"heart_rate_bpm", "mfcc_00_mean", "offset_frames"} <= row.keys()


@pytest.mark.parametrize("compacted", [False, True])
def test_the_newest_rows_count(again: Again, compacted: bool) -> None:
    (again.inputs / BROKEN).write_bytes(heart_bytes("murmur", 50))
    (again.inputs / "normal" / "normal_00.wav").write_bytes(heart_bytes("murmur", 51))
    (again.inputs / "normal" / "normal_01.wav").write_text("broken now")
    (again.inputs / "new.wav").write_bytes(heart_bytes("murmur", 52))
    again.classify(again.first, again.results, update=True)
    if compacted:
        compact(str(again.results), again.console)
    expected = again.expected()
    summary = again.reclassify()
    assert summary.n_stored == N_GOOD + 1
    check_same(rows_of(again.out), expected)
    features = rows_of(again.out, ("features",))["features"]
    assert features.keys() == expected["predictions"].keys()
    for path, row in features.items():
        assert row["generation"] == 0
        assert row["audio_sha256"] == expected["predictions"][path]["audio_sha256"]


def test_a_recording_that_had_failed_is_read_as_it_is_now(again: Again) -> None:
    (again.inputs / BROKEN).write_bytes(heart_bytes("murmur", 50))
    summary = again.reclassify()
    assert summary.classified.totals == Totals(N_GOOD + 1, 0)
    check_same(rows_of(again.out), again.expected())
    assert len(rows_of(again.out, ("features",))["features"]) == N_GOOD + 1


def test_kept_columns_stay(again: Again) -> None:
    rmtree(again.results)
    rows = [(str(path), str(n), "x" if n % 2 else "") for n, path in enumerate(sorted(again.inputs.rglob("*.wav")))]
    manifest = write_csv(again.folder / "list.csv", ("path", "age", "word"), rows)
    content = {"model": str(again.first), "keep_columns": ["age", "word"], "limits": LIMITS}
    classify([str(manifest)], str(again.results), JobSettings.model_validate(content), again.console)
    again.reclassify()
    before, after = rows_of(again.results), rows_of(again.out)
    for table in before:
        for path, row in before[table].items():
            assert (after[table][path]["age"], after[table][path]["word"]) == (row["age"], row["word"])
    assert {"age", "word"} <= {one["name"] for one in schema_of(again.out, "predictions")["fields"]}


def schema_of(out: Path, table: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "_schemas" / f"{table}.json").read_text())
    return found


def test_an_interrupted_one_goes_on(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    import jobs.tasks.shards as tasks

    real: Callable[..., Any] = tasks.commit_shard
    calls = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(tasks, "commit_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again.reclassify()
    assert not read_status(str(again.out)).finished
    n_committed = len(list((again.out / "_commits").iterdir()))
    assert n_committed == 2
    again.reclassify()
    check_same(rows_of(again.out), again.expected())
    assert again.reclassify().classified.totals == Totals(N_GOOD + 1, 1)


def test_what_cannot_be_is_refused(again: Again, dataset: Path) -> None:
    settings = JobSettings(model=str(again.second))
    with pytest.raises(UsageError, match="the results are never changed"):
        reclassify(str(again.results), f"{again.results}/", settings, again.console)
    with pytest.raises(InputError, match="is the output of 'build-dataset': name the output of 'classify'"):
        reclassify(str(dataset), str(again.out), settings, again.console)
    again.reclassify()
    with pytest.raises(OutputError, match="--model"):
        reclassify(str(again.results), str(again.out), JobSettings(model=str(again.first)), again.console)
    (again.results / "_SUCCESS").unlink()
    with pytest.raises(InputError, match="is not finished: run its job again"):
        reclassify(str(again.results), str(again.folder / "other"), settings, again.console)
    assert not (again.folder / "other").exists()


def test_the_command_tells_what_was_read(again: Again) -> None:
    printed = done("reclassify", again.results, "--model", again.second, "-o", again.out).stdout
    assert f"{N_GOOD} recordings classified from stored features, 1 read" in printed
    assert f"{N_GOOD + 1} recordings listed = {N_GOOD} predictions + 1 failure" in printed


def test_damaged_files_are_named(again: Again, tmp_path: Path) -> None:
    copytree(again.second, tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    told = refused("reclassify", again.results, "-o", again.out, "--model", tmp_path / "model")
    assert told.endswith("weights.safetensors does not match its digest: copy the bundle again")
    assert not again.out.exists()
    part = sorted((again.results / "features").iterdir())[-1]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{part}: not a Parquet file"):
        again.reclassify()


def test_features_that_are_compacted_meanwhile_are_told(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    def compacted_first(*arguments: Any) -> Any:
        compact(str(again.results), again.console)
        return once(*arguments)

    monkeypatch.setattr("jobs.tasks.reclassify.once", compacted_first)
    told = r"part-\d{6}\.parquet: gone since the features were listed, by compact or by hand: reclassify into a new"
    with pytest.raises(JobError, match=f"^{again.results}/features/{told} folder$"):
        again.reclassify()
    again.out = again.folder / "new"
    monkeypatch.undo()
    assert again.reclassify().n_stored == N_GOOD
