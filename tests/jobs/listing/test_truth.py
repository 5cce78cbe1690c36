"""The truth of a challenge from tables as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat_core.challenges.cinc2016 import CINC2016
from heartbeat_core.challenges.moody2022 import MOODY2022
from heartbeat_core.errors import InputError
from jobs.listing.truth import TruthTable, read_truth


def write(folder: Path, text: str, name: str = "labels.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def moody(folder: Path, text: str) -> TruthTable:
    return read_truth(write(folder, text), MOODY2022)


def test_patients_come_from_the_first_column_that_names_them(tmp_path: Path) -> None:
    table = moody(
        tmp_path,
        "path,label,patient_id,source_label,outcome,record_id\n"
        "recordings/7_AV.flac,murmur,joined,Present,Abnormal,7\n"
        "recordings/7_MV.flac,,joined,Present,Abnormal,7\n"
        "recordings/8_AV.flac,normal,joined,Absent,Normal,8\n",
    )
    assert table.names == ("7_AV", "7_MV", "8_AV")
    truth = table.by_record()
    assert truth.ids == ("7", "8")
    assert truth.columns == {"murmur": ("Present", "Absent"), "outcome": ("Abnormal", "Normal")}
    assert moody(tmp_path, "path,Patient,outcome\n7_AV.wav,p,Normal\n").records == ("p",)
    assert moody(tmp_path, "path,outcome\n33151_AV_2.wav,Normal\n").records == ("33151",)


def test_patients_have_the_names_that_recordings_have(tmp_path: Path) -> None:
    """A gap in their column made numbers of them; a word for a gap joins no two of them."""
    text = (
        "path,patient_id,outcome\n7_AV.wav,7.0,Normal\n7_MV.wav,7.0,Normal\n8_AV.wav,nan,Normal\n9_AV.wav,nan,Normal\n"
    )
    assert moody(tmp_path, text).records == ("7", "7", "8", "9")


def test_a_column_is_taken_if_all_its_cells_are_words_of_the_question(tmp_path: Path) -> None:
    table = read_truth(
        write(
            tmp_path, "path,label,source_label,quality\na1.flac,noisy,abnormal,0\na2.flac,normal,Normal,1\na3.flac,,,\n"
        ),
        CINC2016,
    )
    assert table.columns == {"class": ("Abnormal", "Normal", None), "quality": ("noisy", "clean", None)}
    assert table.records == table.names == ("a1", "a2", "a3")
    numbers = read_truth(write(tmp_path, "file,CLASS,outcome\na1,-1,abnormal\na2,1,\n"), CINC2016)
    assert numbers.columns == {"class": ("Normal", "Abnormal")}
    # A column of another meaning, and one without cells, are passed over.
    assert moody(tmp_path, "path,murmur,label\n7_AV,,Unknown\n").columns == {"murmur": ("Unknown",)}
    assert moody(tmp_path, "path,label\n7_AV,murmur\n").columns == {}


def test_a_column_without_a_name_is_not_taken_for_one_that_is_missing(tmp_path: Path) -> None:
    # pandas writes its row numbers under an empty name.
    table = moody(tmp_path, ",path,outcome\n0,7_AV.wav,Normal\n1,7_MV.wav,Normal\n2,8_AV.wav,Abnormal\n")
    assert table.records == ("7", "7", "8")
    with pytest.raises(InputError, match="no column of recordings"):
        moody(tmp_path, ",outcome\n7_AV.wav,Normal\n")


def test_a_message_holds_no_secret_of_an_address(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are both called 7_AV") as caught:
        moody(tmp_path, "url,outcome\nhttps://h/a/7_AV.wav?sig=s3cret,Normal\nhttps://h/b/7_AV.wav?sig=s3cret,Normal\n")
    assert "s3cret" not in str(caught.value)


def test_jsonl_and_rows_without_a_path(tmp_path: Path) -> None:
    source = write(tmp_path, '{"path": "a.wav", "class": 1}\n{"path": null, "class": -1}\n', "labels.jsonl")
    assert read_truth(source, CINC2016).columns == {"class": ("Abnormal",)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "path,class\na/x.wav,1\nb/x.flac,1\n",
            r"'a/x.wav' and 'b/x.flac' are both called x.*or classify without one of their folders \(--exclude\)",
        ),
        ("name_of_it,class\nx,1\n", "no column of recordings among name_of_it, class: call it 'path'"),
        ("path,class\n", "it has no rows"),
    ],
)
def test_what_cannot_be_truth_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_truth(write(tmp_path, text), CINC2016)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: no such file"):
        read_truth(str(tmp_path / "gone.csv"), CINC2016)


def test_rows_of_a_patient_that_disagree(tmp_path: Path) -> None:
    table = moody(tmp_path, "path,outcome\n7_AV.wav,Normal\n7_MV.wav,Abnormal\n")
    with pytest.raises(InputError, match="7 has outcome Normal, and its recording 7_MV Abnormal: make them the same"):
        table.by_record()
