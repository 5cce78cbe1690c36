"""Label maps: the shipped ones, those of users, and what is wrong with one in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.databases.catalogue import DATABASES
from heartbeat_core.errors import ConfigError, HeartbeatError, InputError
from heartbeat_core.labels import ORIGINAL_LABELS, parse_cell
from jobs.listing.label_maps import LabelMap, load_label_map, parse_label_map, shipped_label_maps
from tests.layouts import write_cinc2016, write_circor, write_pascal

ANY_HEART = "normal|extrahls|murmur|extrastole"
NO_MURMUR = "normal|extrahls|extrastole"


@pytest.mark.parametrize(
    ("name", "column", "cells"),
    [
        (
            "pascal",
            None,
            {**{label: label for label in ORIGINAL_LABELS}, "noisynormal": "normal", "noisymurmur": "murmur"},
        ),
        (
            "cinc2016",
            None,
            {
                "normal": "normal",
                "-1": "normal",
                "abnormal": ANY_HEART,
                "1": ANY_HEART,
                "murmur": "murmur",
                "noisy": None,
            },
        ),
        (
            "circor-murmur",
            "finding",
            {
                "murmur": "murmur",
                "Present": "murmur",
                "normal": "normal",
                "no_murmur": NO_MURMUR,
                "Absent": NO_MURMUR,
                "Unknown": None,
            },
        ),
        ("circor-outcome", "outcome", {"Normal": "normal", "Abnormal": ANY_HEART}),
    ],
)
def test_the_shipped_maps(name: str, column: str | None, cells: dict[str, str | None]) -> None:
    shipped = load_label_map(name)
    assert shipped.column == column
    assert {word: shipped.apply(word, "row 1") for word in cells} == cells
    assert {word.casefold() for word in shipped.words} == {word.casefold() for word in cells}
    for cell in shipped.words.values():
        assert set(parse_cell(cell, name)) <= set(ORIGINAL_LABELS)


def test_these_are_shipped() -> None:
    assert shipped_label_maps() == ["cinc2016", "circor-murmur", "circor-outcome", "pascal"]


@pytest.mark.parametrize(
    ("name", "database", "writer"),
    [
        ("pascal", "pascal", write_pascal),
        ("cinc2016", "cinc2016", write_cinc2016),
        ("circor-murmur", "circor", write_circor),
        ("circor-outcome", "circor", write_circor),
    ],
)
def test_every_word_of_a_published_database_has_a_meaning(tmp_path: Path, name: str, database: str, writer) -> None:
    one = DATABASES.get(database)
    label_map = load_label_map(name)
    columns = one.read(str(writer(tmp_path / "published"))).columns
    for column in [label_map.column] if label_map.column else one.label_columns:
        cells = [label_map.apply(word, column) for word in columns[column]]
        assert {"normal"} <= set(cells)


def test_a_file_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        'column: Diagnosis\nlabels: {AS: stenosis, "MR ": " insufficiency|stenosis ", "no": "", "?": null}\n'
    )
    label_map = load_label_map(str(path))
    assert label_map.column == "Diagnosis"
    assert label_map.source == str(path)
    assert label_map.apply("as", "row 1") == "stenosis"
    assert label_map.apply(" mr", "row 1") == "insufficiency|stenosis"
    assert [label_map.apply(word, "row 1") for word in ("NO", "?", None, "", " ")] == [None] * 5
    with pytest.raises(InputError) as caught:
        label_map.apply("TR", "labels.csv, row 7")
    assert str(caught.value) == (
        f"labels.csv, row 7: the label map {path} does not have the word 'TR': it has AS, MR , no, ?"
    )


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("labels: {AS: a-b}", InputError, "m.yaml: the word 'AS': 'a-b' cannot be a label"),
        ("labels: {AS: 'a|'}", InputError, "m.yaml: the word 'AS': 'a|' has nothing on one side of a '|'"),
        ("labels: {-1: normal}", ConfigError, "m.yaml: labels: -1 is not a word in YAML: put it into quotes"),
        ("labels: {no: normal}", ConfigError, "m.yaml: labels: False is not a word in YAML: put it into quotes"),
        ("labels: {AS: 1}", ConfigError, "m.yaml: labels: AS: 1 is not a word in YAML: put the label into quotes"),
        ("labels: {AS: no}", ConfigError, "m.yaml: labels: AS: False is not a word in YAML: put the label into quotes"),
        ("labels: {AS: [a, b]}", ConfigError, "m.yaml: labels: AS: write several labels as one word, such as 'a|b'"),
        ("labels: {AS: a, as: b}", ConfigError, "m.yaml: labels: the word 'as' is empty, or occurs twice but for"),
        ("labels: {' ': a}", ConfigError, "m.yaml: labels: the word ' ' is empty, or occurs twice but for"),
        ("labels: {}", ConfigError, "m.yaml: labels: expected a word and the label that it becomes, found nothing"),
        ("labels: normal", ConfigError, "m.yaml: labels: Input should be a valid dictionary"),
        ("", ConfigError, "m.yaml: labels: Field required"),
        ("AS: a", ConfigError, "m.yaml: "),
        ("words: {AS: a}\nlabels: {AS: a}", ConfigError, "m.yaml: unknown key 'words'; allowed here: column, labels"),
        ("[a]", ConfigError, "m.yaml: expected a mapping of settings, found list"),
        ("labels: {a", ConfigError, "m.yaml: not valid YAML"),
    ],
)
def test_a_map_that_is_wrong_is_refused_in_one_line(text: str, error: type[HeartbeatError], told: str) -> None:
    with pytest.raises(error) as caught:
        parse_label_map(text, "m.yaml")
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_a_map_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_label_map("circor")
    assert str(caught.value) == (
        "unknown label map 'circor': shipped ones are cinc2016, circor-murmur, circor-outcome, pascal, or give a .yaml "
        "file"
    )
    with pytest.raises(InputError, match=r"none.yml: no such file"):
        load_label_map(str(tmp_path / "none.yml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\0")
    with pytest.raises(ConfigError, match=r"binary.yaml: not a text file"):
        load_label_map(str(tmp_path / "binary.yaml"))


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(["normal", "a|b", ""]))
def test_any_word_keeps_its_meaning_whatever_its_capitals(word: str, cell: str) -> None:
    label_map = LabelMap(words={word: cell}, source="mine.yaml")
    for spelled in (word, f" {word}\t", word.casefold()):
        assert label_map.apply(spelled, "row 1") == (cell or None)
