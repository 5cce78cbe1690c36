"""Scores and answer files: from results and truth to what the official scorers would say, and what is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from heartbeat_core.bundles.digests import DIGEST_BYTES
from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.labels import ORIGINAL_LABELS
from jobs.drivers.classify import classify
from jobs.drivers.compact import compact
from jobs.drivers.score import score
from jobs.output.answers import read_results
from jobs.settings import JobSettings
from tests.commands import heartbeat
from tests.helpers import environment, read_table, tree, write_csv
from tests.results import write_results

MURMUR = ("absent", "present", "unknown")
OUTCOME = ("Abnormal", "Normal")


def refused(*arguments: object) -> str:
    """Run a command that must be refused as wrong usage, in one line; return the line."""
    result = heartbeat(*arguments)
    assert result.exit_code == 2, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("heartbeat: ")
    assert result.stdout == ""
    return line


def done(*arguments: object) -> str:
    result = heartbeat(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def sure(labels: Sequence[str], **rows: str) -> dict[str, list[float]]:
    """Return probabilities of 1 for the named label of each recording."""
    return {f"{name}.wav": [float(label == one) for one in labels] for name, label in rows.items()}


def write_truth(folder: Path, rows: Mapping[str, tuple[str, ...]], columns: Sequence[str]) -> Path:
    return write_csv(folder / "truth.csv", ("path", *columns), [(name, *cells) for name, cells in rows.items()])


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Three patients with two models: 1 is right twice, 2 is wrong, and all recordings of 3 failed."""
    names = {"1_AV": 0.2, "1_MV": 0.7, "2_PV": 0.9}
    murmur = {f"{name}.wav": [1 - chance, chance, 0.0] for name, chance in names.items()}
    write_results(tmp_path / "murmur", MURMUR, murmur, ["3_AV.wav"], thresholds=[1.0, 0.5, 1.0])
    outcome = {f"{name}.wav": [chance, 1 - chance] for name, chance in names.items()}
    write_results(tmp_path / "outcome", OUTCOME, outcome, ["3_AV.wav"])
    rows = {
        "recordings/1_AV.flac": ("Present", "Normal"),
        "recordings/1_MV.flac": ("Present", "Normal"),
        "recordings/2_PV.flac": ("Absent", "Normal"),
        "recordings/3_AV.flac": ("Unknown", "Abnormal"),
    }
    write_truth(tmp_path, rows, ("murmur", "outcome"))
    return tmp_path


def test_the_score_of_2016(tmp_path: Path) -> None:
    rows = sure(ORIGINAL_LABELS, a1="murmur", a2="normal", a3="artifact", a4="normal", a5="murmur", z="murmur")
    results = write_results(tmp_path / "results", ORIGINAL_LABELS, rows, ["a6.wav"], ["a5.wav"])
    truth = {
        "x/a1.flac": ("abnormal", "1"),
        "x/a2.flac": ("abnormal", "1"),
        "x/a3.flac": ("abnormal", "0"),
        "x/a4.flac": ("normal", "1"),
        "x/a5.flac": ("normal", "1"),
        "x/a6.flac": ("normal", "0"),
        "x/a7.flac": ("normal", "1"),
    }
    file = write_truth(tmp_path, truth, ("source_label", "quality"))
    told = done("score", results, "--truth", file, "--challenge", "cinc2016")
    written = json.loads((results / "_scores/cinc2016.json").read_text())
    found = written["questions"]["class"]
    # Abnormal: 1 of 2 clean ones, and the noisy one. Normal: 1 of 3 clean ones, and the noisy one.
    assert found["measures"] == pytest.approx(
        {
            "Se": 2 / 3,
            "Sp": 2 / 4,
            "MAcc": 7 / 12,
            "Se_sample2016b": 1.5 / 3,
            "Sp_sample2016b": 2.5 / 4,
            "MAcc_sample2016b": 4.5 / 8,
        }
    )
    assert found["counts"]["Normal, clean"] == {"Normal": 1, "Unsure": 2, "Abnormal": 0}
    assert (found["n"], found["model_id"]) == (7, "made-up@results")
    assert written["notes"] == [
        f"{results}: without a prediction or failure: 1 recording of the truth",
        f"{results}: without a truth: 1 recording",
    ]
    assert "counted as 0 (unsure), since there is no answer: 1 recording of the truth" in told
    assert re.search(r"MAcc \(ranked by this\) +0\.5833", told)
    assert re.search(r"MAcc sample2016b +0\.5625", told)
    assert f"rules: {written['rules']}" in told
    assert told.endswith(f"  {results}/_scores/cinc2016.json\n")


