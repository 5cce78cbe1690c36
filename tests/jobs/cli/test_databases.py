"""Published databases by the command line: their own files give labels, patients, devices and segments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.labels import ORIGINAL_LABELS
from tests.commands import heartbeat
from tests.conftest import TINY_RECIPE
from tests.helpers import audio_bytes, heart_bytes, read_rows, write_csv

Facts = dict[str, tuple[Any, ...]]
LITTMANN = "Littmann 3200 (DigiScope Collector)"

PATIENTS = {
    1001: (("AV", "MV"), "Present", "AV", "Abnormal", "nan"),
    1002: (("PV",), "Absent", "nan", "Normal", "nan"),
    1003: (("Phc",), "Absent", "nan", "Abnormal", "1001"),
    1004: (("TV",), "Unknown", "nan", "Normal", "nan"),
}
"""For each patient of CirCor: the sites, the murmur, where it is heard, the outcome, and the person's other number."""


def write_circor(folder: Path) -> Path:
    data = folder / "training_data"
    data.mkdir(parents=True)
    for number, (sites, murmur, locations, outcome, other) in PATIENTS.items():
        names = [(site, f"{number}_{site}") for site in sites]
        for place, (_, name) in enumerate(names):
            (data / f"{name}.wav").write_bytes(heart_bytes("normal", number + place))
            (data / f"{name}.hea").write_text(f"{name} 1 4000 6000\n{name}.wav 16+44 1 16 0 0 0 0 {name}\n")
            (data / f"{name}.tsv").write_text("0\t0.1\t1\n0.1\t0.35\t2\n0.35\t1.5\t0\n")
        lines = [f"{number} {len(sites)} 4000", *(f"{site} {name}.hea {name}.wav {name}.tsv" for site, name in names)]
        keys = {
            "Age": "Child",
            "Murmur": murmur,
            "Murmur locations": locations,
            "Outcome": outcome,
            "Additional ID": other,
        }
        (data / f"{number}.txt").write_text("\n".join([*lines, *(f"#{key}: {word}" for key, word in keys.items())]))
    rows = [
        (str(number), "+".join(sites), "Child", murmur, locations, outcome, other)
        for number, (sites, murmur, locations, outcome, other) in PATIENTS.items()
    ]
    head = ("Patient ID", "Recording locations:", "Age", "Murmur", "Murmur locations", "Outcome", "Additional ID")
    write_csv(folder / "training_data.csv", head, rows)
    return folder


def write_cinc2016(folder: Path) -> Path:
    for letter in "ae":
        place = folder / f"training-{letter}"
        place.mkdir(parents=True)
        for number, word in enumerate(("Normal", "Abnormal"), 1):
            name = f"{letter}000{number}"
            (place / f"{name}.wav").write_bytes(heart_bytes("murmur", number + ord(letter), 1.2, 2_000))
            (place / f"{name}.hea").write_text(f"{name} 1 2000 2400\n{name}.wav 16+44 1 16 0 0 0 0 PCG\n# {word}\n")
        (place / "REFERENCE.csv").write_text(f"{letter}0001,-1\n{letter}0002,1\n")
    return folder


def write_pascal(folder: Path) -> Path:
    """Write both sets; the recordings of set_b are FLAC files, as in some copies."""
    (folder / "set_a").mkdir(parents=True)
    (folder / "set_b").mkdir()
    (folder / "set_a/murmur__201101.wav").write_bytes(heart_bytes("murmur", 1))
    (folder / "set_a/Aunlabelledtest__201102.wav").write_bytes(heart_bytes("murmur", 2))
    noise = heart_bytes("normal", 3)
    (folder / "set_b/normal_noisynormal_105_1305_A.flac").write_bytes(flac(noise))
    (folder / "set_b/extrastole__127_1306_C1.flac").write_bytes(flac(heart_bytes("extrastole", 4)))
    head = ("dataset", "fname", "label", "sublabel")
    rows = [("a", "set_a/murmur__201101.wav", "murmur", ""), ("a", "set_a/__201102.wav", "", "")]
    write_csv(folder / "set_a.csv", head, rows)
    rows = [
        ("b", "set_b/Btraining_normal_Btraining_noisynormal_105_1305_A.wav", "normal", "noisynormal"),
        ("b", "set_b/Btraining_extrastole_127_1306_C1.wav", "extrastole", ""),
    ]
    write_csv(folder / "set_b.csv", head, rows)
    return folder


def flac(wav: bytes) -> bytes:
    from heartbeat_core.audio.decode import decode

    waveform = decode(wav)
    return audio_bytes(waveform.samples, int(waveform.sample_rate_hz), "FLAC")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_RECIPE)
    return path


