"""Drift: the sums of shards against plain loops over all recordings."""

from __future__ import annotations

import json
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.bundles.drift import DISTANCE_EDGES, Drift, drift_of, measure_drift
from heartbeat_core.features.extract import join_vectors
from heartbeat_core.features.feature_set import Column, FeatureSet
from heartbeat_core.features.groups import GROUPS, groups_read
from tests import naive
from tests.bundles import made_up_bundle, made_up_results

INPUT = "statistics+cycles"
READ = groups_read(INPUT)
WIDTH = sum(len(one.columns) for one in READ)


def rows(n: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, (n, WIDTH))


@pytest.mark.parametrize("recipe_input", ["statistics", "statistics+cycles", "cycle-spectrum+beats", "mfcc"])
def test_each_column_is_in_exactly_one_group(recipe_input: str) -> None:
    groups = groups_read(recipe_input)
    places = np.sort(np.concatenate([one.columns for one in groups]))
    assert places.tolist() == list(range(len(places)))
    for one in groups:
        assert set(one.directed) <= set(one.columns)
        assert bool(one.group.directed) == bool(len(one.directed))
        assert bool(one.group.directed) == bool(one.group.more and one.group.less)


def test_every_group_is_used_and_has_its_own_title() -> None:
    used = {one.group for recipe_input in (INPUT, "cycle-spectrum+beats") for one in groups_read(recipe_input)}
    assert used == set(GROUPS)
    assert len({group.title for group in GROUPS}) == len(GROUPS)


def test_the_feature_set_of_another_package_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    other = FeatureSet("loudness", "loudness-v1", "vector", (Column("loudness", "root mean square"),))
    monkeypatch.setattr("heartbeat_core.features.groups.sets_read", lambda recipe_input: (other,))
    [group] = groups_read("loudness")
    assert (group.group.title, group.columns.tolist()) == ("loudness", [0])


@pytest.mark.parametrize(("n", "mean"), [(2, 0.5), (5, 0.0), (9, -1.0)])
def test_the_shift_is_the_mean_product_over_pairs(n: int, mean: float) -> None:
    z = rows(n, mean)
    drift = drift_of(z, READ)
    assert drift.shift() == pytest.approx(naive.shift(z.tolist()), abs=1e-9)
    for place, one in enumerate(READ, start=1):
        assert drift.shift(one.columns, place) == pytest.approx(naive.shift(z[:, one.columns].tolist()), abs=1e-9)


def test_the_distances_are_counted_by_group() -> None:
    z = rows(40) * np.linspace(0.1, 8, 40)[:, np.newaxis]
    drift = drift_of(z, READ)
    clipped = np.clip(z, -10, 10)
    for place, columns in enumerate([np.arange(WIDTH), *(one.columns for one in READ)]):
        distances = [float(np.sqrt(np.mean([value**2 for value in row[columns]]))) for row in clipped]
        assert drift.distances[place].tolist() == naive.counts_between(distances, [0.0, *DISTANCE_EDGES, 1e9])


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5), mean=st.floats(-2, 2))
def test_shards_add_up_to_the_whole(sizes: list[int], mean: float) -> None:
    z = rows(sum(sizes), mean)
    parts = np.split(z, np.cumsum(sizes)[:-1])
    together, whole = reduce(add, (drift_of(part, READ) for part in parts)), drift_of(z, READ)
    assert together.n == whole.n
    np.testing.assert_allclose(together.sums, whole.sums)
    np.testing.assert_allclose(together.squares, whole.squares)
    np.testing.assert_array_equal(together.distances, whole.distances)


def test_what_a_commit_record_holds_is_small_and_nearly_exact() -> None:
    drift = drift_of(rows(50, 0.6), READ)
    text = json.dumps(drift.stored())
    read = Drift.read(json.loads(text))
    assert len(text) < 2_500
    np.testing.assert_allclose(read.sums / read.n, drift.sums / drift.n, atol=1 / 50)
    assert read.shift() == pytest.approx(drift.shift(), abs=0.01)
    np.testing.assert_array_equal(read.distances, drift.distances)


def test_few_recordings_of_the_training_data_have_no_shift() -> None:
    shifts = [drift_of(rows(8, seed=seed), READ).shift() for seed in range(40)]
    assert np.mean(np.square(shifts)) < 0.01  # Without the correction, 1/8.


def test_one_recording_has_no_shift() -> None:
    assert np.isnan(drift_of(rows(1), READ).shift())


def test_a_broken_recording_does_not_move_a_shard() -> None:
    z = rows(100)
    z[0] = 1e9
    assert drift_of(z, READ).shift() < 0.2


@pytest.mark.parametrize("kind", ["statistics", "aligned"])
def test_a_bundle_measures_what_its_model_reads(kind: Any) -> None:
    bundle, _ = made_up_bundle(kind)
    results = made_up_results(bundle, 6)
    drift = measure_drift(bundle, results)
    assert measure_drift(bundle, []) is None
    if kind == "aligned":
        assert drift is None
        return
    form = bundle.model.form()
    assert form is not None
    assert drift is not None
    z = np.stack([(join_vectors(one.features, kind) - form.mean) / form.scale for one in results])
    assert drift.shift() == pytest.approx(naive.shift(np.clip(z, -10, 10).tolist()))
