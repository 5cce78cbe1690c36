"""From the published files of a database to the official answer files: dataset, classify, score, export.

The layouts are made up. With real ones in a folder, ``HEARTBEAT_LAYOUTS=FOLDER make test`` takes its ``circor-1.0.3``
and ``cinc2016`` as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from heartbeat_core.datasets.dataset import Dataset
from tests import layouts, naive
from tests.commands import done
from tests.helpers import read_rows

Layout = Callable[[Path], Path]


def real(name: str) -> Layout:
    return lambda _: Path(os.environ["HEARTBEAT_LAYOUTS"], name)


def places(name: str, made_up: Layout) -> list[object]:
    is_missing = "HEARTBEAT_LAYOUTS" not in os.environ
    skipped = pytest.mark.skipif(is_missing, reason="HEARTBEAT_LAYOUTS names no folder of real layouts")
    return [pytest.param(made_up, id="made up"), pytest.param(real(name), id="real", marks=skipped)]


def patients_of(folder: Path) -> dict[str, dict[str, str]]:
    """Return the facts in each ``ID.txt``, read as plainly as possible, with the recordings under ``sites``."""
    found = {}
    for path in sorted((folder / "training_data").glob("*.txt")):
        lines = path.read_text().splitlines()
        facts = dict(line[1:].split(": ") for line in lines if line.startswith("#"))
        recordings = [line.split()[2].removesuffix(".wav") for line in lines[1:] if not line.startswith("#")]
        found[path.stem] = facts | {"sites": " ".join(recordings)}
    return found


@pytest.mark.parametrize("layout", places("circor-1.0.3", layouts.write_circor))
def test_circor_from_its_files_to_the_answers(layout: Layout, tmp_path: Path, in_process: None) -> None:
    folder = layout(tmp_path / "circor")
    patients = patients_of(folder)

    done("build-dataset", folder, "-o", tmp_path / "dataset", "--recipe", "statistics", "--database", "circor")
    rows = {Path(row["relative_path"]).stem: row for row in read_rows(tmp_path / "dataset", "recordings")}
    assert sorted(rows) == sorted(name for facts in patients.values() for name in facts["sites"].split())
    for number, facts in patients.items():
        linked = {number, facts["Additional ID"]} - {"nan"}
        for name in facts["sites"].split():
            row = rows[name]
            assert row["label"] == facts["Murmur"]
            assert row["site"] == name.split("_")[1]
            assert row["patient_id"] == f"circor_{min(linked, key=int)}"
            assert str(row["record_id"]) == number
            assert (row["outcome"], row["database"]) == (facts["Outcome"], "circor")
    assert Dataset(tmp_path / "dataset").segments().keys() == {row["recording_id"] for row in rows.values()}

    results = tmp_path / "results"
    done("classify", folder, "-o", results)
    assert len(read_rows(results, "predictions")) == len(rows)
    done("score", results, "--truth", folder, "--challenge", "moody2022")
    scores = json.loads((results / "_scores/moody2022.json").read_text())["questions"]
    done("export", results, "--challenge", "moody2022", "-o", tmp_path / "answers")
    answers = {path.stem: path.read_text().splitlines() for path in (tmp_path / "answers").glob("*.csv")}
    assert sorted(answers) == sorted(patients)

    columns: dict[str, list[tuple[int, float]]] = {}
    for number, (first, classes, outputs, probabilities) in sorted(answers.items()):
        assert first == f"#{number}"
        values = zip(
            classes.split(","), map(int, outputs.split(",")), map(float, probabilities.split(",")), strict=True
        )
        for name, output, probability in values:
            columns.setdefault(name, []).append((output, probability))
    truth = [facts for _, facts in sorted(patients.items())]
    for question, names in (("murmur", ("Present", "Unknown", "Absent")), ("outcome", ("Abnormal", "Normal"))):
        of_patients = list(zip(*(columns[name] for name in names), strict=True))
        expected, _ = naive.moody2022_scores(
            [facts[question.capitalize()] for facts in truth],
            [[output for output, _ in one] for one in of_patients],
            [[probability for _, probability in one] for one in of_patients],
            [facts["Outcome"] for facts in truth],
            names,
        )
        for name in ("weighted_accuracy", "cost"):
            assert scores[question]["measures"][name] == pytest.approx(expected[name], rel=1e-12)


@pytest.mark.parametrize("layout", places("cinc2016", layouts.write_cinc2016))
def test_cinc2016_from_its_files_to_the_answers(layout: Layout, tmp_path: Path, in_process: None) -> None:
    folder = layout(tmp_path / "cinc2016")
    classes = {
        name: (int(value), path.parent.name)
        for path in folder.glob("training-*/REFERENCE.csv")
        for name, value in (line.split(",") for line in path.read_text().split())
    }

    done("build-dataset", folder, "-o", tmp_path / "dataset", "--recipe", "statistics", "--database", "cinc2016")
    rows = {Path(row["relative_path"]).stem: row for row in read_rows(tmp_path / "dataset", "recordings")}
    words = {-1: "normal", 1: "abnormal"}
    assert {name: (row["label"], row["database"]) for name, row in rows.items()} == {
        name: (words[value], database) for name, (value, database) in classes.items()
    }

    results = tmp_path / "results"
    done("classify", folder, "-o", results)
    done("score", results, "--truth", folder, "--challenge", "cinc2016")
    measures = json.loads((results / "_scores/cinc2016.json").read_text())["questions"]["class"]["measures"]
    done("export", results, "--challenge", "cinc2016", "-o", tmp_path / "answers")
    answers = dict(line.split(",") for line in (tmp_path / "answers/answers.txt").read_text().split())
    assert list(answers) == sorted(classes)
    expected = naive.cinc2016_scores([(value, 1, int(answers[name])) for name, (value, _) in classes.items()])
    assert measures == pytest.approx(expected, rel=1e-12)
