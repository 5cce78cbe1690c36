"""What every column of the tables is: its unit, its method, and its meaning in words.

Unit and method travel in the metadata of each Parquet field. The meaning does not, since each part would repeat it for
every feature: ``describe`` gives it, and ``frictionless`` for the file beside the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from heartbeat_core.features.catalogue import FEATURE_SETS
from heartbeat_core.labels import PROBABILITY_PREFIX

Schema = pa.Schema

KEPT = "kept"
"""The method of a column that comes from a table of the user."""
_UNIT, _METHOD = b"unit", b"method"
_PROFILE = "https://datapackage.org/profiles/2.0/tableschema.json"


@dataclass(frozen=True, slots=True)
class Note:
    """What a column is.

    Attributes
    ----------
    meaning : str
        One line that does not name the unit.
    method : str
        Where the values come from: ``listing``, ``file``, ``libsndfile``, ``waveform``, ``model``, ``run``, ``review``,
        ``labels``, ``kept``, or the version of a feature set.
    unit : str | None
        None if the value has no unit.
    """

    meaning: str
    method: str
    unit: str | None = None


NOTES = {
    "recording_id": Note("first 16 hex digits of the SHA-256 of the URI", "listing"),
    "uri": Note("where the recording is, without credentials or query", "listing"),
    "encoded_uri": Note("uri percent-encoded, as RFC 3986 has it", "listing"),
    "relative_path": Note("path below the input, or as a manifest has it", "listing"),
    "modified_at": Note("when the store says that the file was last modified", "listing", "UTC"),
    "patient_id": Note("the patient, as a manifest or the labels name it", "listing"),
    "size_bytes": Note("size of the file", "file", "bytes"),
    "duplicate_of": Note("first recording with the same audio_sha256, in the order of the plan", "run"),
    "audio_sha256": Note("SHA-256 of the file's bytes", "file"),
    "format": Note("container", "libsndfile"),
    "subtype": Note("encoding", "libsndfile"),
    "sample_rate_hz": Note("native sample rate", "libsndfile", "Hz"),
    "channels": Note("channels before they were averaged", "libsndfile"),
    "n_samples": Note("decoded samples of one channel", "libsndfile", "samples"),
    "duration_s": Note("duration of the decoded samples", "libsndfile", "s"),
    "header_n_samples": Note("samples that the header claims", "libsndfile", "samples"),
    "truncated": Note("whether the file is shorter than it claims", "libsndfile"),
    "peak_amplitude": Note("greatest magnitude of a sample", "waveform", "full scale"),
    "rms_amplitude": Note("root mean square of the samples, with their offset", "waveform", "full scale"),
    "dc_offset": Note("mean of the samples", "waveform", "full scale"),
    "clipped_fraction": Note("share of samples at 0.999 of full scale or beyond", "waveform"),
    "silent_fraction": Note("share of windows of 50 ms whose peak is below 2^-12 of full scale", "waveform"),
    "predicted_label": Note("label with the largest probability / threshold", "model"),
    "predicted_code": Note("code of the predicted label", "model"),
    "confidence": Note("probability of the predicted label", "model"),
    "unsure": Note("whether the prediction should not be relied on", "model"),
    "unsure_reason": Note("why not, reasons separated by commas", "model"),
    "logits": Note("outputs of the network, in the order of the codes", "model"),
    "model_id": Note("name and digest of the model", "model"),
    "recipe": Note("recipe of the model", "model"),
    "generation": Note("0, or the number of the update or retry that took the recording", "run"),
    "run_id": Note("the run", "run"),
    "processed_at": Note("when the row was made", "run", "UTC"),
    "failed_at": Note("when the row was made", "run", "UTC"),
    "stage": Note("where the recording failed: read, decode, frames, features or process", "run"),
    "error_type": Note("kind of the failure", "run"),
    "message": Note("reason of the failure, for people", "run"),
    "verdict": Note("what a person says that the recording is: a label, or cannot tell", "review"),
    "chosen": Note("why the recording was in the review, reasons joined by |", "review"),
    "way": Note("what the verdict was written down in: page, label-studio, audacity or csv", "review"),
    "judged_at": Note("when the verdict was given, where its file says so", "review", "UTC"),
    "imported_at": Note("when the verdict was imported", "review", "UTC"),
    "label": Note("one label, or several joined by |: one of these", "labels"),
    "label_code": Note("code of the label; null for several", "labels"),
    "device": Note("recording device", "labels"),
    "database": Note("database that the recording is from", "labels"),
    "n_recordings": Note("recordings of the patient", "run", "recordings"),
    "n_failed": Note("recordings of the patient that failed", "run", "recordings"),
    "n_unsure": Note("recordings of the patient whose prediction is unsure", "run", "recordings"),
    "sites": Note("places on the chest, as a kept column names them", "kept"),
}
"""The columns that are of no feature set, by name."""
_TOGETHER: tuple[dict[str, Note], ...] = (
    {
        "task": Note("number of classes that were told apart", "run"),
        "seed": Note("which repetition", "run"),
        "fold": Note("which fold, database or device was held out", "run"),
    },
    {
        "patient": Note("the person, who is never on both sides of a split", "labels"),
        **{name: NOTES[name] for name in ("device", "database", "label")},
    },
    {
        "start_s": Note("start of the segment", "labels", "s"),
        "end_s": Note("end of the segment", "labels", "s"),
        "state": Note("0 none, 1 S1, 2 systole, 3 S2, 4 diastole", "labels"),
    },
)
"""Columns that count where all of a group are there: a column that a user keeps may have the name of one."""


@dataclass(frozen=True, slots=True)
class Description:
    """One column of a stored table.

    Attributes
    ----------
    name, type : str
        ``type`` is Arrow's name.
    unit, method, meaning : str
        As in ``Note``; empty where nothing is known.
    may_be_null : bool
    """

    name: str
    type: str
    unit: str
    method: str
    meaning: str
    may_be_null: bool


def with_notes(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose fields have ``unit`` and ``method`` as metadata; a column without a note is ``kept``.

    The metadata of the schema itself stays. The names of all columns together decide the notes, since a feature set
    counts only where all of its columns are there.
    """
    notes = _notes(tuple(schema.names))
    return pa.schema([field.with_metadata(_entries(notes.get(field.name))) for field in schema], schema.metadata)


