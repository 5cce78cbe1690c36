"""The Arrow schemas of all tables, and the conversion of results to tables.

The schemas are explicit and the same in every part. Timestamps are UTC in microseconds, units are in the names, and no
column has the null type. The metadata of each part holds the version of its schema and the provenance of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from heartbeat_core.alignment.placement import pad
from heartbeat_core.arrays import Frames
from heartbeat_core.audio.quality import Quality
from heartbeat_core.bundles.predictions import Predictions
from heartbeat_core.features.catalogue import ALIGNED, sets_written
from heartbeat_core.features.feature_set import ColumnType, FeatureSet
from heartbeat_core.formats.columns import FLOATS, TEXT, TIME, column_name, list_column, make_schema, make_table
from heartbeat_core.formats.kept import KeptColumn
from heartbeat_core.labels import PROBABILITY_PREFIX, Labels
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Failure
from heartbeat_core.results.listed import LISTED, listed_columns, with_kept
from heartbeat_core.results.notes import with_notes
from heartbeat_core.storage.uris import encode_uri

if TYPE_CHECKING:
    from heartbeat_core.bundles.servable import Holdout

SCHEMA_VERSION = 7


_AUDIO = {
    "size_bytes": pa.int64(),
    "format": TEXT,
    "subtype": TEXT,
    "sample_rate_hz": pa.int32(),
    "channels": pa.int16(),
    "n_samples": pa.int64(),
    "duration_s": pa.float64(),
    "header_n_samples_": pa.int64(),
    "truncated": pa.bool_(),
}
_LISTED = {**LISTED, "patient_id_": TEXT}
_QUALITY = {field.name: pa.float64() for field in fields(Quality)}


def predictions_schema(labels: Labels) -> pa.Schema:
    """Return the columns of the predictions of a model with these labels.

    ``generation`` counts the updates of the folder from 0. The newest row of a recording has the highest value.
    ``confidence`` is the probability of the predicted label. ``unsure_reason`` says why a prediction is unreliable.
    ``logits`` are the outputs of the network in the order of the codes.

    Parameters
    ----------
    labels : Labels
        The labels of the model, by code. Each has a column ``prob_LABEL``.

    Returns
    -------
    pa.Schema
        Of a table with one row per recording. Probabilities and logits are float32. Kept columns are not among them.
    """
    return make_schema(
        recording_id=TEXT,
        uri=TEXT,
        audio_sha256=TEXT,
        predicted_label=TEXT,
        predicted_code=pa.int8(),
        confidence=pa.float32(),
        unsure=pa.bool_(),
        unsure_reason_=TEXT,
        **{f"{PROBABILITY_PREFIX}{label}": pa.float32() for label in labels},
        logits=FLOATS,
        model_id=TEXT,
        recipe=TEXT,
        generation=pa.int32(),
        run_id=TEXT,
        processed_at=TIME,
        **_LISTED,
    )


_FACTS = {"recording_id": TEXT, "uri": TEXT, "audio_sha256": TEXT, **_AUDIO, **_QUALITY}
_TYPES: dict[ColumnType, pa.DataType] = {
    "float": pa.float32(),
    "double": pa.float64(),
    "int32": pa.int32(),
    "floats": FLOATS,
}


def _columns_of(feature_set: FeatureSet) -> dict[str, pa.DataType]:
    return {column.name: _TYPES[column.type] for column in feature_set.stored}


def features_schema(feature_sets: Sequence[str]) -> pa.Schema:
    """Return the columns of the features table for the requested sets; the table has one row per recording.

    The two lists of ``aligned`` are unpadded, and ``offset_frames`` says where they begin.

    Parameters
    ----------
    feature_sets : Sequence[str]
        Names of feature sets. Their columns come in the order of ``catalogue.FEATURE_SETS``.

    Raises
    ------
    ConfigError
        As ``catalogue.sets_written``.
    """
    chosen = {name: kind for one in sets_written(feature_sets) for name, kind in _columns_of(one).items()}
    return make_schema(**_FACTS, **chosen, generation=pa.int32(), **_LISTED, encoded_uri=TEXT)


RECORDINGS = pa.schema(
    [
        *make_schema(**_FACTS, **_columns_of(ALIGNED)),
        pa.field("label", TEXT),
        pa.field("label_code", pa.int8()),
        pa.field("patient_id", TEXT),
        pa.field("device", TEXT),
        pa.field("database", TEXT),
        *make_schema(**LISTED),
    ]
)
"""The rows of a dataset: the features and the facts about the recording; null if a fact is unknown."""

SEGMENTS = make_schema(recording_id=TEXT, start_s=pa.float64(), end_s=pa.float64(), state=pa.int8())
"""Segments of heart sounds: 0 none, 1 S1, 2 systole, 3 S2, 4 diastole."""

FAILURES = make_schema(
    recording_id=TEXT,
    uri=TEXT,
    size_bytes_=pa.int64(),
    stage=TEXT,
    error_type=TEXT,
    message=TEXT,
    generation=pa.int32(),
    run_id=TEXT,
    failed_at=TIME,
    **_LISTED,
)


HOLDOUT = make_schema(
    audio_sha256=TEXT,
    label=TEXT,
    predicted_label=TEXT,
    logits=FLOATS,
)
"""The rows that ``train`` held out, with the outputs from which its figures were computed."""


def predictions_table(
    results: Sequence[RecordingResult],
    predictions: Predictions,
    labels: Labels,
    *,
    model_id: str,
    recipe: str,
    generation: int,
    run_id: str,
    now: datetime,
    kept: Sequence[KeptColumn] = (),
) -> pa.Table:
    """Return one prediction row per result.

    Parameters
    ----------
    results : Sequence[RecordingResult]
        n results.
    predictions : Predictions
        Of n recordings, in the order of ``results``.
    labels : Labels
        The labels of the model, by code.
    model_id : str
    recipe : str
        The name of the model's recipe.
    generation : int
        The number of the update or retry that made the rows; 0 for the first run.
    run_id : str
    now : datetime
        When the recordings were processed, with a time zone.
    kept : Sequence[KeptColumn]
        Columns of the user's table that go along.

    Returns
    -------
    pa.Table
        n rows with the columns of ``predictions_schema`` and behind them the kept ones.
    """
    n = len(results)
    codes, probabilities = predictions.codes, predictions.probabilities
    columns: dict[str, Any] = {
        **_identity(results),
        "predicted_label": [labels[code] for code in codes.tolist()],
        "predicted_code": codes,
        "confidence": probabilities[np.arange(n), codes],
        "unsure": [reason is not None for reason in predictions.unsure],
        "unsure_reason": list(predictions.unsure),
        **{f"{PROBABILITY_PREFIX}{label}": probabilities[:, code] for code, label in enumerate(labels)},
        "logits": list_column(list(predictions.logits)),
        "model_id": [model_id] * n,
        "recipe": [recipe] * n,
        "generation": [generation] * n,
        "run_id": [run_id] * n,
        "processed_at": [now] * n,
        **_listed(results, kept),
    }
    return make_table(columns, with_kept(predictions_schema(labels), kept))


def features_table(
    results: Sequence[RecordingResult],
    feature_sets: Sequence[str] = ("aligned",),
    *,
    generation: int,
    kept: Sequence[KeptColumn] = (),
) -> pa.Table:
    """Return one feature row per result, with unpadded frames.

    Parameters
    ----------
    results : Sequence[RecordingResult]
        Each has the vectors and lists of the sets.
    feature_sets : Sequence[str]
        Names of the sets to write.
    generation, kept
        As in ``predictions_table``.

    Returns
    -------
    pa.Table
        With the columns of ``features_schema`` and behind them the kept ones.

    Raises
    ------
    ConfigError
        As ``catalogue.sets_written``.
    ValueError
        A result lacks a feature set.
    """
    columns = _feature_columns(results, [result.frames for result in results])
    for one in sets_written(feature_sets):
        if one.shape != "vector":
            continue
        if any(one.name not in result.features for result in results):
            raise ValueError(f"{one.name} are to be written, and a result has none")
        rows = np.stack([result.features[one.name] for result in results]) if results else np.zeros((0, len(one.names)))
        columns |= dict(zip(one.names, np.ascontiguousarray(rows.T, np.float32), strict=True))
        columns |= {column.name: list_column([result.lists[column.name] for result in results]) for column in one.lists}
    columns |= {"generation": [generation] * len(results), **_listed(results, kept)}
    columns["encoded_uri"] = [encode_uri(result.recording.public_uri) for result in results]
    return make_table(columns, with_kept(features_schema(feature_sets), kept))


def recordings_table(
    results: Sequence[RecordingResult], padded_length: int | None, labels: Labels, kept: Sequence[KeptColumn] = ()
) -> pa.Table:
    """Return one row of a dataset per result: the columns ``RECORDINGS`` and behind them the kept ones.

    ``label`` is a cell: one label, or several joined by ``|``. ``label_code`` is null unless it is one label.

    Parameters
    ----------
    results : Sequence[RecordingResult]
    padded_length : int | None
        Frames of the reference, to which the frames are padded with zeros. None keeps them unpadded.
    labels : Labels
        The labels of the dataset, by code.
    kept : Sequence[KeptColumn]
        As in ``predictions_table``.
    """
    frames = [
        result.frames if padded_length is None else pad(result.frames, result.placement.offset_frames, padded_length)
        for result in results
    ]
    cells = [result.recording.label for result in results]
    columns = {
        **_feature_columns(results, frames),
        "label": cells,
        "label_code": [labels.index(cell) if cell in labels else None for cell in cells],
        "device": [result.recording.device for result in results],
        "database": [result.recording.database for result in results],
        **_listed(results, kept),
    }
    return make_table(columns, with_kept(RECORDINGS, kept))


def segments_table(segments: Sequence[tuple[str, float, float, int]]) -> pa.Table:
    """Return one row per segment, with the columns ``SEGMENTS``.

    Parameters
    ----------
    segments : Sequence[tuple[str, float, float, int]]
        The recording_id, start and end in s, and state of each.

    Examples
    --------
    >>> segments_table([("0a" * 8, 0.1, 0.25, 1)]).to_pylist()
    [{'recording_id': '0a0a0a0a0a0a0a0a', 'start_s': 0.1, 'end_s': 0.25, 'state': 1}]
    """
    columns = zip(*segments, strict=True) if segments else [()] * len(SEGMENTS)
    return make_table(dict(zip(SEGMENTS.names, map(list, columns), strict=True)), SEGMENTS)


def failures_table(
    failures: Sequence[Failure], *, generation: int, run_id: str, now: datetime, kept: Sequence[KeptColumn] = ()
) -> pa.Table:
    """Return one row per failure: the columns ``FAILURES`` and behind them the kept ones.

    ``now`` is when the rows were made. The other parameters are as in ``predictions_table``.
    """
    n = len(failures)
    columns = {
        "recording_id": [failure.recording.recording_id for failure in failures],
        "uri": [failure.recording.public_uri for failure in failures],
        "size_bytes": [failure.recording.size_bytes for failure in failures],
        "stage": [failure.stage for failure in failures],
        "error_type": [failure.error_type for failure in failures],
        "message": [failure.message for failure in failures],
        "generation": [generation] * n,
        "run_id": [run_id] * n,
        "failed_at": [now] * n,
        **listed_columns([failure.recording for failure in failures], kept),
    }
    return make_table(columns, with_kept(FAILURES, kept))


def holdout_table(holdout: Holdout) -> pa.Table:
    """Return the held-out rows with their logits, as a table with the columns ``HOLDOUT``."""
    columns = {
        "audio_sha256": holdout.audio_sha256,
        "label": holdout.targets.cells(),
        "predicted_label": [holdout.targets.labels[code] for code in holdout.predicted.tolist()],
        "logits": list_column(list(holdout.logits)),
    }
    return make_table(columns, HOLDOUT)


def with_metadata(table: pa.Table, provenance: Mapping[str, str]) -> pa.Table:
    """Attach the version of the schema and the provenance of the run as metadata, and to each column its note.

    Parameters
    ----------
    table : pa.Table
        Metadata that it has already is replaced.
    provenance : Mapping[str, str]
        What is said of the run. Each key gets the prefix ``heartbeat.``.

    Returns
    -------
    pa.Table
        The same rows and columns.
    """
    entries = {"heartbeat.schema_version": str(SCHEMA_VERSION)}
    entries |= {f"heartbeat.{key}": value for key, value in provenance.items()}
    schema = with_notes(table.schema).with_metadata(entries)
    return pa.Table.from_arrays(table.columns, schema=schema)


def _identity(results: Sequence[RecordingResult]) -> dict[str, list[str]]:
    return {
        "recording_id": [result.recording.recording_id for result in results],
        "uri": [result.recording.public_uri for result in results],
        "audio_sha256": [result.audio_sha256 for result in results],
    }


def _listed(results: Sequence[RecordingResult], kept: Sequence[KeptColumn]) -> dict[str, Any]:
    return listed_columns([result.recording for result in results], kept)


def _feature_columns(results: Sequence[RecordingResult], frames: Sequence[Frames]) -> dict[str, Any]:
    return {
        **_identity(results),
        **{name: [getattr(result, name) for result in results] for name in map(column_name, _AUDIO)},
        **{name: [getattr(result.quality, name) for result in results] for name in _QUALITY},
        "n_frames": [result.placement.n_frames for result in results],
        "n_frames_cut": [result.n_frames_cut for result in results],
        "offset_frames": [result.placement.offset_frames for result in results],
        "alignment_distance": [result.placement.distance for result in results],
        "frequency_hz": list_column([row[:, 0] for row in frames]),
        "amplitude": list_column([row[:, 1] for row in frames]),
    }