def test_recordings_that_the_model_was_trained_on_are_told(tmp_path: Path) -> None:
    manifest = read_manifest("cycle-spectrum")
    first = b64decode(manifest.training_data.recordings)[:DIGEST_BYTES].hex()
    digests = [first.ljust(64, "0"), "ab" * 32]
    rows = sure(ORIGINAL_LABELS, a="murmur", b="normal")
    truth = write_truth(tmp_path, {"a.flac": ("abnormal", "1"), "b.flac": ("normal", "1")}, ("source_label", "quality"))
    other_version = f"{manifest.name}@{'0' * 64}"
    for number, (model_id, told) in enumerate([(manifest.model_id, True), (other_version, False), ("mine@12", False)]):
        results = write_results(
            tmp_path / str(number), ORIGINAL_LABELS, rows, ["c.wav"], model_id=model_id, audio_sha256=digests
        )
        printed = done("score", results, "--truth", truth, "--challenge", "cinc2016")
        note = f"{results}: the model was trained on 1 of 3 recordings: its scores are too good"
        notes = json.loads((results / "_scores/cinc2016.json").read_text())["notes"]
        assert (note in printed, note in notes) == (told, told)
        assert any(str(manifest.training_data.description) in one for one in notes) == told


def test_the_answers_of_2016(tmp_path: Path) -> None:
    rows = sure(ORIGINAL_LABELS, a2="murmur", a1="normal", a3="artifact", a5="murmur")
    results = write_results(tmp_path / "results", ORIGINAL_LABELS, rows, ["a4.flac"], ["a5.wav"])
    told = done("export", results, "--challenge", "cinc2016", "-o", tmp_path / "out")
    assert tree(tmp_path / "out") == {"answers.txt": b"a1,-1\na2,1\na3,0\na4,0\na5,0\n"}
    assert told.startswith("cinc2016: 5 recordings in 1 file\n")
    line = refused("export", results, "--challenge", "cinc2016", "-o", tmp_path / "o", "--truth", tmp_path)
    assert "answered by recording, under the names of the files: leave --truth out" in line


def test_two_models_answer_the_two_questions_of_2022(clinic: Path) -> None:
    command = ("--truth", clinic / "truth.csv", "--challenge", "moody2022", "-o", clinic / "scores.json")
    told = done("score", clinic / "murmur", clinic / "outcome", *command)
    found = json.loads((clinic / "scores.json").read_text())["questions"]
    # By the threshold of 0.5, patient 1 with a mean of 0.45 is Present; patient 3 counts as Present.
    assert found["murmur"]["counts"]["Present"] == {"Present": 1, "Unknown": 0, "Absent": 0}
    assert found["murmur"]["measures"]["weighted_accuracy"] == pytest.approx(5 / 9)
    assert found["murmur"]["measures"]["cost"] == pytest.approx(10 + 25 + 397 - 1718 + 11296 + 10_000 / 3)
    assert found["outcome"]["measures"]["weighted_accuracy"] == pytest.approx(6 / 7)
    assert found["outcome"]["by_class"]["AUROC"]["Abnormal"] == 0.0, "3 has a probability of 0, and is abnormal"
    assert [one["model_id"] for one in found.values()] == ["made-up@murmur", "made-up@outcome"]
    assert max(map(len, told.partition("note:")[0].partition("rules:")[0].splitlines())) <= 80
    assert "moody2022, murmur: 3 patients" in told
    # The order of the results does not matter where only one order is possible.
    assert done("score", clinic / "outcome", clinic / "murmur", *command) == told


def test_the_answers_of_2022(clinic: Path) -> None:
    done("export", clinic / "murmur", clinic / "outcome", "--challenge", "moody2022", "-o", clinic / "both")
    files = {name: data.decode().splitlines() for name, data in tree(clinic / "both").items()}
    assert sorted(files) == ["1.csv", "2.csv", "3.csv"]
    assert files["1.csv"][:3] == ["#1", "Present,Unknown,Absent,Abnormal,Normal", "1,0,0,0,1"]
    assert [float(cell) for cell in files["1.csv"][3].split(",")] == pytest.approx([0.45, 0, 0.55, 0.45, 0.55])
    assert files["3.csv"][2:] == ["0,0,0,0,0", "0.0,0.0,0.0,0.0,0.0"]
    told = done("export", clinic / "outcome", "--challenge", "moody2022", "-o", clinic / "one")
    assert "note: murmur: zeros in each file, since these labels do not answer it: give the RESULTS of a second" in told
    assert (clinic / "one/2.csv").read_text().splitlines()[2] == "0,0,0,1,0"
    assert "is there already: name a new folder" in refused(
        "export", clinic / "outcome", "--challenge", "moody2022", "-o", clinic / "one"
    )


