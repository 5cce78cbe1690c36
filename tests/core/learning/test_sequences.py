"""Sequence models: windows, padding, masks, the pooled outputs, and nothing learned but from training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from heartbeat_core.arrays import Inputs
from heartbeat_core.errors import DatasetError
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.sequences import WINDOW_FRAMES, RandomWindows, SequenceModel, Sequences
from heartbeat_core.learning.vectors import VectorScaler
from heartbeat_core.recipe import Recipe

N_BANDS = 40


def recipe(model: str, **training: Any) -> Recipe:
    settings = {"batch_size": 8, "epochs": 6, "learning_rate": 0.01, "class_weights": "balanced"} | training
    return Recipe.model_validate({"name": "x", "input": "log-mel", "model": model, "training": settings})


def sequences(n: int, seed: int = 0) -> tuple[list[Inputs], NDArray[np.int64]]:
    """Return rows of two labels: murmurs have more power in the upper bands."""
    rng = np.random.default_rng(seed)
    codes = np.array([(0, 2)[i % 2] for i in range(n)], np.int64)
    rows = []
    for code in codes.tolist():
        row = rng.standard_normal((int(rng.integers(60, 400)), N_BANDS)) - 4
        row[:, 20:] += 1.5 * (code == 2)
        rows.append(row.astype(np.float32))
    return rows, codes


@pytest.mark.parametrize("model", ["cnn", "rnn"])
def test_it_learns_what_can_be_learned(model: str) -> None:
    rows, codes = sequences(32)
    fitted = Sequences().fit(recipe(model), rows, Targets.of_codes(codes), seed=0)
    held_out, truth = sequences(16, seed=1)
    logits = fitted.logits(held_out)
    assert logits.shape == (16, len(ORIGINAL_LABELS))
    assert logits.dtype == np.float64
    assert np.isfinite(logits).all()
    assert (np.where(logits[:, 2] > logits[:, 0], 2, 0) == truth).mean() > 0.9
    weights = sum(value.nbytes for value in fitted.network.state_dict().values())
    assert fitted.n_bytes == weights + 2 * 8 * N_BANDS


@pytest.mark.parametrize("model", ["cnn", "rnn"])
def test_the_same_seed_gives_the_same_model_and_another_one_does_not(model: str) -> None:
    rows, codes = sequences(10)
    torch.manual_seed(1)
    first = Sequences().fit(recipe(model, epochs=2), rows, Targets.of_codes(codes), seed=3).logits(rows)
    torch.manual_seed(2)
    assert np.array_equal(
        Sequences().fit(recipe(model, epochs=2), rows, Targets.of_codes(codes), seed=3).logits(rows), first
    )
    assert not np.array_equal(
        Sequences().fit(recipe(model, epochs=2), rows, Targets.of_codes(codes), seed=4).logits(rows), first
    )


def test_the_scaler_is_that_of_the_training_rows_frames() -> None:
    rows, codes = sequences(10)
    scaler = Sequences().fit(recipe("cnn", epochs=1), rows, Targets.of_codes(codes), seed=0).scaler
    frames = np.concatenate(rows).astype(np.float64)
    np.testing.assert_allclose(scaler.mean, frames.mean(axis=0))
    np.testing.assert_allclose(scaler.scale, frames.std(axis=0))


@pytest.mark.parametrize("model", ["cnn", "rnn"])
def test_a_rows_outputs_do_not_depend_on_the_others(model: str) -> None:
    rows, codes = sequences(10)
    fitted = Sequences().fit(recipe(model, epochs=1), rows, Targets.of_codes(codes), seed=0)
    together = fitted.logits(rows)
    assert np.array_equal(together[3], fitted.logits([rows[3]])[0])
    assert fitted.logits([]).shape == (0, 5)


class MeanOfFirstBand(nn.Module):
    """Gives each window's mean, so that what is pooled can be told."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        assert windows.shape[1:] == (WINDOW_FRAMES, 1)
        return windows.mean(dim=1).expand(-1, len(ORIGINAL_LABELS))


