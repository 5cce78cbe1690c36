"""Weights of rows: labels are equal within each database, and a database counts by the fourth root of its rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.weighting import weights_within

CELLS = ("normal", "murmur", "extrastole", "normal|extrahls|extrastole", "artifact")


def plain_loop(cells: list[str], databases: list[str], balance: float) -> list[float]:
    """Weigh rows one by one; a row of several labels is divided among those that are known in its database."""
    found = []
    for cell, database in zip(cells, databases, strict=True):
        here = [other for other, place in zip(cells, databases, strict=True) if place == database]
        counts = {label: float(here.count(label)) for label in ORIGINAL_LABELS}
        expected = dict(counts)
        for other in here:
            names = other.split("|")
            known = sum(counts[name] for name in names)
            if len(names) > 1 and known:
                for name in names:
                    expected[name] += counts[name] / known
        names = cell.split("|")
        total = sum(expected[name] for name in names)
        weight = sum(expected[name] * (len(here) / expected[name]) ** balance for name in names if expected[name])
        found.append(weight / total if total else 1.0)
    scaled = []
    for weight, database in zip(found, databases, strict=True):
        same = [other for other, place in zip(found, databases, strict=True) if place == database]
        scaled.append(weight * len(same) ** 0.25 / sum(same))
    return [weight * len(scaled) / sum(scaled) for weight in scaled]


@given(
    rows=st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from("abc")), min_size=1, max_size=30),
    balance=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_weights_are_those_of_a_plain_loop(rows: list[tuple[str, str]], balance: float) -> None:
    cells, databases = [cell for cell, _ in rows], [database for _, database in rows]
    targets = Targets.of_cells(cells, ORIGINAL_LABELS)
    found = weights_within(targets, databases, balance)
    np.testing.assert_allclose(found, plain_loop(cells, databases, balance), rtol=1e-9)


def test_a_label_weighs_the_same_in_its_database_whatever_its_rows() -> None:
    codes = np.array([0] * 9 + [2] + [0] * 2 + [2] * 98, np.int64)
    databases = ["a"] * 10 + ["b"] * 100
    weights = weights_within(Targets.of_codes(codes), databases, 1.0)
    assert weights[:9].sum() == pytest.approx(weights[9])
    assert weights[10:12].sum() == pytest.approx(weights[12:].sum())
    assert weights[10:].sum() / weights[:10].sum() == pytest.approx(10**0.25)
    assert weights.mean() == pytest.approx(1)
