"""CirCor as it is published: patients, persons, findings and segments, and every damage in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.databases.circor import CIRCOR, join_numbers, parse_segments
from heartbeat_core.errors import InputError
from tests import naive
from tests.core.databases.damage import Damage, check_refused, edit, remove, rows, write
from tests.layouts import write_circor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_circor(tmp_path / "circor")


def test_every_recording_has_what_its_patients_file_says(folder: Path) -> None:
    table = CIRCOR.read(str(folder))
    assert rows(table, "path", "murmur", "outcome", "finding", "patient_id", "record_id", "site") == [
        ("training_data/101_AV.wav", "Absent", "Normal", "normal", "circor_101", "101", "AV"),
        ("training_data/101_MV.wav", "Absent", "Normal", "normal", "circor_101", "101", "MV"),
        ("training_data/102_PV.wav", "Absent", "Abnormal", "no_murmur", "circor_102", "102", "PV"),
        ("training_data/103_TV.wav", "Unknown", "Abnormal", None, "circor_103", "103", "TV"),
        ("training_data/104_AV.wav", "Present", "Abnormal", None, "circor_104", "104", "AV"),
        ("training_data/104_TV_1.wav", "Present", "Abnormal", "murmur", "circor_104", "104", "TV"),
        ("training_data/104_TV_2.wav", "Present", "Abnormal", "murmur", "circor_104", "104", "TV"),
        ("training_data/205_MV.wav", "Present", "Abnormal", "murmur", "circor_104", "205", "MV"),
        ("training_data/205_Phc.wav", "Present", "Abnormal", None, "circor_104", "205", "Phc"),
    ]
    assert rows(table, "age", "sex", "height_cm", "weight_kg", "pregnancy", "campaign", "additional_id")[1:5] == [
        ("Child", "Female", "98.0", "17.66", "False", "CC2014", None),
        (None, "Male", None, None, "False", "CC2014", None),
        ("Infant", "Male", "60", "5.5", "False", "CC2014", None),
        ("Child", "Male", "120.0", "24.0", "False", "CC2014", "205"),
    ]
    assert set(table.columns["device"]) == {"Littmann 3200 (DigiScope Collector)"}
    assert set(table.columns["database"]) == {"circor"}
    assert table.columns["murmur_locations"][3:5] == [None, "MV+TV"]
    assert table.columns["most_audible_location"][-1] == "TV"
    assert table.notes == []
    assert CIRCOR.label_columns[0] == "murmur"
    assert set(CIRCOR.label_columns) < set(table.columns)


def test_the_segments_are_in_order_and_have_a_length(folder: Path) -> None:
    segments = CIRCOR.read(str(folder)).segments
    assert [(one.start_s, one.end_s, one.state) for one in segments if one.path == "training_data/104_TV_2.wav"] == [
        (0.0, 0.5, 0),
        (0.5, 0.6, 1),
        (0.6, 0.8, 2),
        (0.75, 0.9, 3),
    ]
    assert len(segments) == 4 * 9


def test_the_folder_of_the_recordings_may_be_given_itself(folder: Path) -> None:
    table = CIRCOR.read(str(folder / "training_data"))
    assert table.columns["path"][0] == "101_AV.wav"
    assert table.segments[0].path == "101_AV.wav"
    assert table.notes == ["training_data.csv is not there, and so the patients' files could not be compared with it"]


@pytest.mark.parametrize("kept", ["104", "205"])
def test_a_link_to_a_patient_who_is_not_there_counts(folder: Path, kept: str) -> None:
    (folder / "training_data.csv").unlink()
    for path in (folder / "training_data").iterdir():
        if not path.name.startswith(kept):
            path.unlink()
    assert set(CIRCOR.read(str(folder)).columns["patient_id"]) == {"circor_104"}


def test_a_link_on_one_side_joins_both_numbers(folder: Path) -> None:
    (folder / "training_data.csv").unlink()
    edit("training_data/104.txt", "#Additional ID: 205", "#Additional ID: nan")(folder)
    edit("training_data/205.txt", "#Additional ID: 104", "#Additional ID: 104.0")(folder)
    table = CIRCOR.read(str(folder))
    assert table.columns["patient_id"][4:] == ["circor_104"] * 5
    assert table.columns["additional_id"][-1] == "104"


def test_copies_with_another_ending_hidden_files_and_other_files_are_no_trouble(folder: Path) -> None:
    data = folder / "training_data"
    for path in list(data.glob("*.wav")):
        path.rename(path.with_suffix(".flac"))
    (data / "._101_AV.wav").write_bytes(b"\0\5\26\7")
    (data / "101.txt~").write_text("an older one")
    (folder / "LICENSE.txt").write_text("Open Data Commons")
    (folder / "models").mkdir()
    (folder / "models/101_AV_denoised.wav").write_bytes(b"")
    assert CIRCOR.read(str(folder)).columns["path"][0] == "training_data/101_AV.wav"


def test_the_table_may_write_numbers_otherwise(folder: Path) -> None:
    edit("training_data.csv", ",120.0,24.0,", ",120,24.00,")(folder)
    edit("training_data.csv", ",205\n", ",205.0\n")(folder)
    edit("training_data.csv", "AV+TV+TV", "AV+TV")(folder)
    assert len(CIRCOR.read(str(folder)).columns["path"]) == 9


DATA = "training_data"
DAMAGES: list[tuple[Damage, str]] = [
    (remove(f"{DATA}/101_AV.wav"), f"{DATA}/101_AV.wav: expected this recording, because 101.txt names it, found n"),
    (remove(f"{DATA}/101_AV.hea"), f"{DATA}/101_AV.hea: expected this file, because 101.txt names it, found n"),
    (remove(f"{DATA}/101_AV.tsv"), f"{DATA}/101_AV.tsv: expected this file, because 101.txt names it, found n"),
    (write(f"{DATA}/101_PV.flac", b""), f"{DATA}/101_PV.flac: expected its patient's ID.txt to name this recording"),
    (write(f"{DATA}/101.txt", b"\x89PNG\0\0"), f"{DATA}/101.txt: expected a text file, found other bytes"),
    (write(f"{DATA}/101.txt", b"101 0 4000\n\0"), f"{DATA}/101.txt: expected a text file, found other bytes"),
    (write(f"{DATA}/101.txt", b""), f"{DATA}/101.txt: expected a first line '101 recordings rate', found nothing"),
    (
        edit(f"{DATA}/101.txt", "101 2 4000", "102 2 4000"),
        f"{DATA}/101.txt: expected a first line '101 recordings rate', found '102 2 4000'",
    ),
    (
        edit(f"{DATA}/101.txt", "101 2 4000", "101 2 0"),
        f"{DATA}/101.txt: expected a first line '101 recordings rate', found '101 2 0'",
    ),
    (
        write(f"{DATA}/101.txt", b"101 0 4000\n#Murmur: Absent\n#Outcome: Normal\n"),
        f"{DATA}/101.txt: expected a first line '101 recordings rate', found '101 0 4000'",
    ),
    (
        edit(f"{DATA}/101.txt", "101 2 4000", "101 two 4000"),
        f"{DATA}/101.txt: expected a first line '101 recordings rate', found '101 two 4000'",
    ),
    (
        edit(f"{DATA}/101.txt", "101 2 4000", "101 3 4000"),
        f"{DATA}/101.txt: expected 3 recordings, as its first line says, found 2",
    ),
    (
        edit(f"{DATA}/101.txt", "MV 101_MV.hea 101_MV.wav 101_MV.tsv", "AV 101_AV.hea 101_AV.wav 101_AV.tsv"),
        f"{DATA}/101.txt: expected each recording once, found 101_AV twice",
    ),
    (
        edit(f"{DATA}/101.txt", "MV 101_MV.hea", "XX 101_MV.hea"),
        f"{DATA}/101.txt: expected 'SITE 101_SITE.hea 101_SITE.wav 101_SITE.tsv' with a site of AV, PV, TV, MV, Phc, "
        "found 'XX 101_MV.hea 101_MV.wav 101_MV.tsv'",
    ),
    (edit(f"{DATA}/101.txt", "MV 101_MV.hea", "MV 101_PV.hea"), f"{DATA}/101.txt: expected 'SITE 101_SITE.hea"),
    (edit(f"{DATA}/101.txt", "101_MV.wav", "101_PV.wav"), f"{DATA}/101.txt: expected 'SITE 101_SITE.hea"),
    (edit(f"{DATA}/101.txt", " 101_MV.tsv", ""), f"{DATA}/101.txt: expected 'SITE 101_SITE.hea"),
    (edit(f"{DATA}/101.txt", "MV 101_MV.hea 101_MV.wav 101_MV.tsv", "MV"), f"{DATA}/101.txt: expected 'SITE"),
    (
        edit(f"{DATA}/101.txt", "#Murmur: Absent", "#Murmur: perhaps"),
        f"{DATA}/101.txt: expected 'Murmur' to be one of Present, Absent, Unknown, found 'perhaps'",
    ),
    (
        edit(f"{DATA}/101.txt", "#Outcome: Normal", "#Outcome: nan"),
        f"{DATA}/101.txt: expected 'Outcome' to be one of Normal, Abnormal, found nothing",
    ),
    (
        edit(f"{DATA}/104.txt", "MV+TV", "MV+left"),
        f"{DATA}/104.txt: expected murmur locations of AV, PV, TV, MV, Phc, found 'left'",
    ),
    (
        edit(f"{DATA}/101.txt", "#Height: 98.0", "#Height: tall"),
        f"{DATA}/101.txt: Height: expected a number, found 'tall'",
    ),
    (edit(f"{DATA}/101.txt", "17.66", "-1"), f"{DATA}/101.txt: Weight: expected a number, found '-1'"),
    (edit(f"{DATA}/101.txt", "17.66", "inf"), f"{DATA}/101.txt: Weight: expected a number, found 'inf'"),
    (
        edit(f"{DATA}/104.txt", "#Additional ID: 205", "#Additional ID: 205.5"),
        f"{DATA}/104.txt: Additional ID: expected a whole number, found '205.5'",
    ),
    (
        edit(f"{DATA}/101.txt", "#Age: Child", "#Age: Child\n#age: Infant"),
        f"{DATA}/101.txt: expected each key once, found 'age' twice",
    ),
    (write(f"{DATA}/101_AV.hea", b""), f"{DATA}/101_AV.hea: expected a first line 'record signals rate samples'"),
    (
        edit(f"{DATA}/101_AV.hea", "101_AV 1 4000", "101_AV 1 2000"),
        f"{DATA}/101_AV.hea: expected the rate in Hz 4000, as in 101.txt, found 2000",
    ),
    (
        edit(f"{DATA}/101_AV.hea", "101_AV 1", "101_MV 1"),
        f"{DATA}/101_AV.hea: expected the record 101_AV, as in 101.txt, found 101_MV",
    ),
    (
        edit(f"{DATA}/101_AV.hea", "101_AV.wav", "101_MV.wav"),
        f"{DATA}/101_AV.hea: expected the file 101_AV.wav, as in 101.txt, found 101_MV.wav",
    ),
    (
        edit(f"{DATA}/101_AV.tsv", "0.5\t0.6\t1", "0.5\t0.6"),
        f"{DATA}/101_AV.tsv: line 3: expected start, end and a state from 0 to 4, divided by tabs, found '0.5\\t0.6'",
    ),
    (edit(f"{DATA}/101_AV.tsv", "0.6\t1", "late\t1"), f"{DATA}/101_AV.tsv: line 3: expected start, end and a state"),
    (edit(f"{DATA}/101_AV.tsv", "0.6\t1", "0.6\t5"), f"{DATA}/101_AV.tsv: line 3: expected start, end and a state"),
    (edit(f"{DATA}/101_AV.tsv", "0.6\t1", "nan\t1"), f"{DATA}/101_AV.tsv: line 3: expected start, end and a state"),
    (
        edit(f"{DATA}/101_AV.tsv", "0.5\t0.6", "0.6\t0.5"),
        f"{DATA}/101_AV.tsv: line 3: expected an end that is not before",
    ),
    (edit(f"{DATA}/101_AV.tsv", "0\t0.5", "-1\t0.5"), f"{DATA}/101_AV.tsv: line 1: expected start, end and a state"),
    (write(f"{DATA}/101_AV.tsv", b""), f"{DATA}/101_AV.tsv: expected lines of start, end and state, found none"),
    (write(f"{DATA}/101_AV.tsv", bytes(range(256))), f"{DATA}/101_AV.tsv: expected a text file, found other bytes"),
    (
        edit("training_data.csv", "17.66", "17.67"),
        "training_data.csv: row 1: expected the weight kg '17.66', as in 101.txt, found '17.67'",
    ),
    (
        edit("training_data.csv", "102,PV,nan", "102,PV,Child"),
        "training_data.csv: row 2: expected the age nothing, as in 102.txt, found 'Child'",
    ),
    (
        edit("training_data.csv", "Absent,nan,nan,Normal", "Unknown,nan,nan,Normal"),
        "training_data.csv: row 1: expected the murmur 'Absent', as in 101.txt, found 'Unknown'",
    ),
    (
        edit("training_data.csv", "AV+MV", "AV+PV"),
        "training_data.csv: row 1: expected the sites AV+MV, as in 101.txt, found 'AV+PV'",
    ),
    (edit("training_data.csv", "98.0", "tall"), "training_data.csv: row 1: Height: expected a number, found 'tall'"),
    (
        edit("training_data.csv", "102,PV", "107,PV"),
        "training_data.csv: row 2: expected a patient with a file ID.txt, found '107'",
    ),
    (
        edit("training_data.csv", "102,PV", "101,PV"),
        "training_data.csv: row 2: expected a row a patient, found another of 101",
    ),
    (
        lambda folder: [path.unlink() for path in (folder / DATA).glob("101*")],
        "training_data.csv: row 1: expected a patient with a file ID.txt, found '101'",
    ),
    (
        edit("training_data.csv", "103,TV,Infant,Male,60,5.5,False,Unknown,nan,nan,Abnormal,CC2014,nan\n", ""),
        "training_data.csv: expected a row of patient 103, who has a file ID.txt, found none",
    ),
    (edit("training_data.csv", "101,AV+MV,", "101,"), "training_data.csv: cannot be read as a .csv table: line 2 has"),
    (write("training_data.csv", b"\xff\xfe\x00"), "training_data.csv: expected a text file, found other bytes"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_damage_is_one_line_that_names_the_file(folder: Path, damage: Damage, told: str) -> None:
    damage(folder)
    check_refused(CIRCOR, folder, told)


def test_several_problems_are_counted_and_three_more_are_named(folder: Path) -> None:
    for name in ("101_AV.wav", "101_MV.hea", "102_PV.tsv", "103_TV.tsv", "104_AV.tsv"):
        (folder / DATA / name).unlink()
    check_refused(
        CIRCOR,
        folder,
        f"{DATA}/101_AV.wav: expected this recording, because 101.txt names it, found none; and 4 more: "
        f"{DATA}/101_MV.hea, {DATA}/102_PV.tsv, {DATA}/103_TV.tsv, …",
    )


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected training_data/ with a file ID.txt for each patient, found none"):
        CIRCOR.read(str(tmp_path))
    with pytest.raises(InputError, match="nowhere: cannot be listed: No such file or directory"):
        CIRCOR.read(str(tmp_path / "nowhere"))


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=12))
def test_linked_numbers_are_one_person_as_the_plain_loop_says(links: list[tuple[int, int]]) -> None:
    assert join_numbers(links) == naive.smallest_linked(links)


@given(st.lists(st.tuples(*[st.floats(0, 100) for _ in range(2)], st.integers(0, 4)), min_size=1))
def test_segments_come_back_as_they_were_written(found: list[tuple[float, float, int]]) -> None:
    pieces = [(min(times), max(times), state) for *times, state in found]
    text = "".join(f"{start!r}\t{end!r}\t{state}\n" for start, end, state in pieces)
    assert parse_segments(text, "1_AV.tsv") == [piece for piece in pieces if piece[1] > piece[0]]
