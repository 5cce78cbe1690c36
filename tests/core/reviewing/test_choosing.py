"""Which recordings are chosen for review, against a sort of all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.reviewing.choosing import Predicted, choose, poorest, rough_quality

LABELS = ("normal", "murmur", "artifact")
CELLS = st.tuples(st.sampled_from(LABELS), st.sampled_from((0.3, 0.5, 0.7, 0.9)), st.floats(0.0, 1.0))


def predicted(number: int, label: str, confidence: float) -> Predicted:
    one = hashlib.sha256(str(number).encode()).hexdigest()
    return Predicted(one[:16], one, f"{number}.wav", label, confidence, None)


def parts_of(rows: Sequence[Any], at_once: int) -> list[Sequence[Any]]:
    return [rows[start : start + at_once] for start in range(0, len(rows), at_once)]


@given(st.lists(CELLS, max_size=40), st.integers(1, 5), st.integers(1, 7))
def test_the_chosen_are_those_of_a_sort_of_all(cells: list[tuple[str, float, float]], n: int, at_once: int) -> None:
    rows = [predicted(number, label, confidence) for number, (label, confidence, _) in enumerate(cells)]
    quality = {one.recording_id: cell[2] for one, cell in zip(rows, cells, strict=True)}
    poor = poorest(parts_of(list(quality.items()), at_once), n)
    found = choose(parts_of(rows, at_once), poor, n)

    ids = [one.recording_id for one in rows]
    confidence = {one.recording_id: one.confidence for one in rows}
    expected = {
        "uncertain": set(sorted(ids, key=lambda one: (confidence[one], one))[:n]),
        "quality": set(sorted(ids, key=lambda one: (quality[one], one))[:n]),
        "confident": {
            one
            for label in LABELS
            for one in sorted(
                (row.recording_id for row in rows if row.predicted_label == label),
                key=lambda one: (-confidence[one], one),
            )[:n]
        },
        "random": set(sorted(ids)[:n]),
    }
    reasons = {one.recording_id: one.reasons.split("|") for one in found}
    assert len(reasons) == len(found)
    for reason, wanted in expected.items():
        assert {one for one, given_ in reasons.items() if reason in given_} == wanted


def test_the_order_tells_nothing_of_the_reasons() -> None:
    rows = [predicted(number, LABELS[number % 3], number / 200) for number in range(200)]
    found = choose([rows], {}, 12)
    reasons = [one.reasons for one in found]
    changes = sum(one != other for one, other in pairwise(reasons))
    assert changes > len(found) / 3  # In groups, there would be one change for each reason.
    assert found == choose([rows[::-1]], {}, 12)


def test_quality_falls_with_each_fault() -> None:
    assert rough_quality(0.0, 0.0) == 1.0
    assert rough_quality(0.0, 0.0, 0.8) == 0.8
    assert rough_quality(0.5, 0.0, 0.8) == pytest.approx(0.4)
    assert rough_quality(0.5, 0.5, 0.8) == pytest.approx(0.2)