def build(folder: Path, out: Path, recipe: Path, database: str, *options: object) -> Result:
    return heartbeat("build-dataset", folder, "-o", out, "--recipe", recipe, "--database", database, *options)


def built(folder: Path, out: Path, recipe: Path, database: str, *options: object) -> tuple[Result, Facts]:
    """Build a dataset; returns what was told, and label, patient, device and database of each file."""
    result = build(folder, out, recipe, database, *options)
    assert result.exit_code == 0, result.output
    columns = ("label", "patient_id", "device", "database")
    rows = read_rows(out, "recordings")
    return result, {row["uri"].rpartition("/")[2]: tuple(row[name] for name in columns) for row in rows}


def test_circor(tmp_path: Path, recipe: Path, in_process: None) -> None:
    folder = write_circor(tmp_path / "circor")
    result, rows = built(folder, tmp_path / "d", recipe, "circor")
    # The third patient is the first one again.
    assert rows == {
        "1001_AV.wav": ("Present", "circor_1001", LITTMANN, "circor"),
        "1001_MV.wav": ("Present", "circor_1001", LITTMANN, "circor"),
        "1002_PV.wav": ("Absent", "circor_1002", LITTMANN, "circor"),
        "1003_Phc.wav": ("Absent", "circor_1001", LITTMANN, "circor"),
        "1004_TV.wav": ("Unknown", "circor_1004", LITTMANN, "circor"),
    }
    assert "labels, in the order of their codes: Absent, Present, Unknown" in result.stdout
    assert "without" not in result.stdout
    dataset = Dataset(str(tmp_path / "d"))
    ids = {row["recording_id"] for row in read_rows(tmp_path / "d", "recordings")}
    assert dataset.segments().keys() == ids
    for pieces in dataset.segments().values():
        assert pieces.tolist() == [[0, 0.1, 1], [0.1, 0.35, 2], [0.35, 1.5, 0]]
    assert dataset.labelled().databases == ["circor"] * 5
    run = json.loads((tmp_path / "d/_run.json").read_text())
    stored = pq.read_schema(tmp_path / "d/segments.parquet")
    assert stored.metadata[b"heartbeat.run_id"].decode() == run["run_id"]
    assert stored.metadata[b"heartbeat.layout"] == b"compact"
    assert json.loads(stored.metadata[b"heartbeat.inputs"])[0]["recordings"] == 5
    assert stored.field("start_s").metadata == {b"method": b"labels", b"unit": b"s"}


def test_circor_onto_the_originals_labels(tmp_path: Path, recipe: Path, in_process: None) -> None:
    """The map names the column of the recordings' findings: a murmur is heard at the first of its patient's sites."""
    folder = write_circor(tmp_path / "circor")
    result, rows = built(folder, tmp_path / "d", recipe, "circor", "--label-map", "circor-murmur")
    assert {name: label for name, (label, *_) in rows.items()} == {
        "1001_AV.wav": "murmur",
        "1001_MV.wav": None,
        "1002_PV.wav": "normal",
        "1003_Phc.wav": "normal|extrahls|extrastole",
        "1004_TV.wav": None,
    }
    assert Dataset(str(tmp_path / "d")).facts.labels == ORIGINAL_LABELS
    assert "2 recordings without a label" in result.stdout
    # Another column, named by the user.
    _, rows = built(folder, tmp_path / "e", recipe, "circor", "--label-column", "outcome")
    assert [label for label, *_ in rows.values()] == ["Abnormal", "Abnormal", "Normal", "Abnormal", "Normal"]


def test_cinc2016(tmp_path: Path, recipe: Path, in_process: None) -> None:
    folder = write_cinc2016(tmp_path / "cinc")
    result, rows = built(folder, tmp_path / "d", recipe, "cinc2016")
    assert rows == {
        "a0001.wav": ("normal", None, "Welch Allyn Meditron", "training-a"),
        "a0002.wav": ("abnormal", None, "Welch Allyn Meditron", "training-a"),
        "e0001.wav": ("normal", None, "MLT201/Piezo", "training-e"),
        "e0002.wav": ("abnormal", None, "3M Littmann", "training-e"),
    }
    told = "the published files do not name patients: each recording counts as a patient of its own"
    assert told in result.stderr.splitlines()
    assert "labels, in the order of their codes: abnormal, normal" in result.stdout
    assert Dataset(str(tmp_path / "d")).segments() == {}
    assert not (tmp_path / "d/segments.parquet").exists()
    # One of its six databases may be given itself.
    _, rows = built(folder / "training-e", tmp_path / "e", recipe, "cinc2016", "--label-map", "cinc2016")
    assert {name: label for name, (label, *_) in rows.items()} == {
        "e0001.wav": "normal",
        "e0002.wav": "normal|extrahls|murmur|extrastole",
    }


