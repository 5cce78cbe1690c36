"""Models of aligned frames: against the plain loop, padded ones, the frequency alone, compressed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from heartbeat_core.arrays import Inputs
from heartbeat_core.learning import aligned, training
from heartbeat_core.learning.aligned import AlignedFCNN, fit_aligner, flatten
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.training import AlignedFrames, MatrixRows, TrainingRows, train_network
from heartbeat_core.recipe import Recipe
from tests import naive
from tests.core.conftest import LENGTH, MadeUp, make_rows


def recipe(**changes: Any) -> Recipe:
    training = {"batch_size": 8, "epochs": 10, "learning_rate": 0.01}
    return Recipe.model_validate({"name": "x", "network": {"hidden": [6, 4]}, "training": training} | changes)


def longest(rows: MadeUp) -> Inputs:
    return max(rows.frames, key=len)


def padded(frames: Inputs, reference: Inputs, pad_mode: str) -> Inputs:
    """Return frames [length, 2], placed by the plain loop."""
    offset, n_frames, _ = naive.place(frames, reference, pad_mode)
    return naive.pad(frames[:n_frames], offset, len(reference)).astype(np.float32)


@pytest.mark.parametrize("pad_mode", ["both", "front", "back"])
@pytest.mark.parametrize("kind", ["aligned", "frequency"])
def test_rows_are_aligned_with_the_longest_training_row_and_scaled(rows: MadeUp, pad_mode: str, kind: str) -> None:
    aligner, placed, offsets = fit_aligner(recipe(input=kind, alignment={"pad_mode": pad_mode}), rows.frames)
    matrix = flatten(placed, offsets, aligner.scaler)
    read = np.array([1, 0] if kind == "frequency" else [1, 1], np.float32)
    reference = longest(rows) * read
    assert np.array_equal(aligner.reference.frames, reference)
    plain = np.stack([padded(row * read, reference, pad_mode).reshape(-1) for row in rows.frames]).astype(np.float64)
    scaler = StandardScaler().fit(plain)
    np.testing.assert_allclose(matrix, scaler.transform(plain), atol=1e-5)
    held_out = [*make_rows(9, seed=5).frames, np.ones((2 * LENGTH, 2), np.float32)]
    plain = np.stack([padded(row * read, reference, pad_mode).reshape(-1) for row in held_out]).astype(np.float64)
    np.testing.assert_allclose(aligner.flatten(held_out), scaler.transform(plain), rtol=1e-5, atol=1e-5)
    assert aligner.n_bytes == len(reference) * 2 * (4 + 8 + 8)


def test_it_learns_what_can_be_learned(rows: MadeUp) -> None:
    model = AlignedFCNN().fit(recipe(network={"hidden": [8], "dropout": 0.1}), rows.frames, rows.targets, seed=0)
    held_out = make_rows(60, seed=1)
    logits = model.logits(held_out.frames)
    assert logits.shape == (60, 5)
    assert logits.dtype == np.float64
    assert (np.array([0, 2, 4])[logits[:, [0, 2, 4]].argmax(axis=1)] == held_out.codes).mean() > 0.6


def test_the_frequency_alone_is_read(rows: MadeUp) -> None:
    model = AlignedFCNN().fit(recipe(input="frequency"), rows.frames, rows.targets, seed=0)
    louder = [row * np.array([1, 100], np.float32) for row in rows.frames]
    higher = [row * np.array([2, 1], np.float32) for row in rows.frames]
    assert np.array_equal(model.logits(louder), model.logits(rows.frames))
    assert not np.array_equal(model.logits(higher), model.logits(rows.frames))


def test_the_same_seed_gives_the_same_model_and_another_one_does_not(rows: MadeUp) -> None:
    one, same, other = (
        AlignedFCNN().fit(recipe(), rows.frames, rows.targets, seed=seed).logits(rows.frames) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_compression_is_done_and_counted(rows: MadeUp) -> None:
    logits, sizes = {}, {}
    for name, compression in (("plain", {}), ("pruned", {"pruned": 0.8}), ("int8", {"int8": True})):
        model = AlignedFCNN().fit(recipe(compression=compression), rows.frames, rows.targets, seed=0)
        logits[name], sizes[name] = model.logits(rows.frames), model.n_bytes
        assert model.logits([]).shape == (0, 5)
    n_inputs = 2 * len(longest(rows))
    weights, biases = n_inputs * 6 + 6 * 4 + 4 * 5, 6 + 4 + 5
    rest = 4 * biases + 4 * 4 * (6 + 4) + 16 + 20 * n_inputs
    assert sizes["plain"] == 4 * weights + rest
    assert sizes["int8"] == weights + 4 * biases + 3 * 5 + rest
    assert sizes["pruned"] < sizes["plain"]
    assert 0 < np.abs(logits["int8"] - logits["plain"]).max() < 0.2 * np.abs(logits["plain"]).max()
    assert not np.array_equal(logits["pruned"], logits["plain"])


def test_a_reference_that_is_given_is_taken(rows: MadeUp) -> None:
    model = AlignedFCNN().fit(recipe(), rows.frames, rows.targets, 0, rows.reference)
    assert model.aligner.reference is rows.reference
    assert model.aligner.place(rows.frames)[1] == rows.offsets.tolist()
    served = model.serve(rows.results())
    assert np.array_equal(served.logits, model.logits(rows.frames))
    assert served.distances is None
    assert model.distances(rows.frames) is None


def test_rows_that_are_padded_batch_by_batch_train_the_same_model(
    rows: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[TrainingRows] = []

    def spy(found: TrainingRows, *others: Any) -> FCNN:
        trained_on.append(found)
        return train_network(found, *others)

    monkeypatch.setattr(training, "train_network", spy)
    in_memory = AlignedFCNN().fit(recipe(), rows.frames, rows.targets, 0).logits(rows.frames)
    monkeypatch.setattr(aligned, "MATRIX_BYTES", 0)
    assert np.array_equal(AlignedFCNN().fit(recipe(), rows.frames, rows.targets, 0).logits(rows.frames), in_memory)
    assert [type(one) for one in trained_on] == [MatrixRows, AlignedFrames]
