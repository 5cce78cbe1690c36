"""CinC 2016 as it is published: classes, devices, qualities, and every damage in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat_core.databases.cinc2016 import CINC2016
from heartbeat_core.errors import InputError
from tests.core.databases.damage import Damage, check_refused, edit, remove, rows, write
from tests.layouts import write_cinc2016

NO_PATIENTS = "the published files do not name patients: each recording counts as a patient of its own"
NO_QUALITY = "REFERENCE_withSQI.csv is not there: the quality of the recordings is not known"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cinc2016(tmp_path / "cinc2016")


def test_every_recording_has_its_class_and_its_databases_device(folder: Path) -> None:
    table = CINC2016.read(str(folder))
    assert rows(table, "path", "class", "database", "device", "record_id", "patient_id") == [
        ("training-a/a0001.wav", "abnormal", "training-a", "Welch Allyn Meditron", "a0001", None),
        ("training-a/a0002.wav", "normal", "training-a", "Welch Allyn Meditron", "a0002", None),
        ("training-a/a0003.wav", "abnormal", "training-a", "Welch Allyn Meditron", "a0003", None),
        ("training-e/e00001.wav", "normal", "training-e", "MLT201/Piezo", "e00001", None),
        ("training-e/e00002.wav", "abnormal", "training-e", "3M Littmann", "e00002", None),
    ]
    assert rows(table, "published_sample_rate_hz", "published_n_samples", "quality")[0] == ("2000", "3000", None)
    assert table.notes == [NO_PATIENTS, NO_QUALITY]
    assert table.segments == []
    assert CINC2016.label_columns == ("class",)


def test_one_of_the_folders_may_be_given_itself(folder: Path) -> None:
    (folder / "training-e").rename(folder / "mine")
    table = CINC2016.read(str(folder / "mine"))
    assert rows(table, "path", "database") == [("e00001.wav", "training-e"), ("e00002.wav", "training-e")]


@pytest.mark.parametrize("place", ["training-a", "annotations/updated/training-a"])
def test_the_quality_is_read_where_it_is_there(folder: Path, place: str) -> None:
    (folder / place).mkdir(parents=True, exist_ok=True)
    # It knows recordings that the folder does not have, and lacks one.
    (folder / place / "REFERENCE_withSQI.csv").write_text("a0001,1,1\na0002,-1,0\na0400,-1,1\n")
    table = CINC2016.read(str(folder))
    assert table.columns["quality"] == ["1", "0", None, None, None]
    assert table.notes == [NO_PATIENTS]


def test_other_files_and_spellings_are_no_trouble(folder: Path) -> None:
    (folder / "validation").mkdir()
    (folder / "validation/a0001.wav").write_bytes(b"")
    (folder / "training-a/a0001.dat").write_bytes(b"")
    (folder / "training-a/a0002.wav").rename(folder / "training-a/a0002.flac")
    edit("training-a/a0001.hea", "# Abnormal\n", "#abnormal\r\n# a comment\n")(folder)
    edit("training-a/a0002.hea", "# Normal\n", "")(folder)
    edit("training-a/REFERENCE.csv", "a0001,1\n", "\ufeffa0001, 1\r\n\n")(folder)
    assert len(CINC2016.read(str(folder)).columns["path"]) == 5


A = "training-a"
DAMAGES: list[tuple[Damage, str]] = [
    (remove(f"{A}/REFERENCE.csv"), f"{A}/REFERENCE.csv: expected this file, because it names the recordings, found n"),
    (remove(f"{A}/a0001.wav"), f"{A}/a0001.wav: expected this recording, because REFERENCE.csv names it, found n"),
    (remove(f"{A}/a0001.hea"), f"{A}/a0001.hea: expected this file, because REFERENCE.csv names it, found none"),
    (write(f"{A}/a0009.wav", b""), f"{A}/a0009.wav: expected REFERENCE.csv to name this recording, and it does not"),
    (write(f"{A}/REFERENCE.csv", b""), f"{A}/REFERENCE.csv: expected lines 'name,-1' or 'name,1', found none"),
    (write(f"{A}/REFERENCE.csv", b"\x80\0"), f"{A}/REFERENCE.csv: expected a text file, found other bytes"),
    (
        edit(f"{A}/REFERENCE.csv", "a0002,-1", "a0002,0"),
        f"{A}/REFERENCE.csv: line 2: expected 'name,-1' or 'name,1', found 'a0002,0'",
    ),
    (edit(f"{A}/REFERENCE.csv", "a0002,-1", "a0002"), f"{A}/REFERENCE.csv: line 2: expected 'name,-1' or 'name,1'"),
    (edit(f"{A}/REFERENCE.csv", "a0002,-1", "a0002,1,1"), f"{A}/REFERENCE.csv: line 2: expected 'name,-1' or 'name,1'"),
    (edit(f"{A}/REFERENCE.csv", "a0001,1", "name,class"), f"{A}/REFERENCE.csv: line 1: expected 'name,-1' or 'name,1'"),
    (edit(f"{A}/REFERENCE.csv", "a0001,1", "../a0001,1"), f"{A}/REFERENCE.csv: line 1: expected 'name,-1' or 'name,1'"),
    (
        edit(f"{A}/REFERENCE.csv", "a0002,-1", "a0001,1"),
        f"{A}/REFERENCE.csv: line 2: expected each recording once, found a0001 twice",
    ),
    (
        edit(f"{A}/REFERENCE.csv", "a0002,-1", "e00001,-1"),
        f"{A}/REFERENCE.csv: expected recordings of database a, found e00001",
    ),
    (
        edit(f"{A}/a0001.hea", "# Abnormal", "# Normal"),
        f"{A}/a0001.hea: expected the class abnormal, as in REFERENCE.csv, found normal",
    ),
    (
        edit(f"{A}/a0001.hea", "a0001 2", "a0002 2"),
        f"{A}/a0001.hea: expected the record a0001, as in REFERENCE.csv, found a0002",
    ),
    (
        edit(f"{A}/a0001.hea", "a0001.wav", "a0002.wav"),
        f"{A}/a0001.hea: expected the file a0001.wav, as in REFERENCE.csv, found a0002.wav",
    ),
    (
        edit(f"{A}/a0001.hea", "a0001.dat 16 1000 16 0 0 367 0 ECG\n", ""),
        f"{A}/a0001.hea: expected 2 signals, as its first line says, found 1",
    ),
    (write(f"{A}/a0001.hea", b"\0\1\2"), f"{A}/a0001.hea: expected a text file, found other bytes"),
    (
        write(f"{A}/REFERENCE_withSQI.csv", b"a0001,1,2\n"),
        f"{A}/REFERENCE_withSQI.csv: line 1: expected 'name,class,quality' with a class of -1 or 1 and a quality of 0",
    ),
    (write(f"{A}/REFERENCE_withSQI.csv", b"a0001,1\n"), f"{A}/REFERENCE_withSQI.csv: line 1: expected 'name,class,qu"),
    (write(f"{A}/REFERENCE_withSQI.csv", b"a0001,0,1\n"), f"{A}/REFERENCE_withSQI.csv: line 1: expected 'name,class"),
    (
        write(f"{A}/REFERENCE_withSQI.csv", b"a0001,-1,1\n"),
        f"{A}/REFERENCE_withSQI.csv: expected a0001 to be abnormal, as in REFERENCE.csv, found normal",
    ),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_damage_is_one_line_that_names_the_file(folder: Path, damage: Damage, told: str) -> None:
    damage(folder)
    check_refused(CINC2016, folder, told)


def test_problems_of_several_databases_are_told_together(folder: Path) -> None:
    (folder / A / "a0003.hea").unlink()
    (folder / "training-e/REFERENCE.csv").unlink()
    check_refused(
        CINC2016,
        folder,
        f"{A}/a0003.hea: expected this file, because REFERENCE.csv names it, found none; and 1 more: "
        "training-e/REFERENCE.csv",
    )


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected training-a to training-f or REFERENCE.csv, found neither"):
        CINC2016.read(str(tmp_path))
