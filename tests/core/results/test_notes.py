"""Every column says what it is: in the Parquet field, in ``describe``, and in the file beside the tables."""

from __future__ import annotations

import pyarrow as pa
import pytest

from heartbeat_core.features.catalogue import FEATURE_SETS
from heartbeat_core.formats.kept import KeptColumn
from heartbeat_core.formats.parquet import parquet_schema, to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.results import schema
from heartbeat_core.results.evaluation import out_of_fold_schema
from heartbeat_core.results.listed import with_kept
from heartbeat_core.results.notes import describe, frictionless, with_notes
from heartbeat_core.results.patients import patients_schema
from heartbeat_core.results.reviews import REVIEWS

KEPT = (KeptColumn("Ward", "text"), KeptColumn("Age", "int64"))
WRITABLE = [one.name for one in FEATURE_SETS.all() if one.columns]
SCHEMAS = {
    "predictions": schema.predictions_schema(ORIGINAL_LABELS),
    "features": schema.features_schema(WRITABLE),
    "failures": schema.FAILURES,
    "recordings": schema.RECORDINGS,
    "reviews": REVIEWS,
    "patients": patients_schema(ORIGINAL_LABELS),
    "segments": schema.SEGMENTS,
    "holdout": schema.HOLDOUT,
    "evaluation": out_of_fold_schema(ORIGINAL_LABELS),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_has_a_method_and_a_meaning(name: str) -> None:
    for one in describe(with_notes(SCHEMAS[name])):
        assert one.meaning, one.name
        assert one.method not in ("", "kept") or one.name == "sites", one.name


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_unit_in_the_name_is_the_unit(name: str) -> None:
    endings = {"_hz": "Hz", "_s": "s", "_bpm": "bpm", "_bytes": "bytes", "_db": "dB"}
    for one in describe(with_notes(SCHEMAS[name])):
        for ending, unit in endings.items():
            if one.name.endswith(ending) and "_to_" not in one.name:  # Shares of power from one frequency to another.
                assert one.unit == unit, one.name


def test_unit_and_method_are_in_the_parquet_fields() -> None:
    table = with_kept(schema.features_schema(["aligned", "beats"]), KEPT).empty_table()
    stored = parquet_schema(to_parquet(schema.with_metadata(table, {"run_id": "r"})))
    assert stored.field("duration_s").metadata == {b"method": b"libsndfile", b"unit": b"s"}
    assert stored.field("heart_rate_bpm").metadata == {b"method": b"pcg-beats-v1", b"unit": b"bpm"}
    assert stored.field("s1_s").metadata == {b"method": b"pcg-beats-v1", b"unit": b"s"}
    assert stored.field("format").metadata == {b"method": b"libsndfile"}
    assert stored.field("ward").metadata == {b"method": b"kept"}
    assert stored.metadata[b"heartbeat.run_id"] == b"r"


def test_a_kept_column_is_not_taken_for_one_of_an_evaluation() -> None:
    kept = (KeptColumn("patient", "text"), KeptColumn("seed", "int64"), KeptColumn("state", "text"))
    found = {one.name: one for one in describe(with_notes(with_kept(schema.FAILURES, kept)))}
    assert {found[name].method for name in ("patient", "seed", "state")} == {"kept"}


def test_describe_tells_what_the_pages_tell() -> None:
    found = {one.name: one for one in describe(with_notes(SCHEMAS["features"]))}
    for name in WRITABLE:
        for column in FEATURE_SETS.get(name).stored:
            assert (found[column.name].meaning, found[column.name].unit) == (column.description, column.unit or "")
    assert found["s1_s"].type == "list<float>"
    assert found["modified_at"].type == "timestamp[us, tz=UTC]"
    assert found["header_n_samples"].may_be_null
    assert not found["n_samples"].may_be_null


def test_a_column_of_another_version_has_no_meaning_of_ours() -> None:
    newer = pa.schema([pa.field("heart_rate_bpm", pa.float32(), metadata={"method": "pcg-beats-v9", "unit": "1/min"})])
    [one] = describe(newer)
    assert (one.unit, one.method, one.meaning) == ("1/min", "pcg-beats-v9", "")


def test_results_of_earlier_releases_have_no_notes_and_are_described() -> None:
    bare = pa.schema([field.remove_metadata() for field in SCHEMAS["features"]])
    assert {one.name: one.meaning for one in describe(bare)} == {
        one.name: one.meaning for one in describe(with_notes(SCHEMAS["features"]))
    }
    assert describe(pa.schema([pa.field("ward", pa.string())]))[0].meaning == ""


def test_the_file_beside_the_tables_is_a_frictionless_table_schema() -> None:
    found = frictionless(with_kept(SCHEMAS["predictions"], KEPT))
    fields = {one["name"]: one for one in found["fields"]}
    assert list(fields) == [*SCHEMAS["predictions"].names, "ward", "age"]
    assert found["primaryKey"] == ["recording_id", "generation"]
    assert fields["confidence"] == {
        "name": "confidence",
        "type": "number",
        "description": "probability of the predicted label",
        "method": "model",
        "constraints": {"required": True},
    }
    assert {
        name: fields[name]["type"] for name in ("uri", "predicted_code", "unsure", "logits", "processed_at", "age")
    } == {
        "uri": "string",
        "predicted_code": "integer",
        "unsure": "boolean",
        "logits": "array",
        "processed_at": "datetime",
        "age": "integer",
    }
    assert "constraints" not in fields["unsure_reason"]
    assert fields["ward"]["description"] == "as in your table"
