"""The pool of patients equals a plain loop, however its rows come in parts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.results.patients import (
    NO_RECORDING,
    NO_SURE_RECORDING,
    UNSURE_DIFFER,
    PatientPool,
    find_site_column,
)

PATIENTS = st.sampled_from([None, "a", "b", "ß", ""])
SITES = st.sampled_from([None, "AV", "MV", 7])
PREDICTED = st.tuples(PATIENTS, SITES, st.booleans(), st.lists(st.integers(0, 9), min_size=5, max_size=5))


def in_parts(rows: list[Any], cuts: list[int]) -> list[list[Any]]:
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    return [rows[start:stop] for start, stop in pairwise(bounds)]


def table(columns: dict[str, list[Any]]) -> pa.Table:
    kinds = {"patient_id": pa.string(), "site": pa.string(), "unsure": pa.bool_()}
    return pa.table(
        {name: pa.array(values, kinds.get(name, pa.float32())) for name, values in columns.items()},
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    predicted=st.lists(PREDICTED, max_size=12),
    failed=st.lists(st.tuples(PATIENTS, SITES), max_size=4),
    cuts=st.lists(st.integers(0, 12), max_size=3),
)
def test_it_equals_a_loop(bundle: Path, predicted: list[Any], failed: list[Any], cuts: list[int]) -> None:
    manifest = read_manifest(str(bundle))
    names = [f"prob_{label}" for label in manifest.labels]
    pool = PatientPool(manifest, "site")
    for part in in_parts(predicted, cuts):
        columns: dict[str, list[Any]] = {
            "patient_id": [row[0] for row in part],
            "site": [None if row[1] is None else str(row[1]) for row in part],
            "unsure": [row[2] for row in part],
        }
        pool.add(table({**columns, **{name: [row[3][n] / 9 for row in part] for n, name in enumerate(names)}}))
    sites = [None if row[1] is None else str(row[1]) for row in failed]
    pool.add_failed(table({"patient_id": [row[0] for row in failed], "site": sites}))
    found = pool.finish("r")

    assert pool.n_without == sum(row[0] is None for row in predicted + failed)
    ids = sorted({row[0] for row in predicted + failed} - {None})
    assert found.column("patient_id").to_pylist() == ids
    for row in found.to_pylist():
        own = [one for one in predicted if one[0] == row["patient_id"]]
        lost = [one for one in failed if one[0] == row["patient_id"]]
        assert (row["n_recordings"], row["n_failed"]) == (len(own) + len(lost), len(lost))
        assert row["n_unsure"] == sum(one[2] for one in own)
        assert row["sites"] == sorted({str(one[1]) for one in own + lost if one[1] is not None})
        used = [one[3] for one in own if not one[2]] or [one[3] for one in own]
        if not used:
            assert (row["predicted_label"], row["unsure_reason"], row[names[0]]) == (None, NO_RECORDING, None)
            continue
        pooled = [sum(one[n] for one in used) / len(used) / 9 for n in range(len(names))]
        ratios = [p / t for p, t in zip(pooled, manifest.decision.thresholds, strict=True)]
        assert [row[name] for name in names] == pytest.approx(pooled, abs=1e-6)
        assert [row[f"worst_{name}"] for name in names] == pytest.approx(
            [max(one[3][n] for one in own) / 9 for n in range(len(names))], abs=1e-6
        )
        assert ratios[row["predicted_code"]] == pytest.approx(max(ratios), abs=1e-6)
        assert row["confidence"] == row[f"prob_{row['predicted_label']}"]
        assert (NO_SURE_RECORDING in (row["unsure_reason"] or "").split(",")) == all(one[2] for one in own)
        assert row["unsure"] == (row["unsure_reason"] is not None)


@pytest.mark.parametrize("others", [None, 0.0, 1.0])
def test_a_pooled_probability_below_the_limit_of_its_label_is_unsure(bundle: Path, others: float | None) -> None:
    manifest = read_manifest(str(bundle))
    limit = 0.7 if others is None else (0.7, *[others] * (len(manifest.labels) - 1))
    strict = manifest.model_copy(update={"sureness": manifest.sureness.model_copy(update={"min_confidence": limit})})
    pool = PatientPool(strict)
    for patient, value in (("low", 0.6), ("high", 0.8)):
        rest = (1 - value) / (len(manifest.labels) - 1)
        values = {f"prob_{label}": [value if n == 0 else rest] for n, label in enumerate(manifest.labels)}
        pool.add(table({"patient_id": [patient], "unsure": [False], **values}))
    rows = {row["patient_id"]: row["unsure_reason"] for row in pool.finish("r").to_pylist()}
    assert rows == {"low": "low_confidence", "high": None}


def test_unsure_recordings_that_would_change_the_label_are_told(bundle: Path) -> None:
    """A murmur at three of four places, all unsure: the patient is not surely normal."""
    manifest = read_manifest(str(bundle))
    fair = manifest.decision.model_copy(update={"thresholds": (1.0,) * len(manifest.labels)})
    pool = PatientPool(manifest.model_copy(update={"decision": fair}))
    normal, murmur = manifest.labels.index("normal"), manifest.labels.index("murmur")
    for patient, chance, is_unsure in (
        *(("differs", 0.1, False), ("differs", 0.9, True), ("differs", 0.8, True)),
        *(("agrees", 0.1, False), ("agrees", 0.7, True)),
    ):
        values = {f"prob_{label}": [0.0] for label in manifest.labels}
        values |= {f"prob_{manifest.labels[normal]}": [1 - chance], f"prob_{manifest.labels[murmur]}": [chance]}
        pool.add(table({"patient_id": [patient], "unsure": [is_unsure], **values}))
    rows = {row["patient_id"]: row for row in pool.finish("r").to_pylist()}
    assert {patient: row["predicted_label"] for patient, row in rows.items()} == {
        "agrees": "normal",
        "differs": "normal",
    }
    assert UNSURE_DIFFER in rows["differs"]["unsure_reason"].split(",")
    assert UNSURE_DIFFER not in (rows["agrees"]["unsure_reason"] or "").split(",")
    assert rows["differs"]["worst_prob_murmur"] == pytest.approx(0.9)


def test_the_column_of_sites() -> None:
    assert find_site_column(["age", "location", "site"]) == "site"
    assert find_site_column(["age"]) is None
