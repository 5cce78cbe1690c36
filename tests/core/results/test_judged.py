"""The tables of a finished model's evaluation: written and read back, and named rows beside their labels."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.formats.parquet import from_parquet, to_parquet
from heartbeat_core.labels import Targets
from heartbeat_core.recordings.recording import Failure, Recording
from heartbeat_core.results.judged import Outcomes, joined_outcomes, judged_table, outcomes_table, table_outcomes

LABELS = ("normal", "murmur")


def failed(name: str) -> Failure:
    return Failure(Recording(f"file:///{name}.wav", ""), "decode", "not_audio", "no")


def outcomes(rows: list[int], failures: dict[int, Failure]) -> Outcomes:
    n = len(rows)
    chances = np.linspace(0, 1, n, dtype=np.float32)
    return Outcomes(
        np.array(rows, np.int64),
        (chances > 0.5).astype(np.int64),
        np.stack([1 - chances, chances], axis=1),
        ["poor_quality" if row % 2 else None for row in rows],
        failures,
    )


@pytest.mark.parametrize(
    ("rows", "failures"), [([3, 4, 6], {5: failed("five")}), ([], {0: failed("a"), 1: failed("b")}), ([2, 3], {})]
)
def test_outcomes_are_read_back(rows: list[int], failures: dict[int, Failure]) -> None:
    written = outcomes(rows, failures)
    found = table_outcomes(from_parquet(to_parquet(outcomes_table(written, LABELS))))
    for name in ("rows", "predicted", "probabilities"):
        assert np.array_equal(getattr(found, name), getattr(written, name)), name
        assert getattr(found, name).dtype == getattr(written, name).dtype
    assert (found.unsure, found.failures) == (written.unsure, written.failures)


def test_predictions_stand_beside_their_labels() -> None:
    names = [f"r{row}" for row in range(5)]
    labelled = Labelled(
        names,
        [f"file:///{name}.wav" for name in names],
        [f"sha-{name}" for name in names],
        Targets.of_cells(["normal", "murmur", "normal", "normal|murmur", "murmur"], LABELS),
        [f"patient:{name}" for name in names],
        ["phone"] * 5,
        ["x"] * 5,
        {"age": ["1", "", "3", "4", "Child"]},
    )
    parts = [outcomes([0, 1], {2: failed("r2")}), outcomes([3, 4], {})]
    joined = joined_outcomes(parts)
    assert list(joined.failures) == [2]
    rows = judged_table(labelled, joined, "m@1").to_pylist()
    assert [row["recording_id"] for row in rows] == ["r0", "r1", "r3", "r4"]
    assert rows[3] == {
        "recording_id": "r4",
        "uri": "file:///r4.wav",
        "audio_sha256": "sha-r4",
        "patient": "patient:r4",
        "device": "phone",
        "database": "x",
        "age": "Child",
        "label": "murmur",
        "predicted_label": "murmur",
        "unsure_reason": None,
        "model_id": "m@1",
        "prob_normal": 0.0,
        "prob_murmur": 1.0,
    }
