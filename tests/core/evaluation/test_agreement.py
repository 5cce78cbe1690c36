"""Precision by verdicts, against a plain loop and Wilson's formula."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.evaluation.agreement import BANDS, CANNOT_TELL, Judged, measure_precision, wilson

LABELS = ("normal", "murmur")
VERDICTS = st.builds(
    Judged, st.sampled_from(LABELS), st.floats(0.0, 1.0, width=32), st.sampled_from((*LABELS, CANNOT_TELL))
)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts: tuple[int, int]) -> None:
    right, n = counts
    z, share = 1.959963984540054, right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = wilson(right, n)
    assert math.isclose(low, max(0.0, centre - half), abs_tol=1e-9)
    assert math.isclose(high, min(1.0, centre + half), abs_tol=1e-9)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert measure_precision([]) == []
    assert measure_precision([Judged("murmur", 0.9, CANNOT_TELL)]) == []


@given(st.lists(VERDICTS, max_size=60))
def test_each_verdict_counts_once_in_its_band(judged: list[Judged]) -> None:
    expected: dict[object, list[int]] = {}
    for one in judged:
        if one.verdict == CANNOT_TELL:
            continue
        band = next(
            edges
            for edges in BANDS
            if edges[0] <= one.confidence < edges[1] or (edges == BANDS[-1] and one.confidence == 1.0)
        )
        for key in ((None, None), (one.predicted_label, None), (one.predicted_label, band)):
            cell = expected.setdefault(key, [0, 0])
            cell[0] += one.verdict == one.predicted_label
            cell[1] += 1
    assert {(one.label, one.band): [one.right, one.judged] for one in measure_precision(judged)} == expected
