"""The tables' columns, to the letter, and the same values in every engine that reads them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heartbeat_core.alignment.placement import Placement
from heartbeat_core.audio.quality import Quality
from heartbeat_core.bundles.predictions import Predictions
from heartbeat_core.bundles.servable import Holdout
from heartbeat_core.features.catalogue import FEATURE_SETS
from heartbeat_core.features.statistics_columns import NAMES
from heartbeat_core.formats import columns
from heartbeat_core.formats.kept import KeptColumn
from heartbeat_core.formats.parquet import from_parquet, to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Failure, Recording
from heartbeat_core.results import plan, schema

NOW = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)
MODIFIED = datetime(2023, 12, 24, 18, tzinfo=UTC)
LISTED = {"relative_path": "3 ü.wav", "modified_at": MODIFIED, "patient_id": "007"}

PREDICTIONS = """
    recording_id: string
    uri: string
    audio_sha256: string
    predicted_label: string
    predicted_code: int8
    confidence: float
    unsure: bool
    unsure_reason: string?
    prob_normal: float
    prob_extrahls: float
    prob_murmur: float
    prob_artifact: float
    prob_extrastole: float
    logits: list<float>
    model_id: string
    recipe: string
    generation: int32
    run_id: string
    processed_at: timestamp[us, tz=UTC]
    relative_path: string
    modified_at: timestamp[us, tz=UTC]?
    patient_id: string?
"""
FEATURE_COLUMNS = """
    recording_id: string
    uri: string
    audio_sha256: string
    size_bytes: int64
    format: string
    subtype: string
    sample_rate_hz: int32
    channels: int16
    n_samples: int64
    duration_s: double
    header_n_samples: int64?
    truncated: bool
    peak_amplitude: double
    rms_amplitude: double
    dc_offset: double
    clipped_fraction: double
    silent_fraction: double
    n_frames: int32
    n_frames_cut: int32
    offset_frames: int32
    alignment_distance: double
    frequency_hz: list<float>
    amplitude: list<float>
"""
FACT_COLUMNS = FEATURE_COLUMNS[: FEATURE_COLUMNS.index("    n_frames:")]
STATISTICS_COLUMNS = "".join(f"    {name}: float\n" for name in NAMES)
FEATURES = {
    "aligned": f"""{FEATURE_COLUMNS}
    generation: int32
    relative_path: string
    modified_at: timestamp[us, tz=UTC]?
    patient_id: string?
    encoded_uri: string
""",
    "statistics": f"""{FACT_COLUMNS}
{STATISTICS_COLUMNS}
    generation: int32
    relative_path: string
    modified_at: timestamp[us, tz=UTC]?
    patient_id: string?
    encoded_uri: string
""",
    "both": f"""{FEATURE_COLUMNS}
{STATISTICS_COLUMNS}
    generation: int32
    relative_path: string
    modified_at: timestamp[us, tz=UTC]?
    patient_id: string?
    encoded_uri: string
""",
}
RECORDINGS = f"""{FEATURE_COLUMNS}
    label: string?
    label_code: int8?
    patient_id: string?
    device: string?
    database: string?
    relative_path: string
    modified_at: timestamp[us, tz=UTC]?
"""
FAILURES = """
    recording_id: string
    uri: string
    size_bytes: int64?
    stage: string
    error_type: string
    message: string
    generation: int32
    run_id: string
    failed_at: timestamp[us, tz=UTC]
    relative_path: string
    modified_at: timestamp[us, tz=UTC]?
    patient_id: string?
"""
PLAN = """
    shard: int32
    uri: string
    relative_path: string
    size_bytes: int64?
    version: string?
    label: string?
    patient_id: string?
    device: string?
    database: string?
    manifest: string?
    manifest_row: int64?
    query_digest: string?
    modified: timestamp[us, tz=UTC]?
    kept: list<string?>
    stored_in: string?
    sealed: string?
"""
KEPT = """
    age: int64?
    height_m: double?
    pregnant: bool?
    recorded_at: timestamp[us, tz=UTC]?
    site: string?
