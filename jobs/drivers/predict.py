"""Classify a few recordings in this process, without a cluster, as the original's single-file mode does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heartbeat_core import storage
from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.errors import (
    HeartbeatError,
    InputError,
    InputNotFound,
    RecordingError,
    RecordingNotFound,
    RecordingUnreadable,
    StoreUnavailable,
)
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Failure, Recording, failure
from heartbeat_core.settings import Limits
from jobs.listing.listing import Listing
from jobs.tasks.isolation import Here
from jobs.tasks.processing import process_recordings


def predict(inputs: Sequence[str], model: str, limits: Limits) -> list[dict[str, Any]]:
    """Classify recordings; one mapping each, in the order they were named.

    Parameters
    ----------
    inputs : Sequence[str]
        Files, folders, globs, manifests or inventories. A recording that several of them name is there once.
    model : str
        As ``bundle.load`` takes it.
    limits : Limits
        Of a recording.

    Returns
    -------
    list[dict[str, Any]]
        ``uri``, ``audio_sha256``, ``duration_s`` (s), ``sample_rate_hz`` (Hz), ``truncated``, ``predicted_label``,
        ``predicted_code``, ``confidence`` (the probability of this label), ``unsure``, ``unsure_reason`` (None where
        the model is sure), ``probabilities`` (by label) and ``model_id``. A recording that cannot be processed, or is
        not there, has ``uri``, ``stage``, ``error_type`` and ``message`` instead. So has an input that cannot be
        listed.

    Raises
    ------
    UsageError
        The model cannot be used, an input is an empty text, or no input can be listed.
    StorageError
        A store does not answer, or refuses the credentials of this process.
    """
    recordings, missing = _list(inputs)
    bundle = bundles.load(model)
    there = [recording for recording in recordings if recording.uri not in missing]
    results, failures = process_recordings(there, bundle, limits, Here(limits))
    predictions = bundle.classify(results)
    labels = bundle.manifest.labels
    rows = {one.recording.uri: _failed(one) for one in (*missing.values(), *failures)}
    for result, code, chances, unsure in zip(
        results, predictions.codes.tolist(), predictions.probabilities, predictions.unsure, strict=True
    ):
        rows[result.recording.uri] = {
            **_facts(result),
            "predicted_label": labels[code],
            "predicted_code": code,
            "confidence": float(chances[code]),
            "unsure": unsure is not None,
            "unsure_reason": unsure,
            "probabilities": dict(zip(labels, chances.tolist(), strict=True)),
            "model_id": bundle.model_id,
        }
    return [rows[recording.uri] for recording in recordings]


def _list(inputs: Sequence[str]) -> tuple[list[Recording], dict[str, Failure]]:
    """Return the recordings that the inputs name, each once, and the failures of those that are not there."""
    found: dict[str, Recording] = {}
    missing: dict[str, Failure] = {}
    refused: list[HeartbeatError] = []
    for text in inputs:
        try:
            found.update((recording.uri, recording) for recording in Listing([text], in_process=True))
        except (InputError, StoreUnavailable) as error:
            shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            recording = Recording(storage.to_uri(shown), shown)
            why: RecordingError = RecordingNotFound("no such file or folder")
            if not isinstance(error, InputNotFound):
                refused.append(error)
                why = RecordingUnreadable(str(error))
            missing[recording.uri] = failure(recording, why)
            found[recording.uri] = recording
    if refused and len(refused) == len(inputs):
        raise refused[0]
    return list(found.values()), missing


def _facts(result: RecordingResult) -> dict[str, Any]:
    return {
        "uri": result.recording.public_uri,
        "audio_sha256": result.audio_sha256,
        "duration_s": result.duration_s,
        "sample_rate_hz": result.sample_rate_hz,
        "truncated": result.truncated,
    }


def _failed(failure: Failure) -> dict[str, Any]:
    return {
        "uri": failure.recording.public_uri,
        "stage": failure.stage,
        "error_type": failure.error_type,
        "message": failure.message,
    }