def describe(schema: pa.Schema) -> list[Description]:
    """Describe the columns of a stored table, in order.

    Parameters
    ----------
    schema : pa.Schema
        As ``with_notes`` returned it, or of an earlier version, which had no metadata of fields.

    Returns
    -------
    list[Description]
        One for each column. ``meaning`` is empty where the stored method is neither that of the column's note nor
        ``kept``.
    """
    notes = _notes(tuple(schema.names))
    found = []
    for field in schema:
        stored = field.metadata or {}
        note = notes.get(field.name)
        method = stored.get(_METHOD, b"").decode() or (note.method if note else "")
        if note is not None and note.method != method:  # Of another version, or the user's column of the same name.
            note = None
        found.append(
            Description(
                name=field.name,
                type=str(field.type).replace("element: ", "").replace(" not null", ""),
                unit=stored.get(_UNIT, b"").decode() or (note.unit or "" if note else ""),
                method=method,
                meaning=note.meaning if note else "as in your table" if method == KEPT else "",
                may_be_null=field.nullable,
            )
        )
    return found


def frictionless(schema: pa.Schema) -> dict[str, Any]:
    """Return a Frictionless Table Schema of a table (datapackage.org), with ``unit`` and ``method`` as well.

    Parameters
    ----------
    schema : pa.Schema
        With or without metadata: the notes are attached anew.

    Returns
    -------
    dict[str, Any]
        Ready for JSON. Columns that are not null are ``required``. The primary key is ``patient_id`` in the table of
        patients, and otherwise those of ``recording_id`` and ``generation`` that are there.
    """
    fields = []
    for one, field in zip(describe(with_notes(schema)), schema, strict=True):
        more = {"unit": one.unit, "method": one.method}
        constraints = {} if one.may_be_null else {"constraints": {"required": True}}
        fields.append(
            {
                "name": one.name,
                "type": _frictionless_type(field.type),
                "description": one.meaning,
                **{key: value for key, value in more.items() if value},
                **constraints,
            }
        )
    keys = [name for name in ("recording_id", "generation") if name in schema.names]
    if "n_recordings" in schema.names:
        keys = ["patient_id"]
    return {"$schema": _PROFILE, "fields": fields, **({"primaryKey": keys} if keys else {})}


@lru_cache(maxsize=16)
def _notes(names: tuple[str, ...]) -> Mapping[str, Note]:
    """Return the notes of the columns of a table; a set of columns counts where all of them are there."""
    there = set(names)
    of = " over the patient's recordings" if "n_recordings" in there else ""
    kinds = {
        PROBABILITY_PREFIX: "mean probability" if of else "probability",
        f"worst_{PROBABILITY_PREFIX}": "largest probability",
    }
    notes = {
        name: Note(f"{kind}{of} of {name.removeprefix(prefix)}", "model")
        for name in names
        for prefix, kind in kinds.items()
        if name.startswith(prefix)
    }
    for one in FEATURE_SETS.all():
        if one.columns and there.issuperset(column.name for column in one.stored):
            notes |= {column.name: Note(column.description, one.version, column.unit) for column in one.stored}
    for group in _TOGETHER:
        if there.issuperset(group):
            notes |= group
    return notes | {name: NOTES[name] for name in names if name in NOTES}


def _entries(note: Note | None) -> dict[str, str]:
    if note is None:
        return {"method": KEPT}
    return {"method": note.method, **({"unit": note.unit} if note.unit else {})}


def _frictionless_type(kind: pa.DataType) -> str:
    tests = {
        "string": pa.types.is_string,
        "boolean": pa.types.is_boolean,
        "integer": pa.types.is_integer,
        "number": pa.types.is_floating,
        "datetime": pa.types.is_timestamp,
        "array": pa.types.is_list,
    }
    return next((name for name, test in tests.items() if test(kind)), "any")
