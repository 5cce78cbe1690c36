"""The folded network against the padded, scaled rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heartbeat_core.alignment.placement import pad
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.fcnn import FCNN, as_arrays
from heartbeat_core.learning.scorer import Scorer

LENGTH = 500


def make_network(hidden: tuple[int, ...], seed: int = 0, length: int = LENGTH) -> FCNN:
    torch.manual_seed(seed)
    network = FCNN(2 * length, hidden, len(ORIGINAL_LABELS), 0.5)
    for layer in network.layers:
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return network.eval()


def make_scaler(rng: np.random.Generator, length: int = LENGTH) -> Scaler:
    """Hz and magnitudes as recordings have them."""
    mean = np.stack((rng.uniform(50, 400, length), rng.uniform(0, 0.2, length)), axis=1)
    scale = np.stack((rng.uniform(20, 600, length), rng.uniform(0.01, 0.3, length)), axis=1)
    return Scaler(mean, scale)


def make_row(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    return np.stack((rng.uniform(0, 2_000, n_frames), rng.exponential(0.1, n_frames)), axis=1).astype(np.float32)


def padded_logits(network: FCNN, scaler: Scaler, rows: list[np.ndarray], offsets: list[int]) -> np.ndarray:
    padded = np.stack([pad(row, offset, len(scaler.mean)) for row, offset in zip(rows, offsets, strict=True)])
    with torch.inference_mode():
        return network(torch.from_numpy(scaler.transform(padded).reshape(len(rows), -1))).numpy()


@pytest.mark.parametrize("hidden", [(), (16, 8), (3,), (32, 16, 8)])
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_padded_rows(hidden: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    network, scaler = make_network(hidden, seed), make_scaler(rng)
    lengths = [1, 2, LENGTH, LENGTH - 1, *rng.integers(1, LENGTH, 20).tolist()]
    rows = [make_row(rng, n) for n in lengths]
    offsets = [0, LENGTH - 2, 0, 1, *[int(rng.integers(0, LENGTH - n + 1)) for n in lengths[4:]]]
    found = Scorer(as_arrays(network), scaler).score(rows, offsets)
    np.testing.assert_allclose(found, padded_logits(network, scaler, rows, offsets), rtol=1e-5, atol=1e-5)


def test_at_the_length_of_the_main_level() -> None:
    rng = np.random.default_rng(1)
    network, scaler = make_network((16, 8), length=110_000), make_scaler(rng, 110_000)
    rows, offsets = [make_row(rng, 30_000), make_row(rng, 110_000)], [41_000, 0]
    found = Scorer(as_arrays(network), scaler).score(rows, offsets)
    np.testing.assert_allclose(found, padded_logits(network, scaler, rows, offsets), rtol=1e-5, atol=1e-5)


def test_a_row_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(2)
    scorer = Scorer(as_arrays(make_network((16, 8))), make_scaler(rng))
    rows = [make_row(rng, int(n)) for n in rng.integers(1, LENGTH, 150)]
    together = scorer.score(rows, [0] * 150)
    for index in range(0, 150, 7):
        alone = scorer.score([rows[index]], [0])
        np.testing.assert_allclose(alone[0], together[index], rtol=2e-7)


def test_the_network_stays_as_it_is() -> None:
    network = make_network((16, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Scorer(as_arrays(network), make_scaler(np.random.default_rng(0)))
    assert network.state_dict().keys() == before.keys()
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


def test_the_padding_is_not_touched() -> None:
    """What the weights hold outside of a recording's place has no part in its outputs but by the constant."""
    rng = np.random.default_rng(3)
    scorer = Scorer(as_arrays(make_network((16, 8))), make_scaler(rng))
    row = make_row(rng, 100)
    expected = scorer.score([row], [200])
    scorer._weights[:400] = np.nan
    scorer._weights[600:] = np.nan
    assert np.array_equal(scorer.score([row], [200]), expected)