"""
KEPT_COLUMNS = (
    KeptColumn("Age", "int64"),
    KeptColumn("Height (m)", "float64"),
    KeptColumn("pregnant", "bool"),
    KeptColumn("recordedAt", "timestamp"),
    KeptColumn("site", "text"),
)
KEPT_CELLS = ("12", "1.5", "False", "2024-02-29T23:00:00+01:00", "AV")
KEPT_VALUES = {
    "age": 12,
    "height_m": 1.5,
    "pregnant": False,
    "recorded_at": datetime(2024, 2, 29, 22, tzinfo=UTC),
    "site": "AV",
}
HOLDOUT = """
    audio_sha256: string
    label: string
    predicted_label: string
    logits: list<float>
"""

NAMED_IN_THE_ISSUE = {
    "PREDICTIONS": (
        "recording_id uri audio_sha256 predicted_label predicted_code confidence unsure unsure_reason prob_normal "
        "prob_extrahls prob_murmur prob_artifact prob_extrastole model_id recipe run_id processed_at"
    ),
    "FEATURES": (
        "recording_id uri audio_sha256 size_bytes format sample_rate_hz channels n_samples duration_s truncated "
        "peak_amplitude rms_amplitude dc_offset clipped_fraction silent_fraction "
        "n_frames offset_frames alignment_distance frequency_hz amplitude"
    ),
    "FAILURES": "recording_id uri size_bytes stage error_type message run_id failed_at",
}


def described(table_schema: pa.Schema) -> list[str]:
    """Return one ``name: type`` a column, with ``?`` where it may be null."""
    kinds = {columns.FLOATS: "list<float>", columns.TEXTS: "list<string?>"}
    return [f"{field.name}: {kinds.get(field.type, field.type)}{'?' * field.nullable}" for field in table_schema]


def result(n_frames: int = 3, *, label: str | None = "murmur", patient_id: str | None = "007") -> RecordingResult:
    rng = np.random.default_rng(n_frames)
    device, database = (None, None) if label is None else ("phone", "ward")
    recording = Recording(
        *(f"file:///r/{n_frames} ü.wav", f"{n_frames} ü.wav", 99, None, label, patient_id, device, database),
        modified=None if label is None else MODIFIED,
        kept=(None,) * 5 if label is None else KEPT_CELLS,
    )
    return RecordingResult(
        recording=recording,
        audio_sha256=f"{n_frames:064x}",
        size_bytes=2**33,
        format="WAV",
        subtype="PCM_16",
        sample_rate_hz=4_000,
        channels=2,
        n_samples=2**33,
        duration_s=0.1,
        header_n_samples=None if n_frames % 2 else 8,
        truncated=bool(n_frames % 2),
        quality=Quality(0.5, 0.25, -1e-9, 0.0, 1.0),
        frames=rng.random((n_frames, 2), np.float32),
        n_frames_cut=1,
        placement=Placement(2, n_frames, 12.5),
        features={
            "statistics": rng.standard_normal(len(NAMES)).astype(np.float32),
            "beats": rng.standard_normal(len(FEATURE_SETS.get("beats").names)).astype(np.float32),
        },
        lists={"s1_s": rng.random(n_frames, np.float32), "s2_s": np.empty(0, np.float32)},
    )


def predictions(results: list[RecordingResult], now: datetime = NOW, kept: Sequence[KeptColumn] = ()) -> pa.Table:
    n = len(results)
    probabilities = np.tile(np.float32([0.125, 0.0, 0.5, 0.0, 0.375]), (n, 1))
    logits = np.arange(5 * n, dtype=np.float32).reshape(n, 5)
    reasons = ["low_confidence,poor_quality", None]
    scores = Predictions(logits, probabilities, np.full(n, 2), [reasons[number % 2] for number in range(n)])
    return schema.predictions_table(
        *(results, scores, ORIGINAL_LABELS),
        model_id="m@0",
        recipe="r",
        generation=7,
        run_id="run",
        now=now,
        kept=kept,
    )


BEATS = FEATURE_SETS.get("beats")
SETS = {"beats": ("beats",), "aligned": ("aligned",), "statistics": ("statistics",), "both": ("aligned", "statistics")}


def features(results: list[RecordingResult], which: str = "aligned", kept: Sequence[KeptColumn] = ()) -> pa.Table:
    return schema.features_table(results, SETS[which], generation=7, kept=kept)


def recordings(
    results: list[RecordingResult], padded_length: int | None = None, kept: Sequence[KeptColumn] = ()
) -> pa.Table:
    return schema.recordings_table(results, padded_length, ORIGINAL_LABELS, kept)


def failures(rows: list[Failure], kept: Sequence[KeptColumn] = ()) -> pa.Table:
    return schema.failures_table(rows, generation=7, run_id="run", now=NOW, kept=kept)


def failure(**changes: object) -> Failure:
    fields = {"recording": Recording("s3://b/k?x", "k", None), "stage": "read", "error_type": "not_found"}
    return Failure(**fields | {"message": "gone"} | changes)  # type: ignore[arg-type]


def tables() -> dict[str, tuple[pa.Table, pa.Table, str]]:
    """Return a full and an empty table of each kind, and its columns."""
    results = [result(3), result(4, label=None, patient_id=None)]
    shards = [(4, [one.recording for one in results]), (5, [Recording("memory://x", "x")])]
    codes, logits = np.array([2, 0]), np.zeros((2, 5), np.float32)
    failed = [failure(recording=one.recording) for one in results]
    kept = KEPT_COLUMNS
    targets = Targets.of_codes(codes)
    return {
        "predictions with kept columns": (
            *(predictions(results, kept=kept), predictions([], kept=kept), PREDICTIONS + KEPT),
        ),
        "features with kept columns": (
            *(features(results, kept=kept), features([], kept=kept), FEATURES["aligned"] + KEPT),
        ),
        "recordings with kept columns": (
            *(recordings(results, kept=kept), recordings([], kept=kept), RECORDINGS + KEPT),
        ),
        "failures with kept columns": (failures(failed, kept), failures([], kept), FAILURES + KEPT),
        "predictions": (predictions(results), predictions([]), PREDICTIONS),
        "features": (features(results), features([]), FEATURES["aligned"]),
        "statistics": (features(results, "statistics"), features([], "statistics"), FEATURES["statistics"]),
        "features of both sets": (features(results, "both"), features([], "both"), FEATURES["both"]),
        "recordings": (recordings(results), recordings([]), RECORDINGS),
        "padded": (recordings(results, 9), recordings([], 9), RECORDINGS),
        "failures": (failures([failure()]), failures([]), FAILURES),
        "plan": (plan.plan_table(shards), plan.plan_table([]), PLAN),
        "holdout": (
            schema.holdout_table(Holdout(["a", "b"], targets, codes, logits)),
            schema.holdout_table(Holdout([], targets.take(codes[:0]), codes[:0], logits[:0])),
            HOLDOUT,
        ),
    }


KINDS = sorted(tables())


@pytest.mark.parametrize("kind", KINDS)
def test_columns_types_and_nulls_are_as_written_here(kind: str) -> None:
    full, empty, columns = tables()[kind]
    expected = columns.split("\n")
    assert described(full.schema) == [line.strip() for line in expected if line.strip()]
    assert full.num_rows > 0
    assert empty.num_rows == 0
    assert empty.schema == full.schema
    assert not any(pa.types.is_null(field.type) for field in full.schema)
    full.validate(full=True)
    empty.validate(full=True)


@pytest.mark.parametrize("name", NAMED_IN_THE_ISSUE)
def test_the_columns_that_were_asked_for_are_there_in_their_order(name: str) -> None:
    wanted = NAMED_IN_THE_ISSUE[name].split()
    found = {
        "PREDICTIONS": schema.predictions_schema(ORIGINAL_LABELS),
        "FEATURES": schema.features_schema(["aligned"]),
        "FAILURES": schema.FAILURES,
    }[name]
    assert [column for column in found.names if column in wanted] == wanted


def test_a_datasets_rows_are_the_features_and_what_is_known() -> None:
    of_features = [name for name in schema.features_schema(["aligned"]).names if name != "generation"]
    assert schema.RECORDINGS.names == [
        *(name for name in of_features if name not in {*LISTED, "encoded_uri"}),
        *("label", "label_code", "patient_id", "device", "database", "relative_path", "modified_at"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_has_the_same_schema_when_it_is_read_back_empty_or_not(kind: str) -> None:
    full, empty, _ = tables()[kind]
    for table in (full, empty):
        read = from_parquet(to_parquet(table))
        assert read.schema.equals(table.schema)
        assert described(read.schema) == described(full.schema)
        assert read.equals(table)


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_group_zstd_and_no_index_column(kind: str) -> None:
    full, empty, _ = tables()[kind]
    file = pq.ParquetFile(io.BytesIO(to_parquet(full)))
    assert file.num_row_groups == 1
    columns = [file.metadata.row_group(0).column(i) for i in range(file.metadata.num_columns)]
    plain = {column.name for column in full.schema if column.type == pa.float32()}
    assert {one.path_in_schema for one in columns if one.compression == "UNCOMPRESSED"} == plain
    assert {one.compression for one in columns} <= {"ZSTD", "UNCOMPRESSED"}
    assert b"pandas" not in (file.schema_arrow.metadata or {})
    assert pq.ParquetFile(io.BytesIO(to_parquet(empty))).num_row_groups <= 1
    physical = {file.metadata.schema.column(i).physical_type for i in range(file.metadata.num_columns)}
    assert "INT96" not in physical


def test_many_rows_still_make_one_row_group() -> None:
    results = [result(1)] * 3_000
    file = pq.ParquetFile(io.BytesIO(to_parquet(features(results))))
    assert (file.num_row_groups, file.metadata.num_rows) == (1, 3_000)


def test_predictions_by_hand() -> None:
    one = result(3)
    row = predictions([one]).to_pylist()[0]
    assert row == {
        "recording_id": one.recording.recording_id,
        "uri": "file:///r/3 ü.wav",
        "audio_sha256": f"{3:064x}",
        "predicted_label": "murmur",
        "predicted_code": 2,
        "confidence": 0.5,
        "unsure": True,
        "unsure_reason": "low_confidence,poor_quality",
        "prob_normal": 0.125,
        "prob_extrahls": 0.0,
        "prob_murmur": 0.5,
        "prob_artifact": 0.0,
        "prob_extrastole": 0.375,
        "logits": [0, 1, 2, 3, 4],
        "model_id": "m@0",
        "recipe": "r",
        "generation": 7,
        "run_id": "run",
        "processed_at": NOW,
        **LISTED,
    }


def test_a_sure_prediction_has_no_reason() -> None:
    sure = predictions([result(3), result(4)]).to_pylist()[1]
    assert sure["unsure"] is False
    assert sure["unsure_reason"] is None


def test_features_by_hand() -> None:
    one = result(3)
    row = features([one]).to_pylist()[0]
    assert row == {
        "recording_id": one.recording.recording_id,
        "uri": "file:///r/3 ü.wav",
        "encoded_uri": "file:///r/3%20%C3%BC.wav",
        "audio_sha256": f"{3:064x}",
        "size_bytes": 2**33,
        "format": "WAV",
        "subtype": "PCM_16",
        "sample_rate_hz": 4_000,
        "channels": 2,
        "n_samples": 2**33,
        "duration_s": 0.1,
        "header_n_samples": None,
        "truncated": True,
        "peak_amplitude": 0.5,
        "rms_amplitude": 0.25,
        "dc_offset": -1e-9,
        "clipped_fraction": 0.0,
        "silent_fraction": 1.0,
        "n_frames": 3,
        "n_frames_cut": 1,
        "offset_frames": 2,
        "alignment_distance": 12.5,
        "frequency_hz": one.frames[:, 0].tolist(),
        "amplitude": one.frames[:, 1].tolist(),
        "generation": 7,
        **LISTED,
    }


@pytest.mark.parametrize("which", ["statistics", "both"])
def test_each_statistic_is_a_column_of_its_name(which: str) -> None:
    results = [result(3), result(4)]
    for row, one in zip(features(results, which).to_pylist(), results, strict=True):
        assert {name: row[name] for name in NAMES} == dict(zip(NAMES, one.features["statistics"].tolist(), strict=True))
        assert ("frequency_hz" in row) == (which == "both")


def test_lists_are_columns_behind_the_single_values() -> None:
    results = [result(3), result(4)]
    assert features([], "beats").schema == features(results, "beats").schema
    columns = [name for name in features([], "beats").column_names if name in {column.name for column in BEATS.stored}]
    assert columns == [*BEATS.names, "s1_s", "s2_s"]
    for row, one in zip(features(results, "beats").to_pylist(), results, strict=True):
        assert row["heart_rate_bpm"] == one.features["beats"][0]
        assert row["s1_s"] == one.lists["s1_s"].tolist()
        assert row["s2_s"] == []


def test_the_order_in_which_sets_are_named_does_not_matter() -> None:
    assert schema.features_schema(["statistics", "aligned"]) == schema.features_schema(["aligned", "statistics"])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith("with kept columns")])
def test_kept_values_have_the_type_of_their_column(kind: str) -> None:
    first, second = tables()[kind][0].to_pylist()
    assert {name: first[name] for name in KEPT_VALUES} == KEPT_VALUES
    assert {second[name] for name in KEPT_VALUES} == {None}
    assert (first["modified_at"], second["modified_at"]) == (MODIFIED, None)
    assert (first["relative_path"], first["patient_id"]) == ("3 ü.wav", "007")


def test_statistics_that_nobody_computed_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="a result has none"):
        features([replace(result(3), features={})], "statistics")


def test_a_padded_row_has_its_zeros_and_a_compact_one_has_none() -> None:
    one = result(3)
    [compact] = recordings([one]).to_pylist()
    [padded] = recordings([one], 9).to_pylist()
    for name in ("frequency_hz", "amplitude"):
        assert padded[name] == [0, 0, *compact[name], 0, 0, 0, 0]
    assert {name: value for name, value in padded.items() if name not in ("frequency_hz", "amplitude")} == {
        name: value for name, value in compact.items() if name not in ("frequency_hz", "amplitude")
    }
    known = ("label", "label_code", "patient_id", "device", "database")
    assert [compact[name] for name in known] == ["murmur", 2, "007", "phone", "ward"]


def test_what_is_not_known_is_null() -> None:
    [row] = recordings([result(4, label=None, patient_id=None)]).to_pylist()
    assert [row[name] for name in ("label", "label_code", "patient_id", "device", "database")] == [None] * 5
    assert row["header_n_samples"] == 8
    [failed] = failures([failure()]).to_pylist()
    assert failed == {
        "recording_id": Recording("s3://b/k?x", "k").recording_id,
        "uri": "s3://b/k?x",
        "size_bytes": None,
        "stage": "read",
        "error_type": "not_found",
        "message": "gone",
        "generation": 7,
        "run_id": "run",
        "failed_at": NOW,
        "relative_path": "k",
        "modified_at": None,
        "patient_id": None,
    }


def test_no_secret_of_an_address_is_written() -> None:
    secret = Recording("https://user:hunter2@host/a.wav?token=hunter2#hunter2", "a.wav", 1)
    one = replace(result(3), recording=secret)
    parts = [
        predictions([one]),
        features([one]),
        recordings([one]),
        failures([failure(recording=secret)]),
    ]
    for table in parts:
        assert "hunter2" not in str(table.to_pylist())
        assert table.column("uri").to_pylist() == ["https://host/a.wav"]


def test_times_of_any_zone_are_written_in_utc() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    assert predictions([result()], elsewhere).equals(predictions([result()], NOW))


def test_a_missing_value_where_none_may_be_is_no_silent_null() -> None:
    table = failures([failure(message=None)])
    with pytest.raises(pa.ArrowInvalid, match="message"):
        to_parquet(table)


def test_metadata_carry_the_schemas_version_and_the_provenance() -> None:
    table = schema.with_metadata(predictions([result()]), {"run_id": "run", "model_id": "m@0"})
    metadata = pq.ParquetFile(io.BytesIO(to_parquet(table))).metadata.metadata
    ours = {key: value for key, value in metadata.items() if key.startswith(b"heartbeat.")}
    assert ours == {
        b"heartbeat.schema_version": str(schema.SCHEMA_VERSION).encode(),
        b"heartbeat.run_id": b"run",
        b"heartbeat.model_id": b"m@0",
    }
    assert from_parquet(to_parquet(table)).schema.metadata == ours


def test_a_plan_is_read_back_as_it_was() -> None:
    recordings = [
        Recording("file:///r/a b.wav", "a b.wav", 0, "0-17", "normal", "007", "phone"),
        Recording("s3://b/k?x#y", "k", None, "3f5e-2", modified=MODIFIED, kept=("ü", None, "")),
        Recording("file:///r/line\nbreak.wav", "line\nbreak.wav", 2**40, None, None, "p"),
        Recording("https://host/a.wav", "a.wav", manifest="s3://b/m.csv", manifest_row=2**40, query_digest="0f"),
    ]
    shards = [(41, recordings[:1]), (42, recordings[1:3]), (2**31 - 1, recordings[3:])]
    found = plan.plan_shards(from_parquet(to_parquet(plan.plan_table(shards))))
    assert list(found.items()) == shards
    assert plan.plan_shards(plan.plan_table([])) == {}


def test_the_plan_has_a_column_for_all_that_is_known_of_a_recording() -> None:
    known = [field.name for field in fields(Recording)]
    # Where a recording with a salted name is, is stored in its encrypted form alone.
    assert plan.PLAN.names == ["shard", *(name for name in known if name != "location")]


def test_lists_are_read_back_as_arrays() -> None:
    rows = [np.float32([1, 2, 3]), np.float32([]), np.float32([4.5])]
    column = columns.list_column(rows)
    assert column.type.value_type == pa.float32()
    assert column.to_pylist() == [[1, 2, 3], [], [4.5]]
    chunked = pa.chunked_array([column, column.slice(1), columns.list_column([])])
    for found, expected in zip(columns.list_values(chunked), [*rows, *rows[1:]], strict=True):
        assert found.dtype == np.float32
        assert np.array_equal(found, expected)
    strided = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert columns.list_column([strided[:, 1]]).to_pylist() == [[1, 3, 5, 7, 9, 11]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plan"])
def test_every_engine_reads_the_same(tmp_path: Path, kind: str) -> None:
    full, empty, _ = tables()[kind]
    folder = tmp_path / kind
    folder.mkdir()
    # An empty part first: an engine that guesses types by the first file would go wrong here.
    for number, table in enumerate([empty, full, full]):
        data = to_parquet(schema.with_metadata(table, {"run_id": "run"}))
        (folder / f"part-{number:06d}.parquet").write_bytes(data)
    (folder / "_SUCCESS").write_bytes(b"")
    expected = pa.concat_tables([full, full]).to_pylist()

    assert pq.read_table(folder).to_pylist() == expected

    with duckdb.connect() as connection:
        read = connection.sql(f"SELECT * FROM read_parquet('{folder}/*.parquet')").to_arrow_table()
    assert read.to_pylist() == expected

    frame = pl.read_parquet(f"{folder}/*.parquet")
    assert pl.Null not in frame.schema.values()
    assert frame.to_dicts() == expected

    pandas = pd.read_parquet(folder)
    assert list(pandas.columns) == full.schema.names
    assert isinstance(pandas.index, pd.RangeIndex)
    for name in full.schema.names:
        column = [plain(value) for value in pandas[name]]
        assert column == [row[name] for row in expected], name


def plain(value: object) -> object:
    """Return pandas' value as Python's own."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return None if pd.isna(value) else value  # type: ignore[call-overload]
