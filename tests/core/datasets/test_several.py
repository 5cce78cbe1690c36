"""Several datasets as one: whose labels they have, what may not be in two of them, and datasets of format 1."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from heartbeat_core import storage
from heartbeat_core.datasets.dataset import (
    FACTS_NAME,
    REFERENCE_NAME,
    SCALER_NAME,
    SEGMENTS_NAME,
    Dataset,
    DatasetFacts,
)
from heartbeat_core.datasets.several import data_notes, read_labelled
from heartbeat_core.errors import DatasetError, HeartbeatError, InputError
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS, Labels
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.schema import recordings_table, segments_table
from heartbeat_core.storage.uris import ROWS_FOLDER, SUCCESS_NAME
from tests.core.conftest import make_result

VALVES: Labels = ("AS", "MR", "N")
LENGTH = 5


class Row(NamedTuple):
    """What the label file says of a recording, and its content."""

    content: str
    cell: str | None
    patient: str | None = None
    device: str | None = None
    database: str | None = None


def write(folder: Path, labels: Labels, rows: Sequence[Row], format_version: int = 2) -> Dataset:
    """Write a dataset, one part a row, as a program of this format did."""
    rng = np.random.default_rng(0)
    frames = rng.random((LENGTH, 2), np.float32)
    root = folder.as_uri()
    for number, row in enumerate(rows):
        recording = Recording(
            f"file:///r/{row.content}.wav",
            f"{row.content}.wav",
            1,
            None,
            row.cell,
            row.patient,
            row.device,
            row.database,
        )
        one = make_result(frames, recording=recording, audio_sha256=row.content * 64)
        table = recordings_table([one], None, labels)
        if format_version == 1:
            table = table.drop_columns(["database"])
        storage.create(f"{root}/{ROWS_FOLDER}/part-{number:06d}.parquet", to_parquet(table))
    facts = DatasetFacts(
        recipe=Recipe(name="x"),
        labels=labels,
        layout="compact",
        length_frames=LENGTH,
        reference_recording_id="0" * 16,
        reference_audio_sha256="0" * 64,
        reference_sample_rate_hz=4_000,
        n_rows=len(rows),
        n_failures=0,
        rows_by_label={},
        run_id="run",
    ).model_dump(mode="json")
    if format_version == 1:
        del facts["labels"]
        facts["format_version"] = 1
    ones = np.ones((LENGTH, 2))
    storage.create(f"{root}/{REFERENCE_NAME}", safetensors.numpy.save({"reference.frames": frames}))
    storage.create(f"{root}/{SCALER_NAME}", safetensors.numpy.save({"scaler.mean": ones, "scaler.scale": ones}))
    storage.create(f"{root}/{FACTS_NAME}", json.dumps(facts).encode())
    storage.create(f"{root}/{SUCCESS_NAME}", b"")
    return Dataset(folder)


def refusal(call: Callable[[], object], error: type[HeartbeatError] = DatasetError) -> str:
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_rows_of_two_datasets_follow_each_other(tmp_path: Path) -> None:
    first = write(
        tmp_path / "ward",
        ("N", "AS"),
        [Row("a", "AS", "7", "phone"), Row("b", None, "8"), Row("c", "N|AS"), Row("d", "N")],
    )
    second = write(
        tmp_path / "field",
        VALVES,
        [Row("e", "AS|MR", "7", None, "north"), Row("f", "N", None, "phone", "south"), Row("9", "AS|MR|N")],
    )
    both = read_labelled([first, second])
    # A row without a label, and one that may have all labels of its dataset, say nothing.
    assert both.audio_sha256 == [letter * 64 for letter in "adef"]
    assert both.targets.labels == VALVES
    assert both.targets.cells() == ["AS", "N", "AS|MR", "N"]
    assert both.codes.tolist() == [0, 2, -1, 2]
    assert both.uri == [f"file:///r/{letter}.wav" for letter in "adef"]
    assert both.recording_id == [*first.labelled().recording_id, *second.labelled().recording_id]
    # A patient's number is the same person in both.
    assert both.groups == ["patient:7", f"recording:{'d' * 64}", "patient:7", f"recording:{'f' * 64}"]
    assert both.devices == ["phone", "4000 Hz", "4000 Hz", "phone"]
    assert both.databases == ["ward", "ward", "north", "south"]
    turned = read_labelled([second, first])
    assert turned.targets.labels == VALVES
    assert turned.audio_sha256 == [letter * 64 for letter in "efad"]
    assert turned.fingerprint() == both.fingerprint()
    assert turned.ordered_fingerprint() != both.ordered_fingerprint()


def test_one_dataset_is_as_it_is(tmp_path: Path) -> None:
    one = write(tmp_path / "x", VALVES, [Row("a", "AS"), Row("a", "MR")])
    # Within one dataset, a file may be there twice.
    assert read_labelled([one]).audio_sha256 == ["a" * 64] * 2
    assert read_labelled([one]).ordered_fingerprint() == one.labelled().ordered_fingerprint()
    assert read_labelled([one]).targets.labels == VALVES


def test_a_recording_that_is_in_two_datasets_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "x", VALVES, [Row("a", "AS"), Row("b", "N"), Row("c", "N")])
    second = write(tmp_path / "y", VALVES, [Row("d", "AS"), Row("b", "N"), Row("c", "MR")])
    assert refusal(lambda: read_labelled([first, second])) == (
        f"2 recordings are in {tmp_path}/x and in {tmp_path}/y, the first has the SHA-256 bbbbbbbbbbbb…: leave one of "
        "the datasets out, or build it without these recordings"
    )
    assert f"3 recordings are in {tmp_path}/x and in {tmp_path}/x" in refusal(lambda: read_labelled([first, first]))


def test_a_folder_that_stands_for_another_datasets_database_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "x", VALVES, [Row("a", "AS"), Row("b", "N", database="pascal")])
    for number, (folder, database) in enumerate((("y", "x"), ("q/x", None))):
        second = write(tmp_path / folder, VALVES, [Row(str(number), "AS", database=database)])
        for pair in ([first, second], [second, first]):
            text = refusal(partial(read_labelled, pair))
            assert "both have a database 'x': give the label file a column 'database', or rename the folder" in text


def test_parts_of_one_database_go_together(tmp_path: Path) -> None:
    first = write(tmp_path / "circor", VALVES, [Row("a", "AS", database="circor")])
    second = write(tmp_path / "more", VALVES, [Row("b", "N", database="circor")])
    assert read_labelled([first, second]).databases == ["circor"] * 2


def test_datasets_whose_labels_do_not_go_together_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "x", VALVES, [Row("a", "AS")])
    second = write(tmp_path / "y", ("AS", "TR"), [Row("b", "AS")])
    text = refusal(lambda: read_labelled([first, second]), InputError)
    assert text.startswith("the datasets have different labels: ")
    assert f"{tmp_path}/x" in text
    assert f"{tmp_path}/y" in text
    assert "--label-map" in text


@pytest.mark.parametrize("format_version", [1, 2])
def test_a_dataset_of_format_1_is_still_read(tmp_path: Path, format_version: int) -> None:
    rows = [Row("a", "murmur", "7", "phone"), Row("b", None), Row("c", "normal")]
    dataset = write(tmp_path / "old", ORIGINAL_LABELS, rows, format_version)
    stored = pq.read_schema(tmp_path / "old" / ROWS_FOLDER / "part-000000.parquet").names
    assert ("database" in stored) == (format_version == 2)
    assert dataset.facts.format_version == format_version
    assert dataset.facts.labels == ORIGINAL_LABELS
    labelled = dataset.labelled()
    assert labelled.codes.tolist() == [2, 0]
    assert labelled.groups == ["patient:7", f"recording:{'c' * 64}"]
    assert labelled.databases == ["old", "old"]
    assert dataset.rows().codes.tolist() == [2, -1, 0]
    assert dataset.rows().databases == ["old"] * 3
    assert dataset.rows().devices == ["phone", "4000 Hz", "4000 Hz"]
    assert dataset.segments() == {}


def test_a_fingerprint_is_that_of_format_1_while_there_is_one_database(tmp_path: Path) -> None:
    rows = [Row("a", "murmur", "7", "phone"), Row("b", None), Row("c", "normal")]
    old, new = (write(tmp_path / str(number), ORIGINAL_LABELS, rows, number) for number in (1, 2))
    assert old.labelled().fingerprint() == new.labelled().fingerprint()
    assert old.rows().fingerprint() == new.rows().fingerprint()
    parted = write(tmp_path / "3", ORIGINAL_LABELS, [rows[0], rows[1], rows[2]._replace(database="other")])
    assert parted.labelled().fingerprint() != new.labelled().fingerprint()
    assert parted.rows().fingerprint() == new.rows().fingerprint()


def test_old_and_new_datasets_go_together(tmp_path: Path) -> None:
    old = write(tmp_path / "old", ORIGINAL_LABELS, [Row("a", "murmur", "7")], 1)
    new = write(tmp_path / "new", ("normal", "murmur"), [Row("b", "normal", "7")])
    both = read_labelled([new, old])
    assert both.targets.labels == ORIGINAL_LABELS
    assert both.targets.cells() == ["normal", "murmur"]
    assert both.databases == ["new", "old"]


def test_rows_keep_what_their_cells_say(tmp_path: Path) -> None:
    cells = ["AS", "MR|N", None, "AS|MR|N", "N"]
    dataset = write(tmp_path / "x", VALVES, [Row(str(number), cell) for number, cell in enumerate(cells)])
    rows = dataset.rows()
    assert rows.targets.labels == VALVES
    assert rows.targets.cells() == cells
    assert rows.take(np.array([1, 0])).targets.cells() == ["MR|N", "AS"]
    assert rows.take(np.array([1, 0])).databases == ["x", "x"]
    table = pq.read_table(tmp_path / "x" / ROWS_FOLDER / "part-000001.parquet")
    assert table.column("label_code").to_pylist() == [None]
    assert dataset.labelled().targets.cells() == ["AS", "MR|N", "N"]


def test_a_label_that_the_facts_do_not_name_is_an_error(tmp_path: Path) -> None:
    dataset = write(tmp_path / "x", VALVES, [Row("a", "TR")])
    for read in (dataset.labelled, dataset.rows):
        assert refusal(read) == (
            f"{tmp_path}/x: a recording has the label 'TR', which is not one of those of _dataset.json (AS, MR, N): "
            "build the dataset again"
        )


def test_segments_are_read_by_recording(tmp_path: Path) -> None:
    dataset = write(tmp_path / "x", VALVES, [Row("a", "AS")])
    told: list[tuple[str, float, float, int]] = [("r1", 0.0, 0.5, 1), ("r2", 0.25, 0.5, 4), ("r1", 0.5, 0.75, 2)]
    storage.create(f"{(tmp_path / 'x').as_uri()}/{SEGMENTS_NAME}", to_parquet(segments_table(told)))
    found: dict[str, Any] = dataset.segments()
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "r1": [[0.0, 0.5, 1.0], [0.5, 0.75, 2.0]],
        "r2": [[0.25, 0.5, 4.0]],
    }


def test_people_who_share_a_recording_are_one(tmp_path: Path) -> None:
    shared = [Row("a", "AS", "1"), Row("b", "MR", "1"), Row("b", "N", "2"), Row("c", "N", "2"), Row("c", "N")]
    rows = [*shared, Row("d", "N")]
    dataset = write(tmp_path / "x", VALVES, rows)
    found = read_labelled([dataset])
    assert found.groups[:5] == ["patient:1"] * 5
    assert found.groups[5] == f"recording:{'d' * 64}"
    assert dataset.labelled().groups[2] == "patient:2"
    told = "4 recordings have audio that occurs more than once, and 2 of them have different labels there: correct the"
    assert [note[: len(told)] for note in data_notes([], found)] == [told]
    other = write(tmp_path / "y", VALVES, [Row("e", "N", "2"), Row("f", "AS", "3")])
    assert read_labelled([dataset, other]).groups[6:] == ["patient:1", "patient:3"]
    assert data_notes([Recipe(name="mine")], other.labelled()) == []


def test_labels_of_a_recipe_that_the_datasets_lack_are_named(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {
            "name": "mine",
            "decision": {"odds": {"labels": ["AS", "MRR"], "times": 2}},
            "bagging": {"specialists": {"part": "statistics", "labels": ["As"]}},
        }
    )
    [note] = data_notes([recipe], write(tmp_path / "x", VALVES, [Row("a", "AS"), Row("b", "N")]).labelled())
    assert "'MRR' (decision.odds), 'As' (bagging.specialists)" in note
    assert note.endswith("they have AS, MR, N")


def test_people_are_one_through_a_chain_of_recordings(tmp_path: Path) -> None:
    rows = [Row("a", "AS", "1"), Row("a", "AS", "3"), Row("b", "MR", "2"), Row("b", "MR", "3"), Row("c", "N", "4")]
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        found = read_labelled([write(folder, VALVES, order)])
        assert dict(zip(found.audio_sha256, found.groups, strict=True)) == {
            "a" * 64: "patient:1",
            "b" * 64: "patient:1",
            "c" * 64: "patient:4",
        }
