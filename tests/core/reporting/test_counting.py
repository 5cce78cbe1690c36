"""Counts and histograms of sampled columns against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.reporting.counting import (
    bin_counts,
    count_values,
    edges_for,
    histogram_figure,
    numbers_of,
    percent,
    sampled,
)
from heartbeat_core.reporting.drift import count_reasons
from heartbeat_core.results.sample import Sample
from tests import naive

VALUES = st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), min_size=1, max_size=60)


def sample_of(**columns: list[object]) -> Sample:
    kinds = {name: object if any(isinstance(one, str) for one in cells) else float for name, cells in columns.items()}
    return Sample({name: np.array(cells, kinds[name]) for name, cells in columns.items()}, {}, 1, 1, 1)


@given(VALUES)
def test_histograms_count_every_value_once(values: list[float]) -> None:
    edges = edges_for(np.array(values))
    steps = np.diff(edges)
    assert 1 <= len(steps) <= 61
    assert steps == pytest.approx([steps[0]] * len(steps))
    counts = bin_counts(np.array(values), edges)
    assert counts == naive.counts_between(values, edges)
    assert sum(counts) == len(values)


def test_equal_values_have_a_bin() -> None:
    assert sum(bin_counts(np.array([3.0, 3.0]), edges_for(np.array([3.0, 3.0])))) == 2
    assert edges_for(np.array([]))[0] == 0.0


def test_a_few_far_values_do_not_stretch_the_axis() -> None:
    values = np.concatenate([np.linspace(5, 20, 1000), [1e6]])
    edges = edges_for(values, low=0.0)
    assert edges[0] == 0.0
    assert edges[-1] < 25
    assert bin_counts(values, edges)[-1] >= 1


def test_series_are_counted_between_the_same_edges() -> None:
    series = {"sure": np.array([0.1, 0.9, 0.95]), "unsure": np.array([0.2])}
    figure = histogram_figure("f", "F", "What.", "x", series, None, low=0.0, high=1.0)
    edges = [*figure.numbers["from"], figure.numbers["to"][-1]]
    for name, values in series.items():
        assert figure.numbers[name] == naive.counts_between(values.tolist(), edges)


def test_missing_cells_are_no_values() -> None:
    sample = sample_of(rate=[4000.0, float("nan"), 4000.0, 2000.0], format=["WAV", "WAV", None, "FLAC"])
    assert numbers_of(sample, "rate").tolist() == [4000.0, 4000.0, 2000.0]
    assert numbers_of(sample, "gone").tolist() == numbers_of(None, "rate").tolist() == []
    assert count_values(sample, "format", "rate") == {"FLAC · 2000": 1, "WAV · 4000": 1}
    assert count_values(sample, "rate") == {"4000": 2, "2000": 1}
    assert count_values(sample, "gone") == {}


def test_reasons_are_counted_each() -> None:
    assert count_reasons(["a,b", None, "b", "b", ""]) == {"b": 3, "a": 1}


@pytest.mark.parametrize(("part", "total", "told"), [(1, 2, "50 %"), (0, 5, "0 %"), (1, 1000, "0.1 %"), (1, 0, "–")])
def test_shares_in_words(part: int, total: int, told: str) -> None:
    assert percent(part, total) == told


def test_a_sample_says_that_it_is_one() -> None:
    whole = sample_of(rate=[1.0, 2.0])
    assert sampled(whole, 2) is None
    assert sampled(None, 2) is None
    part = Sample(whole.columns, {}, 1, 4, 1)
    assert sampled(part, 8_000) == "From a sample: 2 of 8,000 rows, at even distances in the listing."
