"""The Arrow schemas of every table, and results to tables.

The schemas are explicit and the same in every part; timestamps are UTC in microseconds, units are in the names,
no column is of null type. Each part carries its schema's version and the run's provenance as metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from heartbeat_core import cycles_names, statistics_names
from heartbeat_core.alignment import pad
from heartbeat_core.columns import FLOATS, column, list_column
from heartbeat_core.config import LABELS, Summary
from heartbeat_core.correlation import Frames
from heartbeat_core.quality import Quality
from heartbeat_core.recording import Failure, Recording, RecordingResult
from heartbeat_core.scores import Scores

SCHEMA_VERSION = 4

_TEXT = pa.string()
_TIME = pa.timestamp("us", tz="UTC")


def _column_name(marked: str) -> str:
    return marked.removesuffix("_")


def _schema(**columns: pa.DataType) -> pa.Schema:
    """Columns in their order; a trailing ``_`` in a name marks the ones that may be null and is dropped."""
    return pa.schema(
        [pa.field(_column_name(name), kind, nullable=name.endswith("_")) for name, kind in columns.items()]
    )


_AUDIO = {
    "size_bytes": pa.int64(),
    "format": _TEXT,
    "subtype": _TEXT,
    "sample_rate_hz": pa.int32(),
    "channels": pa.int16(),
    "n_samples": pa.int64(),
    "duration_s": pa.float64(),
    "header_n_samples_": pa.int64(),
    "truncated": pa.bool_(),
}
_QUALITY = {field.name: pa.float64() for field in fields(Quality)}

PREDICTIONS = _schema(
    recording_id=_TEXT,
    uri=_TEXT,
    audio_sha256=_TEXT,
    predicted_label=_TEXT,
    predicted_code=pa.int8(),
    confidence=pa.float32(),
    unsure=pa.bool_(),
    unsure_reason_=_TEXT,
    **{f"prob_{label}": pa.float32() for label in LABELS},
    logits=FLOATS,
    model_id=_TEXT,
    recipe=_TEXT,
    generation=pa.int32(),
    run_id=_TEXT,
    processed_at=_TIME,
)
"""``generation`` counts the updates of the folder, from 0; the newest row of a recording has the highest.

``confidence`` is the predicted label's probability; ``unsure_reason`` says why a prediction is not to be relied on;
``logits`` are the network's outputs in the order of the codes."""

_FACTS = {"recording_id": _TEXT, "uri": _TEXT, "audio_sha256": _TEXT, **_AUDIO, **_QUALITY}
_ALIGNED = {
    "n_frames": pa.int32(),
    "n_frames_cut": pa.int32(),
    "offset_frames": pa.int32(),
    "alignment_distance": pa.float64(),
    "frequency_hz": FLOATS,
    "amplitude": FLOATS,
}
FEATURE_SETS: dict[str, dict[str, pa.DataType]] = {
    "aligned": _ALIGNED,
    "statistics": dict.fromkeys(statistics_names.NAMES, pa.float32()),
    "cycles": dict.fromkeys(cycles_names.NAMES, pa.float32()),
}
"""Columns by feature set. The two lists of ``aligned`` are unpadded, and ``offset_frames`` says where they lie; the
columns of the others are explained in ``configs/pcg-stats-v1.md`` and ``configs/pcg-cycles-v1.md``."""


def summary_of(feature_sets: Sequence[str], read: Summary) -> Summary:
    """Return which summary statistics results need, so that the sets can be written and a model can read ``read``."""
    if "cycles" in feature_sets:
        return "statistics+cycles"
    return "statistics" if read == "none" and "statistics" in feature_sets else read


def features_schema(feature_sets: Sequence[str]) -> pa.Schema:
    """Return the columns of the features table, one row a recording, with the sets that were asked for."""
    chosen = {name: kind for one in FEATURE_SETS if one in feature_sets for name, kind in FEATURE_SETS[one].items()}
    return _schema(**_FACTS, **chosen, generation=pa.int32())


RECORDINGS = pa.schema(
    [
        *_schema(**_FACTS, **_ALIGNED),
        pa.field("label", _TEXT),
        pa.field("label_code", pa.int8()),
        pa.field("patient_id", _TEXT),
        pa.field("device", _TEXT),
    ]
)
"""A dataset's rows: the features and what is known of the recording; null where it is not."""

FAILURES = _schema(
    recording_id=_TEXT,
    uri=_TEXT,
    size_bytes_=pa.int64(),
    stage=_TEXT,
    error_type=_TEXT,
    message=_TEXT,
    attempts=pa.int16(),
    generation=pa.int32(),
    run_id=_TEXT,
    failed_at=_TIME,
)

PLAN = _schema(
    shard=pa.int32(),
    uri=_TEXT,
    relative_path=_TEXT,
    size_bytes_=pa.int64(),
    version_=_TEXT,
    label_=_TEXT,
    patient_id_=_TEXT,
    device_=_TEXT,
    manifest_=_TEXT,
    manifest_row_=pa.int64(),
)
"""What was listed, in shards; the columns but the first are ``Recording``'s."""

HOLDOUT = _schema(
    audio_sha256=_TEXT,
    label=_TEXT,
    predicted_label=_TEXT,
    logits=FLOATS,
)
"""The rows that ``train`` held out, with the outputs that its figures were computed from."""


