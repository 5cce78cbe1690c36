"""Vector models: the scaler, the altered copies, and nothing learned but from training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from heartbeat_core.arrays import Inputs
from heartbeat_core.features import statistics_columns
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.compression import QuantizedNetwork
from heartbeat_core.learning.vectors import CLIP, BaggedFCNN, VectorFCNN, VectorScaler, fit_vector_scaler
from heartbeat_core.recipe import Recipe

WIDTH = 6


def recipe(**changes: Any) -> Recipe:
    training = {"batch_size": 16, "epochs": 40, "learning_rate": 0.02}
    network = {"hidden": [8], "dropout": 0.1}
    return Recipe.model_validate(
        {"name": "x", "input": "statistics", "network": network, "training": training} | changes
    )


def vectors(n: int, seed: int = 0, copies: int = 0) -> tuple[list[Inputs], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    codes = np.array([(0, 2, 4)[i % 3] for i in range(n)], np.int64)
    shift = 2.5 * np.eye(WIDTH)[codes]
    rows = 3 + (rng.standard_normal((n, 1 + copies, WIDTH)) + shift[:, np.newaxis]) * [1, 10, 100, 1, 1, 0.1]
    return list(rows.astype(np.float32)), codes


def test_the_scaler_is_scikit_learns_and_cuts() -> None:
    rows = np.concatenate(vectors(50)[0])
    rows[:, 3] = 7.0
    oracle = StandardScaler().fit(rows.astype(np.float64))
    scaler = fit_vector_scaler(rows)
    np.testing.assert_allclose(scaler.mean, oracle.mean_)
    np.testing.assert_allclose(scaler.scale, oracle.scale_)
    found = scaler.transform(rows)
    np.testing.assert_allclose(found, np.clip(oracle.transform(rows), -CLIP, CLIP), atol=1e-5)
    assert found.dtype == np.float32
    far = scaler.transform(rows + np.float32(1e6))
    assert (far == CLIP).all()
    assert scaler.n_bytes == 2 * 8 * WIDTH


def test_it_learns_what_can_be_learned() -> None:
    rows, codes = vectors(90)
    model = VectorFCNN().fit(recipe(), rows, Targets.of_codes(codes), seed=0)
    held_out, truth = vectors(60, seed=1)
    logits = model.logits(held_out)
    assert logits.shape == (60, len(ORIGINAL_LABELS))
    assert logits.dtype == np.float64
    assert (np.array([0, 2, 4])[logits[:, [0, 2, 4]].argmax(axis=1)] == truth).mean() > 0.8
    assert model.logits([]).shape == (0, len(ORIGINAL_LABELS))


def test_copies_train_and_the_recording_itself_is_predicted() -> None:
    rows, codes = vectors(30, copies=2)
    model = VectorFCNN().fit(recipe(), rows, Targets.of_codes(codes), seed=0)
    np.testing.assert_allclose(model.scaler.mean, np.concatenate(rows).astype(np.float64).mean(axis=0))
    assert np.array_equal(model.logits(rows), model.logits([row[:1] for row in rows]))
    alone = VectorFCNN().fit(recipe(), [row[:1] for row in rows], Targets.of_codes(codes), seed=0)
    assert not np.array_equal(model.logits(rows), alone.logits(rows))
    # A copy has its own recording's label: labels that are told by the copies alone are learned.
    hidden = [np.concatenate([np.zeros_like(row[:1]), row[1:]]) for row in rows]
    by_copies = VectorFCNN().fit(recipe(), hidden, Targets.of_codes(codes), seed=0).logits([row[1:] for row in rows])
    assert (np.array([0, 2, 4])[by_copies[:, [0, 2, 4]].argmax(axis=1)] == codes).mean() > 0.8


def test_the_same_seed_gives_the_same_model_and_another_one_does_not() -> None:
    rows, codes = vectors(30)
    one, same, other = (
        VectorFCNN().fit(recipe(), rows, Targets.of_codes(codes), seed=seed).logits(rows) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_what_lies_far_out_is_told_by_its_distance() -> None:
    rows, codes = vectors(30)
    model = VectorFCNN().fit(recipe(), rows, Targets.of_codes(codes), seed=0)
    scaler = VectorScaler(model.scaler.mean, model.scaler.scale)
    expected = [np.sqrt(np.mean(scaler.transform(row)[0].astype(np.float64) ** 2)) for row in rows]
    np.testing.assert_allclose(model.distances(rows), expected)


def test_compression_is_done_and_counted() -> None:
    rows, codes = vectors(60)
    sizes = {}
    for name, compression in (("plain", {}), ("pruned", {"pruned": 0.8}), ("int8", {"int8": True})):
        model = VectorFCNN().fit(recipe(compression=compression), rows, Targets.of_codes(codes), seed=0)
        sizes[name] = model.n_bytes
        assert isinstance(model.network, QuantizedNetwork) == (name == "int8")
        assert (model.network.state["layers.0.weight"] == 0).mean() > 0.7 if name == "pruned" else True
        assert np.isfinite(model.logits(rows)).all()
    assert sizes["plain"] == 4 * (WIDTH * 8 + 8 + 4 * 8 + 8 * 5 + 5) + 8 + 2 * 8 * WIDTH
    assert sizes["pruned"] < sizes["plain"]
    assert sizes["int8"] < sizes["plain"]


def test_a_member_reads_its_part_of_the_statistics() -> None:
    names = np.array(statistics_columns.NAMES)
    rng = np.random.default_rng(0)
    rows = list(rng.standard_normal((12, 1, len(names))).astype(np.float32))
    parts = {"model": "bagged-fcnn", "bagging": {"members": ["timbre", "all", "rhythm"]}}
    model = BaggedFCNN().fit(
        recipe(**parts, training={"epochs": 1, "batch_size": 6}), rows, Targets.of_codes(np.arange(12) % 2), seed=0
    )
    reads = (model.network.state["layers.0.weight"].reshape(3, 8, len(names)) != 0).any(axis=1)
    assert all(name.startswith("mfcc_") for name in names[reads[0]])
    assert all(name.startswith("rhythm_") for name in names[reads[2]])
    assert reads.sum(axis=1).tolist() == [180, 392, 186]


@pytest.mark.parametrize("name", ["mean", "scale"])
def test_the_scaler_does_not_see_other_rows(name: str) -> None:
    rows, codes = vectors(30)
    model = VectorFCNN().fit(recipe(), rows[:20], Targets.of_codes(codes[:20]), seed=0)
    oracle = StandardScaler().fit(np.concatenate(rows[:20]).astype(np.float64))
    np.testing.assert_allclose(getattr(model.scaler, name), getattr(oracle, f"{name}_"))
