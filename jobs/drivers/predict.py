"""The original's single-file mode: a few recordings, this process, no cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.recipe import LABELS
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Failure
from heartbeat_core.settings import Limits
from jobs.listing.listing import Listing
from jobs.tasks.isolation import Here
from jobs.tasks.parts import ClassifyWork, process_recordings


def predict(inputs: Sequence[str], model: str, limits: Limits) -> list[dict[str, Any]]:
    """Classify recordings; one mapping each, in the order they were named.

    A recording that cannot be processed has ``error_type`` and ``message`` in place of a prediction.

    Raises
    ------
    UsageError
        An input or the model cannot be used.
    """
    recordings = list(Listing(inputs, in_process=True))
    bundle = bundles.load(model)
    results, failures = process_recordings(recordings, ClassifyWork(bundle, ()), limits, Here(limits))
    predictions = bundle.classify(results)
    rows = {failure.recording.uri: _failed(failure) for failure in failures}
    for result, code, chances, unsure in zip(
        results, predictions.codes.tolist(), predictions.probabilities, predictions.unsure, strict=True
    ):
        rows[result.recording.uri] = {
            **_facts(result),
            "predicted_label": LABELS[code],
            "predicted_code": code,
            "confidence": float(chances[code]),
            "unsure": unsure is not None,
            "unsure_reason": unsure,
            "probabilities": dict(zip(LABELS, chances.tolist(), strict=True)),
            "model_id": bundle.model_id,
        }
    return [rows[recording.uri] for recording in recordings]


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