def predictions_table(
    results: Sequence[RecordingResult],
    scores: Scores,
    *,
    model_id: str,
    recipe: str,
    generation: int,
    run_id: str,
    now: datetime,
) -> pa.Table:
    """Return one prediction row a result."""
    n = len(results)
    codes, probabilities = scores.codes, scores.probabilities
    columns: dict[str, Any] = {
        **_identity(results),
        "predicted_label": [LABELS[code] for code in codes.tolist()],
        "predicted_code": codes,
        "confidence": probabilities[np.arange(n), codes],
        "unsure": [reason is not None for reason in scores.unsure],
        "unsure_reason": list(scores.unsure),
        **{f"prob_{label}": probabilities[:, code] for code, label in enumerate(LABELS)},
        "logits": list_column(list(scores.logits)),
        "model_id": [model_id] * n,
        "recipe": [recipe] * n,
        "generation": [generation] * n,
        "run_id": [run_id] * n,
        "processed_at": [now] * n,
    }
    return _table(columns, PREDICTIONS)


def features_table(
    results: Sequence[RecordingResult], feature_sets: Sequence[str] = ("aligned",), *, generation: int
) -> pa.Table:
    """Return one feature row a result, frames unpadded; with ``statistics`` the results must have theirs."""
    columns = _feature_columns(results, [result.frames for result in results])
    first = 0
    for feature_set, names in (("statistics", statistics_names.NAMES), ("cycles", cycles_names.NAMES)):
        if feature_set in feature_sets:
            rows = np.zeros((len(results), len(names)), np.float32)
            for number, result in enumerate(results):
                if result.statistics is None or len(result.statistics) < first + len(names):
                    raise ValueError(f"{feature_set} are to be written, and a result has none")
                rows[number] = result.statistics[first : first + len(names)]
            columns |= dict(zip(names, rows.T, strict=True))
        first += len(names)
    columns["generation"] = [generation] * len(results)
    return _table(columns, features_schema(feature_sets))


def recordings_table(results: Sequence[RecordingResult], padded_length: int | None) -> pa.Table:
    """Return the dataset's rows; with ``padded_length`` the frames are written with their padding."""
    frames = [
        result.frames if padded_length is None else pad(result.frames, result.placement.offset_frames, padded_length)
        for result in results
    ]
    labels = [result.recording.label for result in results]
    columns = {
        **_feature_columns(results, frames),
        "label": labels,
        "label_code": [None if label is None else LABELS.index(label) for label in labels],
        "patient_id": [result.recording.patient_id for result in results],
        "device": [result.recording.device for result in results],
    }
    return _table(columns, RECORDINGS)


def failures_table(failures: Sequence[Failure], *, generation: int, run_id: str, now: datetime) -> pa.Table:
    """Return one row a failure."""
    n = len(failures)
    columns = {
        "recording_id": [failure.recording.recording_id for failure in failures],
        "uri": [failure.recording.public_uri for failure in failures],
        "size_bytes": [failure.recording.size_bytes for failure in failures],
        "stage": [failure.stage for failure in failures],
        "error_type": [failure.error_type for failure in failures],
        "message": [failure.message for failure in failures],
        "attempts": [failure.attempts for failure in failures],
        "generation": [generation] * n,
        "run_id": [run_id] * n,
        "failed_at": [now] * n,
    }
    return _table(columns, FAILURES)


def plan_table(shards: Sequence[tuple[int, Sequence[Recording]]]) -> pa.Table:
    """Return a piece of the plan: numbered shards, one row a recording."""
    rows = [(index, recording) for index, recordings in shards for recording in recordings]
    columns: dict[str, Any] = {"shard": [index for index, _ in rows]}
    for name in PLAN.names[1:]:
        columns[name] = [getattr(recording, name) for _, recording in rows]
    return _table(columns, PLAN)


def plan_shards(table: pa.Table) -> dict[int, list[Recording]]:
    """Read ``plan_table`` back: recordings by shard, in order."""
    shards: dict[int, list[Recording]] = {}
    for row in table.to_pylist():
        shards.setdefault(row.pop("shard"), []).append(Recording(**row))
    return shards


def holdout_table(
    audio_sha256: Sequence[str],
    codes: NDArray[np.int64],
    predicted: NDArray[np.int64],
    logits: NDArray[np.float32],
) -> pa.Table:
    """Return the held-out rows with their logits."""
    columns = {
        "audio_sha256": list(audio_sha256),
        "label": [LABELS[code] for code in codes.tolist()],
        "predicted_label": [LABELS[code] for code in predicted.tolist()],
        "logits": list_column(list(logits)),
    }
    return _table(columns, HOLDOUT)


def with_metadata(table: pa.Table, provenance: Mapping[str, str]) -> pa.Table:
    """Attach the schema's version and the run's provenance as Parquet key-value metadata."""
    entries = {"heartbeat.schema_version": str(SCHEMA_VERSION)}
    entries |= {f"heartbeat.{key}": value for key, value in provenance.items()}
    return table.replace_schema_metadata(entries)


def _identity(results: Sequence[RecordingResult]) -> dict[str, list[str]]:
    return {
        "recording_id": [result.recording.recording_id for result in results],
        "uri": [result.recording.public_uri for result in results],
        "audio_sha256": [result.audio_sha256 for result in results],
    }


def _feature_columns(results: Sequence[RecordingResult], frames: Sequence[Frames]) -> dict[str, Any]:
    return {
        **_identity(results),
        **{name: [getattr(result, name) for result in results] for name in map(_column_name, _AUDIO)},
        **{name: [getattr(result.quality, name) for result in results] for name in _QUALITY},
        "n_frames": [result.placement.n_frames for result in results],
        "n_frames_cut": [result.n_frames_cut for result in results],
        "offset_frames": [result.placement.offset_frames for result in results],
        "alignment_distance": [result.placement.distance for result in results],
        "frequency_hz": list_column([row[:, 0] for row in frames]),
        "amplitude": list_column([row[:, 1] for row in frames]),
    }


def _table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    arrays = [
        values if isinstance(values := columns[field.name], pa.Array) else column(values, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
