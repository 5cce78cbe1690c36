"""PASCAL as it is published: the names of its two sets, and every damage in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.databases.pascal import PASCAL, file_stem
from heartbeat_core.errors import InputError
from tests.core.databases.damage import Damage, check_refused, edit, remove, rows, write
from tests.layouts import write_pascal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pascal(tmp_path / "pascal")


def test_every_file_has_the_label_of_its_row(folder: Path) -> None:
    table = PASCAL.read(str(folder))
    assert rows(table, "path", "label", "sublabel", "patient_id", "database") == [
        ("set_a/artifact__201012172012.wav", "artifact", None, None, "pascal-a"),
        ("set_a/extrahls__201104021355.wav", "extrahls", None, None, "pascal-a"),
        ("set_a/murmur__201104021355.wav", "murmur", None, None, "pascal-a"),
        ("set_a/normal__201102081321.wav", "normal", None, None, "pascal-a"),
        ("set_a/Aunlabelledtest__201101051105.wav", None, None, None, "pascal-a"),
        ("set_b/extrastole__127_1306764300147_C2.wav", "extrastole", None, "b127", "pascal-b"),
        ("set_b/murmur_noisymurmur_162_1307101835989_B_1.wav", "murmur", "noisymurmur", "b162", "pascal-b"),
        ("set_b/normal__105_1305033453095_A.wav", "normal", None, "b105", "pascal-b"),
        ("set_b/normal_noisynormal_105_1305033453095_C.wav", "normal", "noisynormal", "b105", "pascal-b"),
        ("set_b/Bunlabelledtest__101_1305030823364_D.wav", None, None, "b101", "pascal-b"),
    ]
    assert table.columns["device"] == ["iStethoscope (phone)"] * 5 + ["DigiScope"] * 5
    assert table.columns["record_id"][0] == "artifact__201012172012"
    assert table.segments == []
    assert PASCAL.label_columns[0] == "label"


@pytest.mark.parametrize(("letter", "other"), ["ab", "ba"])
def test_one_set_is_enough(folder: Path, letter: str, other: str) -> None:
    (folder / f"set_{other}.csv").unlink()
    for path in (folder / f"set_{other}").iterdir():
        path.unlink()
    assert set(PASCAL.read(str(folder)).columns["database"]) == {f"pascal-{letter}"}


def test_files_may_have_another_ending_or_the_names_of_the_table(folder: Path) -> None:
    for path in list((folder / "set_b").iterdir()):
        path.rename(path.with_suffix(".flac"))
    edit("set_b.csv", "Btraining_normal_105", "normal__105")(folder)
    assert "set_b/normal__105_1305033453095_A.wav" in PASCAL.read(str(folder)).columns["path"]


DAMAGES: list[tuple[Damage, str]] = [
    (
        remove("set_b/normal__105_1305033453095_A.wav"),
        "set_b/normal__105_1305033453095_A.wav: expected this recording, because set_b.csv names it, found none",
    ),
    (write("set_a/murmur__1.mp3", b""), "set_a/murmur__1.mp3: expected set_a.csv to name this recording, and it does"),
    (remove("set_a.csv"), "set_a.csv: expected this file, because it names the recordings, found none"),
    (write("set_a.csv", b"\x80"), "set_a.csv: expected a text file, found other bytes"),
    (write("set_a.csv", b""), "set_a.csv: cannot be read as a .csv table: the first line, which names the columns"),
    (write("set_a.csv", b"dataset,fname,label,sublabel\n"), "set_a.csv: expected a row a recording, found none"),
    (
        edit("set_a.csv", "fname", "file"),
        "set_a.csv: expected the columns fname, label, sublabel, found none called fname",
    ),
    (edit("set_a.csv", "artifact,\n", "artifact\n"), "set_a.csv: cannot be read as a .csv table: line 2 has 3 cells"),
    (
        edit("set_a.csv", "murmur__201104021355", "extrahls__201104021355"),
        "set_a.csv: expected each recording once, found 'set_a/extrahls__201104021355.wav' twice",
    ),
    (
        edit("set_a.csv", "set_a/artifact", "set_b/artifact"),
        "set_a.csv: expected names that begin with set_a/, found 'set_b/artifact__201012172012.wav'",
    ),
    (edit("set_a.csv", "set_a/artifact__201012172012.wav", ""), "set_a.csv: expected names that begin with set_a/, fo"),
    (
        edit("set_a.csv", ".wav,artifact", ".wav,normal"),
        "set_a.csv: expected a name of set_a with its label 'normal' and sublabel nothing, found 'set_a/artifact__2010",
    ),
    (
        edit("set_b.csv", "murmur,noisymurmur", "murmur,"),
        "set_b.csv: expected a name of set_b with its label 'murmur' ",
    ),
    (edit("set_b.csv", "D.wav,,", "D.wav,normal,"), "set_b.csv: expected a name of set_b with its label 'normal' and"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_damage_is_one_line_that_names_the_file(folder: Path, damage: Damage, told: str) -> None:
    damage(folder)
    check_refused(PASCAL, folder, told)


def test_a_name_of_the_other_set_is_refused(folder: Path) -> None:
    (folder / "set_b/normal__105_1305033453095_A.wav").rename(folder / "set_b/normal__20110208.wav")
    edit("set_b.csv", "Btraining_normal_105_1305033453095_A", "normal__20110208")(folder)
    check_refused(PASCAL, folder, "set_b.csv: expected a name of set_b with its label 'normal' and sublabel nothing")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected set_a.csv with set_a/ or set_b.csv with set_b/, found neither"):
        PASCAL.read(str(tmp_path))


WORDS = st.sampled_from(["normal", "murmur", "extrastole"])


@given(WORDS, st.sampled_from(["", "noisynormal", "noisymurmur"]), st.integers(1, 999), st.sampled_from("ABCD"))
def test_the_names_of_the_table_lead_to_the_files(label: str, sublabel: str, patient: int, place: str) -> None:
    rest = f"{patient}_1306764300147_{place}"
    in_table = f"Btraining_{label}_Btraining_{sublabel}_{rest}" if sublabel else f"Btraining_{label}_{rest}"
    assert file_stem(in_table) == f"{label}_{sublabel}_{rest}"
    # The name of a file is its own.
    assert file_stem(f"{label}_{sublabel}_{rest}") == f"{label}_{sublabel}_{rest}"
