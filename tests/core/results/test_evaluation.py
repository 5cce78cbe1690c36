"""Tables of an evaluation: read back as they were written, and every engine reads the pooled predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.formats.parquet import from_parquet, to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.results.evaluation import (
    INPUTS,
    FoldResult,
    fold_schema,
    fold_table,
    inputs_table,
    out_of_fold_schema,
    out_of_fold_table,
    table_fold,
    table_inputs,
)

OUT_OF_FOLD_COLUMNS = """
    recipe: string
    task: string
    seed: int32
    fold: int32
    recording_id: string
    uri: string
    audio_sha256: string
    patient: string
    device: string
    database: string
    label: string
    predicted_label: string
    unsure: bool
    prob_normal: double
    prob_extrahls: double
    prob_murmur: double
    prob_artifact: double
    prob_extrastole: double
"""

LABELLED = Labelled(
    recording_id=["a", "b", "c", "d"],
    uri=["file:///a ü.wav", "file:///b.wav", "file:///c.wav", "file:///d.wav"],
    audio_sha256=["0a", "0b", "0c", "0d"],
    targets=Targets.of_codes(np.array([0, 2, 4, 2])),
    groups=["patient:1", "patient:1", "recording:0c", "patient:2"],
    devices=["phone", "4000 Hz", "phone", "phone"],
    databases=["ward", "ward", "field", "ward"],
)


def result(rows: tuple[int, ...], predicted: tuple[int, ...], seed: int = 0, n_bytes: int | None = 1_234) -> FoldResult:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(5), len(rows))
    unsure = np.array(rows, np.int64) % 2 == 1
    return FoldResult(np.array(rows), np.array(predicted), probabilities, unsure, 1.25, n_bytes)


def described(schema: pa.Schema) -> list[str]:
    return [f"{field.name}: {field.type}{'?' * field.nullable}" for field in schema]


def test_the_columns_of_the_predictions_to_the_letter() -> None:
    assert described(out_of_fold_schema(ORIGINAL_LABELS)) == [
        line.strip() for line in OUT_OF_FOLD_COLUMNS.strip().splitlines()
    ]
    for schema in (INPUTS, fold_schema(ORIGINAL_LABELS), out_of_fold_schema(ORIGINAL_LABELS)):
        assert not any(field.nullable for field in schema)


@pytest.mark.parametrize("shapes", [[], [(1, 392)], [(3, 2), (1, 2), (200, 2)], [(2, 5), (4, 40)], [(0, 2), (1, 2)]])
def test_inputs_are_read_back_as_they_were(shapes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    table = inputs_table(rows)
    assert table.schema.equals(INPUTS)
    found = table_inputs(from_parquet(to_parquet(table)))
    assert [row.shape for row in found] == shapes
    for one, other in zip(found, rows, strict=True):
        assert one.dtype == np.float32
        assert np.array_equal(one, other)


def test_inputs_that_do_not_lie_in_one_piece() -> None:
    strided = np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2]
    [found] = table_inputs(inputs_table([strided]))
    assert np.array_equal(found, strided)


@pytest.mark.parametrize("n_bytes", [0, 1_234, None])
def test_a_fold_is_read_back_as_it_was(n_bytes: int | None) -> None:
    one = result((3, 0, 2), (2, 4, 0), n_bytes=n_bytes)
    found = table_fold(from_parquet(to_parquet(fold_table(one, ORIGINAL_LABELS))))
    assert found.rows.tolist() == [3, 0, 2]
    assert found.predicted.tolist() == [2, 4, 0]
    assert found.unsure.tolist() == [True, False, False]
    assert found.unsure.dtype == np.bool_
    assert found.rows.dtype == found.predicted.dtype == np.int64
    # Not a digit is lost: figures are computed from what is read back.
    assert np.array_equal(found.probabilities, one.probabilities)
    assert (found.fit_s, found.n_bytes) == (1.25, n_bytes)


def test_a_fold_without_rows() -> None:
    found = table_fold(from_parquet(to_parquet(fold_table(result((), ()), ORIGINAL_LABELS))))
    assert found.rows.shape == (0,)
    assert found.probabilities.shape == (0, 5)


def pooled() -> pa.Table:
    folds = [
        ("5 classes", 0, 0, result((1, 3), (2, 0), 1)),
        ("5 classes", 0, 1, result((0, 2), (0, 0), 2)),
        ("4 classes", 1, 0, result((2,), (4,), 3)),
    ]
    return out_of_fold_table(LABELLED, "r", iter(folds))


def test_the_pooled_rows_by_hand() -> None:
    table = pooled()
    assert table.schema.equals(out_of_fold_schema(ORIGINAL_LABELS))
    table.validate(full=True)
    rows = table.to_pylist()
    told = [(row["task"], row["seed"], row["fold"], row["recording_id"], row["predicted_label"]) for row in rows]
    assert told == [
        ("5 classes", 0, 0, "b", "murmur"),
        ("5 classes", 0, 0, "d", "normal"),
        ("5 classes", 0, 1, "a", "normal"),
        ("5 classes", 0, 1, "c", "normal"),
        ("4 classes", 1, 0, "c", "extrastole"),
    ]
    assert [row["unsure"] for row in rows] == [True, True, False, False, False]
    chances = result((1, 3), (2, 0), 1).probabilities[1].tolist()
    assert rows[1] == {
        "recipe": "r",
        "task": "5 classes",
        "seed": 0,
        "fold": 0,
        "recording_id": "d",
        "uri": "file:///d.wav",
        "audio_sha256": "0d",
        "patient": "patient:2",
        "device": "phone",
        "database": "ward",
        "label": "murmur",
        "predicted_label": "normal",
        "unsure": True,
        **dict(zip((f"prob_{label}" for label in ORIGINAL_LABELS), chances, strict=True)),
    }


def test_every_engine_reads_the_pooled_rows(tmp_path: Path) -> None:
    table = pooled()
    path = tmp_path / "r.parquet"
    path.write_bytes(to_parquet(table))
    assert pq.ParquetFile(path).num_row_groups == 1
    expected = table.to_pylist()
    assert pq.read_table(path).to_pylist() == expected
    assert duckdb.sql(f"SELECT * FROM '{path}'").to_arrow_table().to_pylist() == expected
    assert pl.read_parquet(path).to_dicts() == expected
    assert pd.read_parquet(path).to_dict("records") == expected


def test_a_fingerprint_is_of_what_a_judge_knows() -> None:
    order = [2, 0, 3, 1]
    names = ("recording_id", "uri", "audio_sha256", "groups", "devices", "databases")
    moved = {name: [getattr(LABELLED, name)[i] for i in order] for name in names}
    shuffled = replace(LABELLED, targets=LABELLED.targets.take(np.array(order)), **moved)
    elsewhere = replace(LABELLED, uri=["s3://b/x"] * 4, recording_id=["x"] * 4)
    assert shuffled.fingerprint() == LABELLED.fingerprint() == elsewhere.fingerprint()
    assert shuffled.ordered_fingerprint() != LABELLED.ordered_fingerprint() == elsewhere.ordered_fingerprint()
    others = [
        LABELLED,
        replace(LABELLED, targets=Targets.of_codes(np.array([0, 2, 4, 0]))),
        replace(
            LABELLED, targets=Targets.of_cells(["normal", "murmur", "extrastole", "normal|murmur"], ORIGINAL_LABELS)
        ),
        replace(LABELLED, databases=["ward", "ward", "field", "field"]),
        replace(LABELLED, audio_sha256=["0a", "0b", "0c", "0e"]),
        replace(LABELLED, groups=["patient:1", "patient:3", "recording:0c", "patient:2"]),
        replace(LABELLED, devices=["phone", "phone", "phone", "phone"]),
    ]
    for how in ("fingerprint", "ordered_fingerprint"):
        assert len({getattr(one, how)() for one in others}) == len(others)