def test_patients_are_named_by_the_truth_where_it_is_given(clinic: Path) -> None:
    truth = write_csv(clinic / "p.csv", ("path", "record_id"), [("1_AV", "A"), ("1_MV", "B"), ("2_PV", "A")])
    command = ("export", clinic / "murmur", "--challenge", "moody2022", "-o", clinic / "out", "--truth", truth)
    assert f"note: {clinic}/murmur: without a truth: 1 recording\n" in done(*command)
    assert sorted(tree(clinic / "out")) == ["3.csv", "A.csv", "B.csv"]


def test_patients_of_the_truth_alone_get_zeros(clinic: Path) -> None:
    """The official scorer ends with an error where a patient's file is missing."""
    rows = [("1_AV", "1"), ("1_MV", "1"), ("2_PV", "2"), ("0_AV", "0"), ("7_AV", "7"), ("7_MV", "7")]
    truth = write_csv(clinic / "p.csv", ("path", "record_id"), rows)
    results = (clinic / "murmur", clinic / "outcome")
    told = done("export", *results, "--challenge", "moody2022", "-o", clinic / "out", "--truth", truth)
    assert "note: zeros, since there is no prediction or failure: 2 patients of the truth\n" in told
    assert "moody2022: 5 patients in 5 files" in told
    done("export", *results, "--challenge", "moody2022", "-o", clinic / "without")
    files, without = tree(clinic / "out"), tree(clinic / "without")
    assert {name: data for name, data in files.items() if name in without} == without
    assert {name: data.decode().splitlines() for name, data in files.items() if name not in without} == {
        f"{one}.csv": [f"#{one}", "Present,Unknown,Absent,Abnormal,Normal", "0,0,0,0,0", "0.0,0.0,0.0,0.0,0.0"]
        for one in "07"
    }


def test_one_model_with_the_labels_of_the_original_answers_both(clinic: Path) -> None:
    rows = sure(ORIGINAL_LABELS, **{"1_AV": "murmur", "2_PV": "normal", "3_AV": "artifact"})
    results = write_results(clinic / "five", ORIGINAL_LABELS, rows)
    done("score", results, "--truth", clinic / "truth.csv", "--challenge", "moody2022")
    found = json.loads((results / "_scores/moody2022.json").read_text())["questions"]
    assert found["murmur"]["measures"]["accuracy"] == 1.0
    assert found["outcome"]["counts"] == {
        "Abnormal": {"Abnormal": 1, "Normal": 0},
        "Normal": {"Abnormal": 1, "Normal": 1},
    }
    # Two such models answer in the order of the questions.
    both = done("score", results, clinic / "outcome", "--truth", clinic / "truth.csv", "--challenge", "moody2022")
    assert "outcome: 3 patients" in both
    found = json.loads((results / "_scores/moody2022.json").read_text())["questions"]
    assert (found["murmur"]["results"], found["outcome"]["results"]) == (str(results), str(clinic / "outcome"))


def test_what_one_model_does_not_answer_is_told(clinic: Path) -> None:
    told = done("score", clinic / "murmur", "--truth", clinic / "truth.csv", "--challenge", "moody2022")
    assert "note: outcome: not scored, since these labels do not answer it: give the RESULTS of a second model" in told
    assert list(json.loads((clinic / "murmur/_scores/moody2022.json").read_text())["questions"]) == ["murmur"]