def test_pascal(tmp_path: Path, recipe: Path, in_process: None) -> None:
    result, rows = built(write_pascal(tmp_path / "pascal"), tmp_path / "d", recipe, "pascal")
    phone, stethoscope = "iStethoscope (phone)", "DigiScope"
    assert rows == {
        "murmur__201101.wav": ("murmur", None, phone, "pascal-a"),
        "Aunlabelledtest__201102.wav": (None, None, phone, "pascal-a"),
        "normal_noisynormal_105_1305_A.flac": ("normal", "b105", stethoscope, "pascal-b"),
        "extrastole__127_1306_C1.flac": ("extrastole", "b127", stethoscope, "pascal-b"),
    }
    assert Dataset(str(tmp_path / "d")).facts.labels == ORIGINAL_LABELS
    assert "1 recording without a label" in result.stdout


def test_two_folders_of_one_database(tmp_path: Path, recipe: Path, in_process: None) -> None:
    folder = write_cinc2016(tmp_path / "cinc")
    both = (folder / "training-a", folder / "training-e")
    result = heartbeat("build-dataset", *both, "-o", tmp_path / "d", "--recipe", recipe, "--database", "cinc2016")
    assert result.exit_code == 0, result.output
    rows = read_rows(tmp_path / "d", "recordings")
    assert [(row["label"], row["database"]) for row in rows] == [
        ("normal", "training-a"),
        ("abnormal", "training-a"),
        ("normal", "training-e"),
        ("abnormal", "training-e"),
    ]


@pytest.mark.parametrize(
    ("database", "change", "told"),
    [
        ("circor", "training_data/1001_MV.tsv", "expected this file, because 1001.txt names it, found none"),
        ("circor", "training_data/1001_MV.wav", "expected this recording, because 1001.txt names it, found none"),
        ("circor", "training_data/1002_PV.hea", "expected this file, because 1002.txt names it, found none"),
        ("cinc2016", "training-a/REFERENCE.csv", "expected this file, because it names the recordings, found none"),
        ("cinc2016", "training-e/e0002.hea", "expected this file, because REFERENCE.csv names it, found none"),
        ("pascal", "set_b.csv", "expected this file, because it names the recordings, found none"),
        ("pascal", "set_a/murmur__201101.wav", "expected this recording, because set_a.csv names it, found none"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, recipe: Path, database: str, change: str, told: str) -> None:
    write = {"circor": write_circor, "cinc2016": write_cinc2016, "pascal": write_pascal}[database]
    folder = write(tmp_path / "in")
    (folder / change).unlink()
    assert_refused(build(folder, tmp_path / "d", recipe, database), f"{folder}/{change}: {told}")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("database", "change", "text", "told"),
    [
        ("circor", "training_data/1002.txt", "1002 2 4000\n", "expected 2 recordings, as its first line says, found 0"),
        ("cinc2016", "training-a/a0002.hea", "a0002 1 2000 2400\na0002.wav\n# Normal\n", "expected the class abnormal"),
        ("pascal", "set_a.csv", "fname,label\n", "expected the columns fname, label, sublabel, found none called subl"),
    ],
)
def test_a_damaged_or_contradicting_file_is_named(
    tmp_path: Path, recipe: Path, database: str, change: str, text: str, told: str
) -> None:
    write = {"circor": write_circor, "cinc2016": write_cinc2016, "pascal": write_pascal}[database]
    folder = write(tmp_path / "in")
    (folder / change).write_text(text)
    assert_refused(build(folder, tmp_path / "d", recipe, database), f"{folder}/{change}: {told}")


def test_folders_and_names_that_are_refused(tmp_path: Path, recipe: Path) -> None:
    folder = write_pascal(tmp_path / "in")
    assert_refused(
        build(folder, tmp_path / "d", recipe, "physionet"), "unknown database 'physionet': there are circor, "
    )
    assert_refused(build(folder, tmp_path / "d", recipe, "circor"), f"{folder}: expected training_data/ with a file ")
    gone = tmp_path / "gone"
    assert_refused(build(gone, tmp_path / "d", recipe, "pascal"), f"{gone}: --database pascal reads a folder, and ")
    told = "--database pascal: no column 'murmur'; the columns are: path, label, "
    assert_refused(build(folder, tmp_path / "d", recipe, "pascal", "--label-column", "murmur"), told)
    assert not (tmp_path / "d").exists()


def assert_refused(result: Result, told: str) -> None:
    """One line on stderr, and the exit code for wrong usage."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    [line] = result.stderr.splitlines()
    assert line.startswith(f"heartbeat: {told}")
    assert result.stdout == ""
