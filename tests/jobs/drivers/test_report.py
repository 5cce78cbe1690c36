"""The report of a folder: its numbers are those of the tables, and it never stands in the way of a job."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from heartbeat_core.errors import InputError
from heartbeat_core.formats.parquet import from_parquet
from heartbeat_core.results import sample
from heartbeat_core.results.folder import Results
from jobs.drivers.classify import classify
from jobs.drivers.compact import compact
from jobs.drivers.report import PAGE_NAME, read_facts, write_report
from jobs.output.places import REPORT_FOLDER
from jobs.settings import JobSettings
from tests import naive
from tests.commands import done, refused
from tests.conftest import quiet_console, without_cluster
from tests.helpers import LIMITS, heart_bytes, read_rows, write_broken, write_csv
from tests.pagecheck import Page, read_page

FEATURES = ("aligned", "statistics", "beats")


def settings_for(bundle: Path, **more: Any) -> JobSettings:
    content = {"model": str(bundle), "shards": {"recordings": 8}, "limits": LIMITS, "features": FEATURES, **more}
    return JobSettings.model_validate(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ward: Path, statistics_bundle: Path) -> Path:
    """Return the results of a ward and of broken files, by a model of statistics; not to be changed."""
    place = tmp_path_factory.mktemp("report")
    write_broken(place / "broken")
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        inputs = [str(ward), str(place / "broken")]
        classify(inputs, str(place / "out"), settings_for(statistics_bundle), quiet_console())
    return place / "out"


def page_of(out: Path) -> Page:
    return read_page((out / PAGE_NAME).read_text("utf-8"))


def numbers(out: Path, figure: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = from_parquet((out / REPORT_FOLDER / f"{figure}.parquet").read_bytes()).to_pydict()
    return found


def assert_counted(out: Path, figure: str, values: Sequence[float]) -> None:
    """Check a histogram against a plain count of values."""
    found = numbers(out, figure)
    edges = [*found["from"], found["to"][-1]]
    counts = [sum(row) for row in zip(*(found[name] for name in found if name not in ("from", "to")), strict=True)]
    assert counts == naive.counts_between(values, edges)
    assert sum(counts) == len(values)


def test_the_numbers_are_those_of_the_tables(folder: Path) -> None:
    predictions, failures = read_rows(folder, "predictions"), read_rows(folder, "failures")
    features = read_rows(folder, "features")
    labels = Counter(row["predicted_label"] for row in predictions)
    errors = Counter(row["error_type"] for row in failures)
    found = numbers(folder, "labels")
    assert dict(zip(found["label"], found["recordings"], strict=True)) == labels
    found = numbers(folder, "failures")
    assert dict(zip(found["reason"], found["recordings"], strict=True)) == errors
    assert errors
    reasons = Counter(reason for row in predictions for reason in (row["unsure_reason"] or "").split(",") if reason)
    found = numbers(folder, "unsure")
    assert dict(zip(found["reason"], found["predictions"], strict=True)) == reasons
    assert reasons
    assert_counted(folder, "confidence", [row["confidence"] for row in predictions])
    assert sum(numbers(folder, "confidence")["unsure"]) == sum(row["unsure"] for row in predictions)
    assert_counted(folder, "durations", [row["duration_s"] for row in features])
    assert_counted(folder, "offsets", [row["offset_frames"] for row in features])
    assert_counted(folder, "distances", [row["alignment_distance"] for row in features])
    confident = [row for row in features if row["heart_rate_bpm"] > 0 and row["heart_rate_confidence"] >= 0.3]
    assert_counted(folder, "heart-rates", [row["heart_rate_bpm"] for row in confident])
    assert_counted(folder, "levels", [20 * np.log10(max(row["rms_amplitude"], 1e-6)) for row in features])
    rates = Counter(f"{row['sample_rate_hz']} Hz" for row in features)
    found = numbers(folder, "sample-rates")
    assert dict(zip(found["value"], found["recordings"], strict=True)) == rates
    quality = numbers(folder, "quality")["recordings"]
    assert quality[:4] == [
        sum(row["clipped_fraction"] > 0.1 for row in features),
        sum(row["silent_fraction"] > 0.5 for row in features),
        sum(row["duration_s"] < 1.0 for row in features),
        sum(row["truncated"] for row in features),
    ]
    by_label = numbers(folder, "confidence-by-label")
    for label, median in zip(by_label["label"], by_label["p50"], strict=True):
        own = [row["confidence"] for row in predictions if row["predicted_label"] == label]
        assert median == pytest.approx(naive.percentile(own, 0.5), abs=1e-3)


def test_the_page_shows_these_numbers(folder: Path) -> None:
    page = page_of(folder)
    for path in (folder / REPORT_FOLDER).glob("*.parquet"):
        shown = page.tables[path.stem][1:]
        stored = list(zip(*numbers(folder, path.stem).values(), strict=True))
        assert len(shown) == len(stored)
        for cells, row in zip(shown, stored, strict=True):
            for cell, value in zip(cells, row, strict=True):
                assert cell == value or float(cell.replace(",", "")) == pytest.approx(value, rel=1e-5)


def test_failures_are_named(folder: Path) -> None:
    first = numbers(folder, "failures-first")
    messages = {(row["error_type"], row["relative_path"]): row["message"] for row in read_rows(folder, "failures")}
    named = list(zip(first["reason"], first["recording"], strict=True))
    assert {kind for kind, _ in named} == {kind for kind, _ in messages}
    assert max(Counter(first["reason"]).values()) <= 3
    assert [messages[one] for one in named] == first["message"]


def test_drift_is_measured_against_the_model(folder: Path) -> None:
    facts = read_facts(str(folder))
    assert facts.drift is not None
    assert facts.drift.n == len(read_rows(folder, "predictions"))
    assert sum(one.n for one in facts.shards) == facts.drift.n
    assert numbers(folder, "drift-shift")["group"][0] == "all features"
    assert "training data" in page_of(folder).text


def test_the_work_is_told(folder: Path) -> None:
    facts = read_facts(str(folder))
    assert len(facts.tasks) == len(list((folder / "_commits").iterdir()))
    assert sum(task.listed for task in facts.tasks) == facts.listed
    for task in facts.tasks:
        # A shard of broken files alone computes no features.
        assert {"read", "model", "store"} <= set(task.seconds) <= {"read", "core", "features", "model", "store"}
        assert task.started_at + task.seconds["store"] <= task.ended_at + 0.01
    found = numbers(folder, "workers")
    assert (sum(found["recordings"]), sum(found["shards"])) == (facts.listed, len(facts.tasks))


def test_a_run_that_is_not_finished_has_a_report(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    (out / "_SUCCESS").unlink()
    (out / "_commits" / "part-000001.json").unlink()
    assert done("report", out).stdout == f"{out / PAGE_NAME}\n"
    gone = len(read_rows(out, "predictions")) - sum(numbers(out, "labels")["recordings"])
    page = page_of(out)
    assert "The run is not finished" in page.text
    assert gone > 0
    # Parts of shards that are not committed do not count.
    assert sum(map(sum, (numbers(out, "confidence")[name] for name in ("sure", "unsure")))) == sum(
        numbers(out, "labels")["recordings"]
    )


def test_a_new_report_leaves_no_numbers_of_the_old_one(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    (out / REPORT_FOLDER / "gone.parquet").write_bytes(b"")
    write_report(str(out))
    assert {path.name for path in (out / REPORT_FOLDER).iterdir()} == {
        path.name for path in (folder / REPORT_FOLDER).iterdir()
    }


def test_a_large_table_is_sampled(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    monkeypatch.setattr(sample, "MOST_PARTS", 2)
    write_report(str(out))
    n, n_sampled = sum(numbers(out, "labels")["recordings"]), sum(numbers(out, "durations")["recordings"])
    assert n == len(read_rows(out, "predictions")), "labels are exact"
    assert 0 < n_sampled < n
    assert f"From a sample: {n_sampled} of {n} rows" in page_of(out).text


def test_a_report_counts_each_recording_once_after_updates_retries_and_a_compaction(
    tmp_path: Path, statistics_bundle: Path, console: Console, in_process: None
) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    recordings.mkdir()

    def put(name: str, seed: int | None) -> None:
        (recordings / name).write_bytes(b"no sound" if seed is None else heart_bytes("normal", seed))

    def run(**more: Any) -> None:
        classify([str(recordings)], str(out), settings_for(statistics_bundle), console, **more)

    def told() -> tuple[Any, ...]:
        found = read_facts(str(out))
        sampled = [one.n_rows for one in (found.predictions, found.recordings) if one is not None]
        return found.listed, found.done, found.failed, sum(found.labels.values()), *sampled

    for name, seed in (("a.wav", 1), ("b.wav", 2), ("c.wav", None), ("d.wav", None)):
        put(name, seed)
    run()
    assert told() == (4, 2, 2, 2, 2, 2)
    put("a.wav", 5)
    put("b.wav", None)
    put("e.wav", 6)
    run(update=True)
    assert told() == (5, 2, 3, 2, 2, 2)
    put("c.wav", 7)
    run(retry_failed=[])
    assert told() == (5, 3, 2, 3, 3, 3)
    assert numbers(out, "failures")["recordings"] == [2]
    compact(str(out), console)
    assert told() == (5, 3, 2, 3, 3, 3)
    write_report(str(out))
    assert sorted(numbers(out, "failures-first")["recording"]) == ["b.wav", "d.wav"]


def test_a_report_that_fails_does_not_fail_its_job(
    tmp_path: Path, statistics_bundle: Path, console: Console, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(heart_bytes("normal", 1))
    out = tmp_path / "out"
    # A bug, and no error of the project's own.
    monkeypatch.setattr("jobs.drivers.report.build_report", lambda facts: 1 / 0)
    summary = classify([str(tmp_path / "in")], str(out), settings_for(statistics_bundle), console)
    assert summary.totals.done == 1
    assert (out / "_SUCCESS").exists()
    assert not (out / PAGE_NAME).exists()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "but their report could not be written (ZeroDivisionError: division by zero)" in text
    assert f"'heartbeat report {out}' writes it" in text


def test_the_same_command_again_writes_no_report(
    folder: Path, console: Console, ward: Path, in_process: None, statistics_bundle: Path
) -> None:
    before = (folder / PAGE_NAME).stat()
    inputs = [str(ward), str(folder.parent / "broken")]
    classify(inputs, str(folder), settings_for(statistics_bundle), console)
    assert (folder / PAGE_NAME).stat().st_mtime_ns == before.st_mtime_ns


def test_kept_columns_show_the_devices(
    tmp_path: Path, statistics_bundle: Path, console: Console, in_process: None
) -> None:
    rows = []
    for number in range(6):
        (tmp_path / f"{number}.wav").write_bytes(heart_bytes("normal", number))
        rows.append((f"{number}.wav", "phone" if number < 4 else "stethoscope"))
    manifest = write_csv(tmp_path / "m.csv", ("file", "device"), rows)
    settings = settings_for(statistics_bundle, keep_columns=("device",))
    classify([str(manifest)], str(tmp_path / "out"), settings, console)
    found = numbers(tmp_path / "out", "device")
    assert dict(zip(found["value"], found["recordings"], strict=True)) == {"phone": 4, "stethoscope": 2}


def test_a_dataset_has_a_report(dataset: Path) -> None:
    page = page_of(dataset)
    rows = read_rows(dataset, "recordings")
    found = numbers(dataset, "labels")
    assert dict(zip(found["label"], found["recordings"], strict=True)) == Counter(row["label"] for row in rows)
    assert_counted(dataset, "durations", [row["duration_s"] for row in rows])
    assert "confidence" not in page.ids


def test_folders_without_a_report_are_refused(tmp_path: Path, evaluation: Path) -> None:
    assert "is not the output of a heartbeat job" in refused("report", tmp_path)
    assert "'evaluate', which writes its own report" in refused("report", evaluation)


def test_a_folder_of_an_earlier_release_has_a_report(folder: Path, tmp_path: Path) -> None:
    """Its commit records have no notes, and its model is nowhere."""
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    shutil.rmtree(out / REPORT_FOLDER)
    for path in (out / "_commits").iterdir():
        record = json.loads(path.read_text())
        del record["notes"], record["ended_at"]
        path.write_text(json.dumps(record))
    shutil.rmtree(out / "_journal")
    success = json.loads((out / "_SUCCESS").read_text())
    del success["journal"]
    (out / "_SUCCESS").write_text(json.dumps(success))
    write_report(str(out))
    page = page_of(out)
    assert "The model cannot be read any more" in page.text
    assert "hold no times" in page.text
    assert sum(numbers(out, "labels")["recordings"]) == len(read_rows(out, "predictions"))


def test_one_recording_has_a_report(ward: Path, statistics_bundle: Path, tmp_path: Path, in_process: None) -> None:
    console = quiet_console()
    [first, *_] = sorted(ward.glob("*.wav"))
    classify([str(first)], str(tmp_path / "out"), settings_for(statistics_bundle), console)
    assert "could not be written" not in console.file.getvalue()  # type: ignore[attr-defined]
    page = (tmp_path / "out" / PAGE_NAME).read_text("utf-8")
    assert "too few recordings to say whether they are like the training data" in page
    assert "drift-shift" not in page
    assert numbers(tmp_path / "out", "drift-distance")["recordings"][0] == 1


def test_a_damaged_part_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "out")
    part = tmp_path / "out" / "predictions" / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert f"{part}: not a Parquet file" in refused("report", tmp_path / "out")
    with pytest.raises(InputError, match=f"{part}: not a Parquet file"):
        Results(tmp_path / "out").predictions()