def test_results_that_cannot_be_scored(clinic: Path) -> None:
    def told(*results: Path, truth: Path = clinic / "truth.csv", challenge: str = "moody2022") -> str:
        return refused("score", *results, "--truth", truth, "--challenge", challenge)

    murmur, outcome = clinic / "murmur", clinic / "outcome"
    assert "unknown challenge 'moody': there are cinc2016, moody2022" in told(murmur, challenge="moody")
    assert "is not the output of a heartbeat job: there is no _run.json" in told(clinic)
    assert "its labels (absent, present, unknown) answer no question of cinc2016; these do: class: normal, " in told(
        murmur, challenge="cinc2016"
    )
    assert "answer the same question of moody2022: give one" in told(murmur, murmur)
    assert "moody2022 asks for murmur and outcome: give 2 RESULTS at most" in told(murmur, outcome, outcome)
    other = write_csv(clinic / "other.csv", ("path", "murmur"), [("9_AV.wav", "Present")])
    assert f"{murmur} has '1_AV', and {other} has '9_AV': no recording has the same file name" in told(
        murmur, truth=other
    )
    none = write_csv(clinic / "none.csv", ("path", "murmur"), [("1_AV.wav", "loud")])
    assert (
        "no column says murmur: call it 'murmur' or 'source_label' or 'label', with cells that are 'present'"
        in told(murmur, truth=none)
    )
    twice = write_results(clinic / "twice", MURMUR, sure(MURMUR, **{"a/1": "absent", "b/1": "present"}))
    assert "'file:///in/a/1.wav' and 'file:///in/b/1.wav' are both called 1" in told(twice)
    (outcome / "_SUCCESS").unlink()
    assert f"{outcome} is not finished: run its job again to go on, then score it" in told(outcome)
    (outcome / "_run.json").write_text('{"identity": {"job": "build-dataset"}, "run_id": "r"}')
    assert "is the output of 'build-dataset': name the output of 'classify'" in told(outcome)
    assert not (murmur / "_scores").exists()


def test_options_of_export_that_do_not_go_together(clinic: Path) -> None:
    answers = ("export", clinic / "murmur", "-o", clinic / "out", "--challenge", "moody2022")
    for option in (("--format", "onnx"), ("--int8",)):
        assert "--format and --int8 are for a BUNDLE, and --challenge is for RESULTS" in refused(*answers, *option)
    assert "--truth and --config are for RESULTS" in refused("export", "cycles", "-o", clinic / "m", "--truth", clinic)
    assert "one BUNDLE is exported at a time" in refused("export", "cycles", "seed-small", "-o", clinic / "m.onnx")
    assert not (clinic / "out").exists()


def test_real_results_name_labels_and_thresholds_and_score_the_same_after_compact(
    library: Path, bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    settings = JobSettings.model_validate({"model": str(bundle), "shards": {"recordings": 8}})
    out, truth = tmp_path / "out", tmp_path / "truth.csv"
    classify([str(library)], str(out), settings, console)
    metadata = read_table(out, "predictions").schema.metadata
    assert json.loads(metadata[b"heartbeat.labels"]) == list(ORIGINAL_LABELS)
    thresholds = json.loads((bundle / "bundle.json").read_text())["decision"]["thresholds"]
    assert json.loads(metadata[b"heartbeat.thresholds"]) == thresholds
    names = [path.name for path in sorted(library.rglob("*.wav"))]
    write_csv(truth, ("path", "class"), [(name, "normal" if "normal" in name else "abnormal") for name in names])
    before = score([str(out)], str(truth), "cinc2016")
    assert before.scores["class"].n == len(names)
    compact(str(out), console)
    assert score([str(out)], str(truth), "cinc2016") == before
    assert read_results(str(out)).predicted.thresholds.tolist() == thresholds
    assert classify([str(library)], str(out), settings, console).totals.listed == len(names)


def test_a_challenge_of_another_package(tmp_path: Path) -> None:
    facts = tmp_path / "toy-1.0.dist-info"
    facts.mkdir()
    (tmp_path / "toy.py").write_text(
        "from heartbeat_core.challenges.cinc2016 import Cinc2016\n"
        "class Toy(Cinc2016):\n"
        "    name = 'toy2030'\n"
        "    def files(self, answers):\n"
        "        return {'toy.txt': ' '.join(answers['class'].ids)}\n"
        "TOY = Toy()\n"
    )
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[heartbeat.challenges]\ntoy = toy:TOY\n")
    results = write_results(tmp_path / "results", OUTCOME, sure(OUTCOME, a1="Abnormal", a2="Normal"))
    ours = environment()
    subprocess.run(
        [sys.executable, "-m", "jobs.cli", "export", results, "--challenge", "toy2030", "-o", tmp_path / "out"],
        env={**ours, "PYTHONPATH": os.pathsep.join([ours["PYTHONPATH"], str(tmp_path)])},
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert tree(tmp_path / "out") == {"toy.txt": b"a1 a2"}
