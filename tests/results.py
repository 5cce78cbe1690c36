"""Results as ``classify`` leaves them, of made-up predictions: no recording is read and no model is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from heartbeat_core.formats.parquet import to_parquet


def write_results(
    folder: Path,
    labels: Sequence[str],
    rows: Mapping[str, Sequence[float]],
    failed: Sequence[str] = (),
    poor: Sequence[str] = (),
    thresholds: Sequence[float] | None = None,
    model_id: str | None = None,
    audio_sha256: Sequence[str] | None = None,
) -> Path:
    """Write a finished folder.

    ``rows`` are the probabilities of each recording by its file name; ``failed`` are names of files that failed, and
    ``poor`` those of poor quality. Results of earlier releases name no thresholds. ``audio_sha256`` has a digest for
    each of the rows.
    """
    wanted = [1.0] * len(labels) if thresholds is None else thresholds
    best = [max(range(len(labels)), key=lambda k: row[k] / wanted[k]) for row in rows.values()]
    predictions = pa.table(
        {
            "recording_id": pa.array([f"p{name}" for name in rows], pa.string()),
            "uri": pa.array([f"file:///in/{name}" for name in rows], pa.string()),
            "audio_sha256": pa.array(audio_sha256 or [f"{k:064x}" for k in range(len(rows))], pa.string()),
            "predicted_label": pa.array([labels[code] for code in best], pa.string()),
            "unsure_reason": pa.array(
                ["low_confidence,poor_quality" if name in poor else None for name in rows], pa.string()
            ),
            **{
                f"prob_{label}": pa.array([row[k] for row in rows.values()], pa.float32())
                for k, label in enumerate(labels)
            },
            "generation": pa.array([0] * len(rows), pa.int32()),
        }
    )
    facts = {"heartbeat.model_id": model_id or f"made-up@{folder.name}"}
    if thresholds is not None:
        facts |= {"heartbeat.labels": json.dumps(list(labels)), "heartbeat.thresholds": json.dumps(list(thresholds))}
    failures = pa.table(
        {
            "recording_id": pa.array([f"f{name}" for name in failed], pa.string()),
            "uri": pa.array([f"file:///in/{name}" for name in failed], pa.string()),
            "generation": pa.array([0] * len(failed), pa.int32()),
        }
    )
    for name, table in (("predictions", predictions.replace_schema_metadata(facts)), ("failures", failures)):
        (folder / name).mkdir(parents=True)
        (folder / name / "part-000000.parquet").write_bytes(to_parquet(table))
    (folder / "_run.json").write_text(json.dumps({"identity": {"job": "classify"}, "run_id": "r"}))
    (folder / "_SUCCESS").write_text("{}")
    return folder
