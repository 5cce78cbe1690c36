"""Labels for recordings: which row belongs to which recording, and what is listed of those that do not match."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.errors import InputError
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage.uris import query_digest
from jobs.listing.kept import PATIENT_COLUMNS
from jobs.listing.label_maps import LabelMap, load_label_map
from jobs.listing.labels import (
    DATABASE_COLUMNS,
    DEVICE_COLUMNS,
    LABEL_COLUMNS,
    LabelColumns,
    LabelRow,
    LabelTable,
    LabelWords,
    label_from_parent_folder,
    match_labels,
    read_labels,
)
from jobs.listing.listing import Listing
from tests.helpers import web_server, write_csv

PASCAL = """path,label,sublabel,patient_id
set_a/unlabelled__1.flac,,,
set_a/normal__2.flac,normal,,
set_b/murmur__3_1306_A.flac,murmur,noisymurmur,007
set_b/Bunlabelled__4.flac,,,121
"""


def recording(path: str, root: str = "/data") -> Recording:
    return Recording(f"file://{root}/{path}", path, 10)


def table(*rows: tuple[str | None, ...]) -> LabelTable:
    """Return a table of rows of path, label, patient and device; what is left out at the end is unknown."""
    return LabelTable("labels.csv", [LabelRow(*row, *[None] * (4 - len(row))) for row in rows])  # type: ignore[arg-type]


def labels_of(recordings: list[Recording]) -> list[str | None]:
    return [one.label for one in recordings]


@pytest.mark.parametrize("column", ["patient_id", "device", "database"])
def test_a_cell_that_no_table_can_hold_is_told(tmp_path: Path, column: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f'{{"path": "a.wav", "label": "normal", "{column}": "\\ud800"}}\n')
    with pytest.raises(InputError, match=rf"labels\.jsonl, row 1: the column '{column}' has '\\ud800', which is not"):
        read_labels(str(path))


def test_a_table_like_pascals(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(PASCAL)
    read = read_labels(str(path))
    assert read.rows == [
        LabelRow("set_a/unlabelled__1.flac", None, None),
        LabelRow("set_a/normal__2.flac", "normal", None),
        LabelRow("set_b/murmur__3_1306_A.flac", "murmur", "007"),
        LabelRow("set_b/Bunlabelled__4.flac", None, "121"),
    ]
    recordings = [recording(row.path) for row in read.rows]
    matching = match_labels(recordings, read)
    assert labels_of(matching.recordings) == [None, "normal", "murmur", None]
    assert [one.patient_id for one in matching.recordings] == [None, None, "007", "121"]
    assert matching.without_label == ["set_a/unlabelled__1.flac", "set_b/Bunlabelled__4.flac"]
    assert matching.without_recording == matching.ambiguous == []


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_two_columns_are_enough(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels.{suffix}"
    rows = [("x.wav", "Normal"), ("y.wav", " MURMUR "), ("z.wav", "")]
    if suffix == "csv":
        write_csv(path, ("filename", "label"), rows)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"filename": name, "label": label}) + "\n" for name, label in rows))
    else:
        pq.write_table(pa.table({"filename": [r[0] for r in rows], "label": [r[1] for r in rows]}), path)
    read = read_labels(str(path))
    assert read.rows == [
        LabelRow("x.wav", "normal", None),
        LabelRow("y.wav", "murmur", None),
        LabelRow("z.wav", None, None),
    ]


def test_a_parquet_table_with_nulls_categories_and_numbers(tmp_path: Path) -> None:
    columns = {
        "path": ["a.wav", "b.wav"],
        "label": pa.array(["artifact", None]).dictionary_encode(),
        "patient_id": pa.array([12, None], pa.int64()),
    }
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    rows = read_labels(str(tmp_path / "l.parquet")).rows
    assert rows == [LabelRow("a.wav", "artifact", "12"), LabelRow("b.wav", None, None)]


@pytest.mark.parametrize("label_column", [*LABEL_COLUMNS, "Label"])
@pytest.mark.parametrize("patient_column", [*PATIENT_COLUMNS, "Subject_ID"])
def test_columns_are_found_by_name(tmp_path: Path, label_column: str, patient_column: str) -> None:
    path = write_csv(tmp_path / "l.csv", (patient_column, label_column, "File"), [("p1", "normal", r".\sub\a.wav")])
    assert read_labels(str(path)).rows == [LabelRow("sub/a.wav", "normal", "p1")]


@pytest.mark.parametrize("database_column", [*DATABASE_COLUMNS, "Database"])
def test_a_database_column_is_found_by_name(tmp_path: Path, database_column: str) -> None:
    rows = [("a", "a.wav", "normal"), ("", "b.wav", "murmur")]
    path = write_csv(tmp_path / "l.csv", (database_column, "path", "label"), rows)
    read = read_labels(str(path))
    assert [row.database for row in read.rows] == ["a", None]
    matching = match_labels([recording("b.wav"), recording("a.wav"), recording("c.wav")], read)
    assert [one.database for one in matching.recordings] == [None, "a", None]


@pytest.mark.parametrize("device_column", [*DEVICE_COLUMNS, "Device"])
def test_a_device_column_is_found_by_name(tmp_path: Path, device_column: str) -> None:
    rows = [("phone", "a.wav", "normal"), ("", "b.wav", "murmur")]
    path = write_csv(tmp_path / "l.csv", (device_column, "path", "label"), rows)
    read = read_labels(str(path))
    assert read.rows == [LabelRow("a.wav", "normal", None, "phone"), LabelRow("b.wav", "murmur", None, None)]
    matching = match_labels([recording("b.wav"), recording("a.wav"), recording("c.wav")], read)
    assert [one.device for one in matching.recordings] == [None, "phone", None]


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "l.csv",
        ("path", "Datei", "label", "Befund", "Kind", "device", "Hörer", "database", "Quelle"),
        [("-", "a.wav", "-", "murmur", "k", "-", "h 2", "-", "q")],
    )
    columns = LabelColumns("Datei", "Befund", "Kind", "Hörer", "Quelle")
    assert read_labels(str(path), columns).rows == [LabelRow("a.wav", "murmur", "k", "h 2", "q")]


@pytest.mark.parametrize(
    ("columns", "wanted", "told"),
    [
        (("name", "label"), {}, "--label-path-column; the columns are: name, label"),
        (("path", "finding"), {}, "--label-column; the columns are: path, finding"),
        (("path", "label"), {"path": "where"}, "no column 'where'; the columns are: path, label"),
        (("path", "label"), {"label": "what"}, "no column 'what'; the columns are: path, label"),
        (("path", "label"), {"device": "with"}, "no column 'with'; the columns are: path, label"),
        (("path", "label"), {"database": "of"}, "no column 'of'; the columns are: path, label"),
    ],
)
def test_a_missing_column_is_named_with_those_that_are_there(
    tmp_path: Path, columns: tuple[str, ...], wanted: dict[str, str], told: str
) -> None:
    path = write_csv(tmp_path / "l.csv", columns, [("a.wav", "normal")])
    with pytest.raises(InputError) as caught:
        read_labels(str(path), LabelColumns(**wanted))
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(told)


def test_kept_columns_of_the_table_go_before_those_of_a_manifest(tmp_path: Path) -> None:
    header = (" Site ", "path", "label", "AGE", "patient_id")
    rows = [("AV", "a.wav", "normal", "007", "p1"), ("", "b.wav", "murmur", " ", "")]
    read = read_labels(str(write_csv(tmp_path / "l.csv", header, rows)), keep_columns=["site", "sex", "age"])
    assert [row.kept for row in read.rows] == [("AV", None, "007"), (None, None, None)]
    assert read.columns == ("Site", "path", "label", "AGE", "patient_id")
    known = {"patient_id": "p0", "kept": ("MV", "f", "1")}
    listed = [replace(recording(name), **known) for name in ("a.wav", "b.wav", "c.wav")]
    found = match_labels(listed, read).recordings
    assert [one.kept for one in found] == [("AV", "f", "007"), ("MV", "f", "1"), ("MV", "f", "1")]
    assert [one.patient_id for one in found] == ["p1", "p0", "p0"]
    # Another value is another job; two rows of one recording may not differ in it.
    assert read.fingerprint() != read_labels(str(tmp_path / "l.csv")).fingerprint()
    write_csv(tmp_path / "l.csv", header, [rows[0], ("MV", *rows[0][1:])])
    with pytest.raises(InputError, match="disagree"):
        match_labels(listed, read_labels(str(tmp_path / "l.csv"), keep_columns=["site"]))


def test_a_named_column_is_found_in_small_or_capital_letters(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "l.csv", ("Path", "Diagnosis"), [("a.wav", "normal")])
    read = read_labels(str(path), LabelColumns(path="path", label="diagnosis"))
    assert [(row.path, row.label) for row in read.rows] == [("a.wav", "normal")]


def test_a_column_of_patients_may_be_that_of_a_manifest(tmp_path: Path) -> None:
    """The listing refuses a name that neither has."""
    path = write_csv(tmp_path / "l.csv", ("path", "label", "Who"), [("a.wav", "normal", "p1")])
    read = [read_labels(str(path), LabelColumns(patient=name)).rows[0] for name in ("who", "whom")]
    assert [row.patient_id for row in read] == ["p1", None]


def test_a_kept_address_has_no_secret(tmp_path: Path) -> None:
    cells = ("https://u:hunter2@h/a.wav?sig=hunter2", "see https or a.wav?b")
    path = write_csv(tmp_path / "l.csv", ("path", "label", "source", "note"), [("a.wav", "normal", *cells)])
    assert read_labels(str(path), keep_columns=["source", "note"]).rows[0].kept == ("https://h/a.wav", cells[1])


def test_a_kept_path_has_no_secret(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "l.csv", ("url", "label"), [("https://u:hunter2@h/a.wav?sig=hunter2", "normal")])
    assert read_labels(str(path), keep_columns=["URL"]).rows[0].kept == ("https://h/a.wav",)


def test_a_name_that_cannot_be_a_column_is_named_with_its_row(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "l.csv", ("path", "label"), [("a.wav", "normal"), ("b.wav", "mid-systolic click")])
    with pytest.raises(InputError) as caught:
        read_labels(str(path))
    assert str(caught.value) == (
        f"{path}, row 2: 'mid-systolic click' cannot be a label, because it is to be a part of a column's name "
        "(prob_…): use at most 63 letters of English, digits and '_', or a --label-map that turns it into such a name"
    )


def test_labels_of_any_set_are_taken_as_found(tmp_path: Path) -> None:
    """In alphabetical order, with cells that allow several; small and capital letters do not tell labels apart."""
    rows = [("a.wav", "MS"), ("b.wav", "MR | AS|MR"), ("c.wav", ""), ("d.wav", "AS"), ("e.wav", "normal")]
    path = write_csv(tmp_path / "l.csv", ("path", "label"), rows)
    read = read_labels(str(path))
    assert read.labels == ("AS", "MR", "MS", "normal")
    assert [row.label for row in read.rows] == ["MS", "AS|MR", None, "AS", "normal"]
    matching = match_labels([recording(name) for name, _ in rows], read)
    assert labels_of(matching.recordings) == ["MS", "AS|MR", None, "AS", "normal"]
    assert matching.without_label == ["c.wav"]


def test_labels_among_the_originals_keep_all_five_and_their_codes(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "l.csv", ("path", "label"), [("a.wav", "Murmur|NORMAL"), ("b.wav", "artifact")])
    read = read_labels(str(path))
    assert read.labels == ORIGINAL_LABELS
    assert [row.label for row in read.rows] == ["normal|murmur", "artifact"]


def test_declared_labels_give_order_and_spelling(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "l.csv", ("path", "label"), [("a.wav", "mr"), ("b.wav", "AS|mr")])
    read = read_labels(str(path), words=LabelWords(("MS", "MR", "AS")))
    assert read.labels == ("MS", "MR", "AS")
    assert [row.label for row in read.rows] == ["MR", "MR|AS"]


@pytest.mark.parametrize(
    ("cells", "declared", "told"),
    [
        (
            ["AS", "MR"],
            ("AS", "MS"),
            "the label 'MR' is not one of those of --labels-are (AS, MS): add it there, or turn it into one of them "
            "with --label-map",
        ),
        (["As", "AS"], None, "the labels 'AS' and 'As' would be one column: make them one with --label-map"),
        (
            [f"p{number}" for number in range(65)],
            None,
            "65 different labels, such as 'p0' and 'p1', are more than the 64 that a model can have: is this the "
            "column of labels? Name it with --label-column",
        ),
        (["|AS", "MR"], None, ", row 1: '|AS' has nothing on one side of a '|'"),
        (["AS", "MR"], ("AS", "MR", "not ill"), ": --labels-are: 'not ill' cannot be a label, "),
        (["AS", "MR"], ("AS", "MR", "As"), ": the labels 'AS' and 'As' would be one column: "),
        (["AS", "MR"], ("AS", "MR", "AS"), ": the labels 'AS' and 'AS' would be one column: "),
    ],
)
def test_sets_of_labels_that_are_refused(
    tmp_path: Path, cells: list[str], declared: tuple[str, ...] | None, told: str
) -> None:
    rows = [(f"{number}.wav", cell) for number, cell in enumerate(cells)]
    path = write_csv(tmp_path / "l.csv", ("path", "label"), rows)
    with pytest.raises(InputError) as caught:
        read_labels(str(path), words=LabelWords(declared))
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_row_without_a_path_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "l.csv", ("path", "label"), [("a.wav", "normal"), ("", "murmur")])
    with pytest.raises(InputError, match="row 2 has no path"):
        read_labels(str(path))


def test_label_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"l\.csv: no such label file"):
        read_labels(str(tmp_path / "l.csv"))
    with pytest.raises(InputError, match=r"l\.xlsx: labels are read from \.csv, \.parquet, \.jsonl"):
        read_labels(str(tmp_path / "l.xlsx"))
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError, match=r"d\.csv: cannot be read: Is a directory"):
        read_labels(str(tmp_path / "d.csv"))


def test_the_relative_path_goes_before_the_file_name() -> None:
    recordings = [recording("a/1.wav"), recording("b/1.wav")]
    matching = match_labels(recordings, table(("b/1.wav", "murmur"), ("a/1.wav", "normal")))
    assert labels_of(matching.recordings) == ["normal", "murmur"]
    assert [one.uri for one in matching.recordings] == [one.uri for one in recordings]


def test_else_the_unique_file_name() -> None:
    matching = match_labels(
        [recording("a/1.wav"), recording("b/2.wav")],
        table(("2.wav", "murmur"), ("elsewhere/1.wav", "normal", "p")),
    )
    assert labels_of(matching.recordings) == ["normal", "murmur"]
    assert matching.recordings[0].patient_id == "p"


def test_else_the_path_or_name_without_its_audio_ending() -> None:
    matching = match_labels(
        [recording(path) for path in ("a/1.flac", "b/1.flac", "b/2.OGG", "c/patient.3.wav", "c/patient.4.wav")],
        table(
            *(("b/1.wav", "murmur"), ("2.wav", "normal"), ("patient.3", "artifact"), ("x/patient.4.flac", "extrahls")),
            *(("1", "normal"), ("2.txt", "murmur"), ("patient.5", "murmur")),
        ),
    )
    assert labels_of(matching.recordings) == [None, "murmur", "normal", "artifact", "extrahls"]
    assert matching.ambiguous == ["1"]
    assert matching.without_recording == ["2.txt", "patient.5"]


def test_a_name_without_its_ending_does_not_overrule_a_better_match() -> None:
    matching = match_labels([recording("a/1.flac")], table(("1.wav", "murmur"), ("b/1.flac", "normal")))
    assert labels_of(matching.recordings) == ["normal"]
    assert matching.without_recording == ["1.wav"]


@pytest.mark.parametrize(
    ("listed", "rows", "named"),
    [
        (["b/x.wav"], [("a.wav", "normal"), ("c.wav", "murmur")], "it has 'a.wav', and the inputs have 'b/x.wav'"),
        (["a/1.wav", "b/1.wav"], [("1.wav", "normal")], "it has '1.wav', and the inputs have 'a/1.wav'"),
    ],
)
def test_a_table_of_which_no_row_matches_is_refused(listed: list[str], rows: list[tuple[str, str]], named: str) -> None:
    with pytest.raises(InputError) as caught:
        match_labels([recording(path) for path in listed], table(*rows))
    assert str(caught.value).startswith(f"labels.csv: none of its rows belongs to exactly one recording; {named}: ")
    assert "\n" not in str(caught.value)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "l.csv", ("path", "label"), [])
    with pytest.raises(InputError, match=r"l\.csv: it has no rows"):
        read_labels(str(path))


def test_web_addresses_match_by_what_their_query_names(tmp_path: Path) -> None:
    rows = [("https://h/get?id=1&sig=hunter2", "normal"), ("https://h/get?id=2&sig=hunter2", "murmur")]
    rows += [("https://h/c.wav?sig=hunter2", "artifact")]
    listed = [*(f"{url}-again" for url, _ in rows), "https://h/e.wav?id=5&sig=hunter2"]
    manifest = write_csv(tmp_path / "m.csv", ("url",), [(url,) for url in listed])
    (tmp_path / "d.wav").write_bytes(b"x")
    recordings = list(Listing([str(manifest), str(tmp_path / "d.wav")]))
    others = [("https://h/get?id=3", "normal"), ("e.wav", "extrahls"), ("d.flac", "")]
    labels = write_csv(tmp_path / "l.csv", ("path", "label"), [*rows, *others])
    matching = match_labels(recordings, read_labels(str(labels)))
    assert labels_of(matching.recordings) == ["normal", "murmur", "artifact", "extrahls", None]
    # By its name, without the query, it is one of two.
    assert matching.ambiguous == [f"https://h/get?{query_digest('https://h/get?id=3')}"]
    assert matching.without_recording == []
    assert "hunter2" not in repr(matching)


def test_a_label_file_at_a_signed_address(tmp_path: Path) -> None:
    write_csv(tmp_path / "l.csv", ("path", "label"), [("a.wav", "normal")])
    with web_server(tmp_path) as (address, _):
        read = read_labels(f"{address}/l.csv?sig=hunter2/x.y")
    assert read.rows == [LabelRow("a.wav", "normal", None)]
    assert read.source == f"{address}/l.csv"


def test_a_file_name_that_several_share_labels_none_of_them() -> None:
    matching = match_labels(
        [recording("a/1.wav"), recording("b/1.wav"), recording("b/2.wav")],
        table(("1.wav", "murmur"), ("b/2.wav", "normal")),
    )
    assert labels_of(matching.recordings) == [None, None, "normal"]
    assert matching.ambiguous == ["1.wav"]
    assert matching.without_label == ["a/1.wav", "b/1.wav"]
    assert matching.without_recording == []


def test_equal_relative_paths_of_two_inputs_are_ambiguous() -> None:
    recordings = [recording("1.wav", "/x"), recording("1.wav", "/y"), recording("2.wav")]
    other = ("2.wav", "normal")
    matching = match_labels(recordings, table(("1.wav", "murmur"), other))
    assert labels_of(matching.recordings) == [None, None, "normal"]
    assert matching.ambiguous == ["1.wav"]
    # Two files that are inputs themselves: they have only their name in common.
    matching = match_labels(recordings, table(("x/1.wav", "murmur"), ("y/1.wav", "normal"), other))
    assert labels_of(matching.recordings) == [None, None, "normal"]
    assert matching.ambiguous == ["x/1.wav", "y/1.wav"]


def test_a_row_of_ones_own_is_not_overruled_by_a_name() -> None:
    """A part of a data set is classified; the table has rows for all of it."""
    for rows in ([("b/1.wav", "murmur"), ("a/1.wav", "normal")], [("a/1.wav", "normal"), ("b/1.wav", "murmur")]):
        matching = match_labels([recording("a/1.wav")], table(*rows))
        assert labels_of(matching.recordings) == ["normal"]
        assert matching.without_recording == ["b/1.wav"]


def test_labels_without_recording_and_recordings_without_label_are_listed() -> None:
    matching = match_labels(
        [recording("a.wav"), recording("b.wav"), recording("c.wav")],
        table(("gone.wav", "normal"), ("b.wav", "murmur"), ("c.wav", None, "p1")),
    )
    assert matching.without_recording == ["gone.wav"]
    assert matching.without_label == ["a.wav", "c.wav"]
    assert len(matching.recordings) == 3
    assert matching.recordings[2].patient_id == "p1"


def test_rows_that_disagree_are_refused() -> None:
    told = (
        r"labels\.csv: row 1 \('a/1\.wav': label normal\) and row 2 \('1\.wav': label murmur\)"
        " are of the same recording and disagree"
    )
    assert labels_of(
        match_labels([recording("a/1.wav")], table(("a/1.wav", "normal"), ("a/1.wav", "normal"))).recordings
    ) == ["normal"]
    with pytest.raises(InputError, match=r"row 1 \('a/1\.wav': label normal.* and row 2 \('a/1\.wav': label murmur"):
        match_labels([recording("a/1.wav")], table(("a/1.wav", "normal"), ("a/1.wav", "murmur")))
    with pytest.raises(InputError, match="disagree"):
        match_labels([recording("a/1.wav")], table(("a/1.wav", "normal", "p"), ("a/1.wav", "normal", "q")))
    with pytest.raises(InputError, match="disagree"):
        match_labels([recording("1.wav")], table(("1.wav", None, None, "phone"), ("1.wav", None, None, "stethoscope")))
    with_more = [
        LabelRow("1.wav", "normal", "p", database=database, kept=kept)
        for database, kept in (("a", (None, "AV")), (None, ("7", "AV")))
    ]
    of_more = LabelTable("labels.csv", with_more, ORIGINAL_LABELS, kept=("age", "site"))
    with pytest.raises(InputError, match=r"database a, age none\) and row 2 .*: database none, age 7\)"):
        match_labels([recording("1.wav")], of_more)
    with pytest.raises(InputError, match=told.replace("a/1", "x/1", 1)):
        match_labels([recording("a/1.wav")], table(("x/1.wav", "normal"), ("1.wav", "murmur")))


def test_no_recordings_and_no_rows() -> None:
    assert match_labels([], table(("a.wav", "normal"))).without_recording == ["a.wav"]
    assert match_labels([recording("a.wav")], table()).without_label == ["a.wav"]


def test_labels_from_the_parent_folder() -> None:
    matching, labels = label_from_parent_folder([recording("x/normal/a.wav"), recording("Murmur/b.wav")])
    assert labels == ORIGINAL_LABELS
    assert labels_of(matching.recordings) == ["normal", "murmur"]
    assert matching.without_label == []
    # Of a folder that is itself the input, the name counts too.
    alone, _ = label_from_parent_folder([recording("c.wav", "/data/artifact")])
    assert labels_of(alone.recordings) == ["artifact"]


def test_labels_from_folders_of_any_set() -> None:
    recordings = [recording("MS/a.wav"), recording("AS|MS/b.wav"), recording("AS/c.wav")]
    matching, labels = label_from_parent_folder(recordings)
    assert labels == ("AS", "MS")
    assert labels_of(matching.recordings) == ["MS", "AS|MS", "AS"]
    _, labels = label_from_parent_folder(recordings, LabelWords(("MS", "AS", "MR")))
    assert labels == ("MS", "AS", "MR")
    words = LabelWords(map=LabelMap(words={"present": "murmur", "unknown": ""}, source="mine.yaml"))
    matching, labels = label_from_parent_folder([recording("Present/a.wav"), recording("unknown/b.wav")], words)
    assert labels == ORIGINAL_LABELS
    assert labels_of(matching.recordings) == ["murmur", None]
    assert matching.without_label == ["unknown/b.wav"]


def test_a_folder_whose_name_cannot_be_a_label_is_refused() -> None:
    with pytest.raises(InputError, match=r"parent-folder: /data/not ill/a\.wav: 'not ill' cannot be a label, "):
        label_from_parent_folder([recording("normal/b.wav"), recording("not ill/a.wav")])


@pytest.mark.parametrize(("text", "label"), [("NORMAL", "normal"), (" extrahls\n", "extrahls"), ("", None)])
def test_case_and_space_around_a_label_do_not_count(tmp_path: Path, text: str, label: str | None) -> None:
    path = write_csv(tmp_path / "l.csv", ("path", "label"), [("a.wav", text)])
    assert [row.label for row in read_labels(str(path)).rows] == [label]


GAPS = ("nan", "NaN", "None", "NA", "n/a", " NULL ", "<NA>")


@pytest.mark.parametrize("word", GAPS)
def test_what_programs_write_for_a_missing_value_is_an_empty_cell(tmp_path: Path, word: str) -> None:
    """As a patient it would make one person of many."""
    rows = [("a.wav", "murmur", "1.0"), ("b.wav", word, word), ("c.wav", "normal", "2.0")]
    file = write_csv(tmp_path / "l.csv", ("path", "label", "patient"), rows)
    found = read_labels(str(file), keep_columns=["patient"])
    assert [row.kept for row in found.rows] == [("1",), (None,), ("2",)]  # Named as the patient is.
    assert [(row.label, row.patient_id) for row in found.rows] == [("murmur", "1"), (None, None), ("normal", "2")]
    assert found.labels == ORIGINAL_LABELS
    told = f"1 cell of the column 'label' is '{word.strip()}', which is taken for an empty cell"
    assert [note.partition(":")[0] for note in found.notes] == [told]


def test_such_a_word_is_a_label_where_the_user_names_it(tmp_path: Path) -> None:
    source = str(
        write_csv(tmp_path / "l.csv", ("path", "label"), [("a.wav", "none"), ("b.wav", "mild"), ("c.wav", "")])
    )
    declared = read_labels(source, words=LabelWords(("None", "mild")))
    assert [row.label for row in declared.rows] == ["None", "mild", None]
    named = LabelMap(words={"none": "normal", "mild": "murmur"}, source="mine.yaml")
    assert [row.label for row in read_labels(source, words=LabelWords(map=named)).rows] == ["normal", "murmur", None]
    # What the map turns words into says nothing of the words.
    other = LabelMap(words={"mild": "none"}, source="mine.yaml")
    found = read_labels(source, words=LabelWords(map=other))
    assert [row.label for row in found.rows] == [None, "none", None]
    assert not declared.notes
    assert len(found.notes) == 1


def test_a_map_turns_words_into_cells_and_names_the_column(tmp_path: Path) -> None:
    columns = ("path", "label", "finding")
    path = write_csv(tmp_path / "l.csv", columns, [("a.wav", "-", "Absent "), ("b.wav", "-", "?"), ("c.wav", "-", "")])
    words = LabelWords(map=LabelMap(column="finding", words={"absent": "normal|extrahls", "?": ""}, source="mine.yaml"))
    assert [row.label for row in read_labels(str(path), words=words).rows] == ["normal|extrahls", None, None]
    with pytest.raises(InputError) as caught:
        read_labels(str(path), LabelColumns(label="label"), words)
    assert str(caught.value) == (f"{path}, row 1: the label map mine.yaml does not have the word '-': it has absent, ?")


@pytest.mark.parametrize(
    ("name", "word", "cell"),
    [
        ("cinc2016", "-1", "normal"),
        ("cinc2016", "1", "normal|extrahls|murmur|extrastole"),
        ("circor-murmur", "Absent", "normal|extrahls|extrastole"),
        ("circor-murmur", "Unknown", None),
        ("circor-outcome", "Abnormal", "normal|extrahls|murmur|extrastole"),
        ("pascal", "noisynormal", "normal"),
    ],
)
def test_shipped_maps(tmp_path: Path, name: str, word: str, cell: str | None) -> None:
    path = write_csv(tmp_path / "l.csv", ("path", "label"), [("a.wav", word)])
    read = read_labels(str(path), words=LabelWords(map=load_label_map(name)))
    assert read.labels == ORIGINAL_LABELS
    assert [row.label for row in read.rows] == [cell]


def test_the_fingerprint_names_content(tmp_path: Path) -> None:
    assert table(("a", "normal")).fingerprint() != table(("a", "normal", None, "phone")).fingerprint()
    first = write_csv(tmp_path / "a.csv", ("path", "label"), [("1.wav", "normal"), ("2.wav", "murmur")])
    same = write_csv(tmp_path / "b.csv", ("Label", "FILE", "x"), [("Normal", "1.wav", "-"), ("murmur", "2.wav", "-")])
    other = write_csv(tmp_path / "c.csv", ("path", "label"), [("1.wav", "normal"), ("2.wav", "normal")])
    first_print, same_print, other_print = (read_labels(str(path)).fingerprint() for path in (first, same, other))
    assert first_print == same_print != other_print


folders = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
paths = st.builds("{}{}".format, folders, st.sampled_from(["", ".wav", ".WAV", ".flac", ".txt"]))


def name_of(path: str) -> str:
    return path.rpartition("/")[2]


def without_audio_ending(path: str) -> str:
    stem, dot, ending = path.rpartition(".")
    return stem if dot and ending.lower() in ("wav", "flac") else path


RULES = (lambda path: path, name_of, without_audio_ending, lambda path: without_audio_ending(name_of(path)))


@given(st.lists(paths, max_size=12, unique=True), st.lists(paths, max_size=12, unique=True))
def test_every_row_is_matched_or_listed(recorded: list[str], labelled: list[str]) -> None:
    """Against a plain reading of the rule: the first key that any recording shares decides."""
    matches: dict[str, tuple[int, list[str]]] = {}
    for row in labelled:
        found = ([path for path in recorded if rule(path) == rule(row)] for rule in RULES)
        matches[row] = next(((level, hits) for level, hits in enumerate(found) if hits), (len(RULES), []))
    unique = {row: (level, hits[0]) for row, (level, hits) in matches.items() if len(hits) == 1}
    best = {path: min(level for level, other in unique.values() if other == path) for _, path in unique.values()}
    given_rows = {row: path for row, (level, path) in unique.items() if best[path] == level}
    disagree = len(set(given_rows.values())) < len(given_rows)
    try:
        matching = match_labels(
            [recording(path) for path in recorded], table(*((one, "normal", one) for one in labelled))
        )
    except InputError:
        assert disagree or (recorded and labelled and not given_rows)
        return
    assert not disagree
    assert {one.patient_id: one.relative_path for one in matching.recordings if one.label} == given_rows
    assert [one.relative_path for one in matching.recordings] == recorded
    assert sorted(matching.ambiguous) == sorted(row for row, (_, hits) in matches.items() if len(hits) > 1)
    assert sorted([*given_rows, *matching.without_recording, *matching.ambiguous]) == sorted(labelled)
    assert len(given_rows) + len(matching.without_label) == len(recorded)
