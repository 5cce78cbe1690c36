"""The ten questions of jobs/README.md, asked of a folder that was updated, and answered by plain loops."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest

from jobs.drivers.classify import classify
from tests.commands import done
from tests.conftest import quiet_console, without_cluster
from tests.helpers import heart_bytes, read_rows, write_csv
from tests.jobs.drivers.test_classify import settings_for

ROOT = Path(__file__).parents[2]
_FENCED = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QUESTION = re.compile(r"^-- (\d+)\. (.*)$", re.MULTILINE)


def questions() -> dict[int, str]:
    """Return the SQL of each question by its number."""
    [text] = [text for text in _FENCED.findall((ROOT / "jobs" / "README.md").read_text("utf-8")) if "-- 1. " in text]
    pieces = _QUESTION.split(text)[1:]
    return {int(number): sql for number, sql in zip(pieces[::3], pieces[2::3], strict=True)}


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """Results in which one recording is there twice, one is broken and one was changed since."""
    folder = tmp_path_factory.mktemp("questions")
    wards = {"a/1.wav": 1, "a/2.wav": 2, "b/1.wav": 3, "b/2.wav": 3, "b/3.wav": 4, "c.wav": 5}
    for number, (name, seed) in enumerate(wards.items()):
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        label = ("normal", "murmur", "extrastole")[number % 3]
        (folder / "in" / name).write_bytes(heart_bytes("normal" if seed == 3 else label, seed, 1.0 + 0.2 * seed))
    (folder / "in" / "c.wav").write_bytes((folder / "in" / "c.wav").read_bytes()[:4_000])
    (folder / "in" / "b" / "broken.wav").write_bytes(b"no sound")
    # Of a folder, the versions are known, and of a manifest, the patients.
    patients = [(name, name[:1]) for name in (*wards, "b/broken.wav") if not name.startswith("a")]
    manifest = write_csv(folder / "in" / "list.csv", ("path", "patient_id"), patients)
    inputs, results = [str(folder / "in" / "a"), str(manifest)], folder / "results"
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        settings = settings_for(bundle)
        classify(inputs, str(results), settings, quiet_console())
        for seed in range(20, 40):  # Until the model calls it something else.
            (folder / "in" / "a" / "1.wav").write_bytes(heart_bytes("murmur", seed, 2.0))
            classify(inputs, str(results), settings, quiet_console(), update=True)
            if len({row["predicted_label"] for row in read_rows(results, "predictions") if "a/1" in row["uri"]}) > 1:
                break
    return results


def ask(results: Path, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done("sql", results, "--format", "json", "-c", questions()[number]).stdout)
    return found


def newest(results: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the newest predictions and the newest failures."""
    rows: dict[str, tuple[str, dict[str, Any]]] = {}
    for table in ("predictions", "failures"):
        for row in read_rows(results, table):
            if row["recording_id"] not in rows or rows[row["recording_id"]][1]["generation"] < row["generation"]:
                rows[row["recording_id"]] = (table, row)
    return tuple([row for where, row in rows.values() if where == table] for table in ("predictions", "failures"))  # type: ignore[return-value]


def features_of(results: Path) -> list[dict[str, Any]]:
    predictions, _ = newest(results)
    wanted = {(row["recording_id"], row["generation"]) for row in predictions}
    return [row for row in read_rows(results, "features") if (row["recording_id"], row["generation"]) in wanted]


def test_there_are_ten() -> None:
    assert list(questions()) == list(range(1, 11))


def test_1_labels(updated: Path) -> None:
    predictions, _ = newest(updated)
    confidences = defaultdict(list)
    for row in predictions:
        confidences[row["predicted_label"]].append(row["confidence"])
    found = ask(updated, 1)
    assert {row["predicted_label"]: row["n"] for row in found} == {
        label: len(all_) for label, all_ in confidences.items()
    }
    for row in found:
        assert row["confidence"] == pytest.approx(mean(confidences[row["predicted_label"]]))


def test_2_and_3_the_unsure(updated: Path) -> None:
    unsure = sorted((row for row in newest(updated)[0] if row["unsure"]), key=lambda row: row["confidence"])
    assert unsure
    assert [row["confidence"] for row in ask(updated, 2)] == [row["confidence"] for row in unsure][:20]
    reasons = Counter(reason for row in unsure for reason in row["unsure_reason"].split(","))
    assert {row["reason"]: row["n"] for row in ask(updated, 3)} == reasons


def test_4_and_5_failures(updated: Path) -> None:
    assert ask(updated, 4) == [{"stage": "decode", "error_type": "not_audio", "n": 1, "example": "b/broken.wav"}]
    found = {row["folder"]: (row["recordings"], row["failed"]) for row in ask(updated, 5)}
    assert found == {"": (3, 0.0), "b": (4, 0.25)}


def test_6_poor_recordings(updated: Path) -> None:
    poor = [
        row["relative_path"]
        for row in features_of(updated)
        if row["truncated"] or row["clipped_fraction"] > 0.1 or row["silent_fraction"] > 0.5
    ]
    assert "c.wav" in poor
    assert [row["relative_path"] for row in ask(updated, 6)] == sorted(poor)


def test_7_patients(updated: Path) -> None:
    murmurs = defaultdict(list)
    for row in newest(updated)[0]:
        if row["patient_id"] is not None:
            murmurs[row["patient_id"]].append(row["prob_murmur"])
    assert murmurs.keys() == {"b", "c"}
    found = ask(updated, 7)
    assert {row["patient_id"]: row["recordings"] for row in found} == {one: len(all_) for one, all_ in murmurs.items()}
    assert [row["mean"] for row in found] == sorted((row["mean"] for row in found), reverse=True)
    for row in found:
        assert row["worst"] == pytest.approx(max(murmurs[row["patient_id"]]))
        assert row["mean"] == pytest.approx(mean(murmurs[row["patient_id"]]))


def test_8_duplicates(updated: Path) -> None:
    assert [(row["n"], row["recordings"]) for row in ask(updated, 8)] == [(2, ["b/1.wav", "b/2.wav"])]


def test_9_kinds_of_files(updated: Path) -> None:
    durations = defaultdict(list)
    for row in features_of(updated):
        durations[row["format"], row["subtype"], row["sample_rate_hz"]].append(row["duration_s"])
    found = {(row["format"], row["subtype"], row["sample_rate_hz"]): row for row in ask(updated, 9)}
    assert found.keys() == durations.keys()
    for key, row in found.items():
        assert (row["n"], row["duration_s"]) == (len(durations[key]), pytest.approx(median(durations[key])))


def test_10_changed_labels(updated: Path) -> None:
    rows = [row for row in read_rows(updated, "predictions") if row["relative_path"] == "1.wav"]
    last = max(rows, key=lambda row: row["generation"])
    before = sorted(row["predicted_label"] for row in rows if row["predicted_label"] != last["predicted_label"])
    assert before
    found = ask(updated, 10)
    assert sorted(row["before"] for row in found) == before
    assert {(row["relative_path"], row["now"]) for row in found} == {("1.wav", last["predicted_label"])}