@pytest.mark.parametrize(
    ("n_frames", "starts"),
    [
        (1, [0]),
        (149, [0]),
        (150, [0]),
        (151, [0, 1]),
        (225, [0, 75]),
        (300, [0, 75, 150]),
        (310, [0, 75, 150, 160]),
    ],
)
def test_outputs_are_the_mean_over_windows_of_3_s_with_half_overlap(n_frames: int, starts: list[int]) -> None:
    frames = np.random.default_rng(n_frames).standard_normal((n_frames, 1)).astype(np.float32)
    model = SequenceModel(VectorScaler(np.array([0.25]), np.array([2.0])), MeanOfFirstBand(), 5)
    scaled = np.clip((frames - 0.25) / 2.0, -5, 5)
    # What is too short has zeros behind it after scaling.
    expected = np.mean([scaled[start : start + 150].sum() / 150 for start in starts])
    np.testing.assert_allclose(model.logits([frames])[0], expected, rtol=1e-5, atol=1e-7)


def test_random_windows_are_pieces_of_their_row_with_one_mask_of_each_kind() -> None:
    n_frames = 200
    row = 1 + torch.arange(n_frames * N_BANDS, dtype=torch.float32).reshape(n_frames, N_BANDS)
    rows = RandomWindows([row, row[:WINDOW_FRAMES]], Targets.of_codes(np.array([2, 0])))
    torch.manual_seed(0)
    starts, masked_frames, masked_bands = set(), set(), set()
    for _ in range(300):
        window, possible = rows[0]
        assert window.shape == (WINDOW_FRAMES, N_BANDS)
        assert possible.tolist() == [False, False, True, False, False]
        frames, bands = (window == 0).all(dim=1), (window == 0).all(dim=0)
        seen = ~frames[:, None] & ~bands
        i, j = np.argwhere(seen.numpy())[0]
        start = (int(window[i, j]) - 1 - int(j)) // N_BANDS - int(i)
        starts.add(start)
        assert torch.equal(window[seen], row[start : start + WINDOW_FRAMES][seen])
        assert torch.equal(window == 0, ~seen)
        for mask, lengths in ((frames, masked_frames), (bands, masked_bands)):
            lengths.add(int(mask.sum()))
            assert int((mask[1:] != mask[:-1]).sum()) <= 2, "a mask is one piece"
    assert (min(starts), max(starts)) == (0, n_frames - WINDOW_FRAMES)
    assert (min(masked_frames), max(masked_frames)) == (0, 30)
    assert (min(masked_bands), max(masked_bands)) == (0, 8)
    assert (row > 0).all(), "masks are not written into the recording"
    windows, several = rows.__getitems__([1, 0, 1])
    assert windows.shape == (3, WINDOW_FRAMES, N_BANDS)
    assert several.dtype == torch.bool
    assert several.int().argmax(dim=1).tolist() == [0, 2, 0]
    assert several.sum(dim=1).tolist() == [1, 1, 1]


def test_class_weights_count_and_leave_the_logits_those_of_the_true_shares() -> None:
    rows, codes = sequences(24)
    kept = np.concatenate([np.flatnonzero(codes == 0), np.flatnonzero(codes == 2)[:2]])
    few = [np.zeros_like(rows[i]) + np.float32(0.01) * rows[i] for i in kept.tolist()]
    gaps = {}
    for how in ("none", "balanced"):
        logits = (
            Sequences().fit(recipe("rnn", class_weights=how), few, Targets.of_codes(codes[kept]), seed=0).logits(few)
        )
        gaps[how] = (logits[:, 2] - logits[:, 0]).mean()
    assert gaps["balanced"] != gaps["none"]
    assert max(gaps.values()) < np.log(2 / (len(kept) - 2)) + 0.5


def test_too_few_rows_or_labels_are_named() -> None:
    rows, codes = sequences(4)
    with pytest.raises(DatasetError, match="at least two labels"):
        Sequences().fit(recipe("cnn"), rows[:1], Targets.of_codes(codes[:1]), seed=0)
    with pytest.raises(DatasetError, match="found 2 rows of: normal"):
        Sequences().fit(recipe("rnn"), [rows[0], rows[2]], Targets.of_codes(np.zeros(2, np.int64)), seed=0)
