"""The network as arrays: beside torch, from and to the arrays of a bundle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.alignment.placement import pad
from heartbeat_core.bundles.bundle import load
from heartbeat_core.bundles.export import plausible_inputs, torch_outputs
from heartbeat_core.bundles.manifest import shipped_models
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.aligned import AlignedModel
from heartbeat_core.learning.bagging import _Members
from heartbeat_core.learning.fcnn import FCNN, as_arrays, as_modules
from heartbeat_core.learning.network import Arrays, Network, restored_network, stored_arrays
from heartbeat_core.learning.torch_scorer import TorchScorer
from tests.bundles import made_up_bundle, made_up_results

TOLERANCE = 1e-5


def trained(n_inputs: int, hidden: Sequence[int], n_labels: int, seed: int) -> FCNN:
    """Return a network whose BatchNorms shift, stretch and turn around, as trained ones do."""
    torch.manual_seed(seed)
    network = FCNN(n_inputs, hidden, n_labels, 0.5)
    for layer in network.layers:
        if isinstance(layer, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(1e-3, 4.0)
    return network.eval()


def torch_logits(network: FCNN, rows: np.ndarray) -> np.ndarray:
    """Return what torch computes in float64, from the weights and rows in float32."""
    with torch.inference_mode():
        return network.double()(torch.from_numpy(rows).double()).numpy()


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare logits by the largest one of each row, and labels."""
    assert found.shape == expected.shape
    if found.size:
        largest = np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))
        assert (np.abs(found - expected) / largest).max() <= TOLERANCE
        assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))


@given(
    n_inputs=st.integers(1, 60),
    hidden=st.lists(st.integers(1, 20), max_size=4),
    n_labels=st.integers(2, 7),
    n_rows=st.integers(0, 9),
    spread=st.floats(0.01, 5.0),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_any_network_gives_the_logits_of_torch(
    n_inputs: int, hidden: list[int], n_labels: int, n_rows: int, spread: float, seed: int
) -> None:
    network = trained(n_inputs, hidden, n_labels, seed)
    found = as_arrays(network)
    rows = (spread * np.random.default_rng(seed).standard_normal((n_rows, n_inputs))).astype(np.float32)
    logits = found.logits(rows)
    assert logits.dtype == np.float64
    assert_close(logits, torch_logits(network, rows))
    assert_close(found.logits(rows), torch_logits(as_modules(found), rows))


@given(
    n_members=st.integers(1, 5),
    width=st.integers(1, 8),
    n_inputs=st.integers(1, 30),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_merged_members_are_the_mean_of_members_that_read_their_own_inputs(
    n_members: int, width: int, n_inputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    reads = rng.random((n_members, n_inputs)) < 0.6
    reads[:, 0] = True
    members = _Members(torch.from_numpy(reads.astype(np.float32)), width, 5)
    with torch.no_grad():
        for one in (members.gain, members.shift, members.first_bias, members.last_bias, members.mean):
            one.normal_()
        members.variance.uniform_(0.1, 3.0)
    rows = rng.standard_normal((7, n_inputs)).astype(np.float32)
    first, last = (one.detach().numpy().astype(np.float64) for one in (members.first, members.last))
    parts = [getattr(members, name).detach().numpy()[:, 0] for name in ("first_bias", "gain", "shift", "last_bias")]
    mean, variance = members.mean.numpy()[:, 0], members.variance.numpy()[:, 0]
    expected = np.zeros((7, 5))
    for number in range(n_members):
        bias, gain, shift, last_bias = (part[number] for part in parts)
        hidden = np.maximum(rows[:, reads[number]] @ first[number][reads[number]] + bias, 0)
        hidden = (hidden - mean[number]) / np.sqrt(variance[number] + 1e-5) * gain + shift
        expected += (hidden @ last[number] + last_bias) / n_members
    assert_close(
        as_arrays(members.merged(0.5, torch.eye(5).repeat(n_members, 1, 1) / n_members)).logits(rows), expected
    )


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_give_the_logits_and_labels_of_torch(name: str) -> None:
    bundle = load(name)
    if isinstance(bundle.model, AlignedModel):
        results = made_up_results(bundle, 200)
        rows = np.stack([pad(one.frames, one.placement.offset_frames, len(bundle.reference)) for one in results])
        served = bundle.model.serve(results).logits
    else:
        rows = plausible_inputs(bundle, 200, 0)
        served = bundle.model.logits([row[np.newaxis] for row in rows])
    probabilities, expected = torch_outputs(bundle, rows)
    assert_close(served, expected)
    decision, trained_codes = bundle.manifest.decision, bundle.manifest.trained_codes
    found = decision.probabilities(served, trained_codes)
    np.testing.assert_allclose(found, probabilities, rtol=0, atol=TOLERANCE)
    assert np.array_equal(decision.codes(found), decision.codes(probabilities))
    assert len(np.unique(decision.codes(found))) > 1


@pytest.mark.parametrize("hidden", [(), (16, 8)])
def test_the_scorer_of_torch_gives_what_the_one_of_numpy_gives(hidden: tuple[int, ...]) -> None:
    bundle, _ = made_up_bundle("aligned", hidden)
    assert isinstance(bundle.model, AlignedModel)
    results = made_up_results(bundle, 12)
    frames, offsets = [one.frames for one in results], [one.placement.offset_frames for one in results]
    other = TorchScorer(bundle.model.network, bundle.model.aligner.scaler, "cpu")
    expected = bundle.model.scorer.score(frames, offsets)
    found = other.score(frames, offsets)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert other.score([], []).shape == (0, len(ORIGINAL_LABELS))


def stored(hidden: tuple[int, ...] = (4, 3)) -> Arrays:
    return stored_arrays(as_arrays(trained(6, hidden, 5, 0)), np.zeros((3, 2)), np.ones((3, 2)))


@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
def test_what_is_stored_is_restored(hidden: tuple[int, ...]) -> None:
    arrays = stored(hidden)
    network, mean, scale = restored_network(dict(sorted(arrays.items())), hidden)
    again = stored_arrays(network, mean, scale)
    assert list(again) == list(arrays)
    for name, value in arrays.items():
        assert again[name].tobytes() == value.tobytes()
        assert (again[name].shape, again[name].dtype) == (value.shape, value.dtype)


def test_arrays_that_do_not_fit_are_named() -> None:
    arrays = stored()
    with pytest.raises(ValueError, match=r"network\.layers\.0\.weight is \[4, 5\], not \[4, 6\]"):
        restored_network(arrays | {"network.layers.0.weight": np.zeros((4, 5))}, (4, 3))
    with pytest.raises(ValueError, match=r"network\.layers\.2\.running_var is nothing, not \[4\]"):
        restored_network({k: v for k, v in arrays.items() if k != "network.layers.2.running_var"}, (4, 3))
    with pytest.raises(ValueError, match=r"network\.other is \[2\], not nothing"):
        restored_network(arrays | {"network.other": np.zeros(2)}, (4, 3))
    with pytest.raises(ValueError, match=r"network\.layers\.0\.bias is \[4\], not \[5\]"):
        restored_network(arrays, (5, 3))
    with pytest.raises(KeyError, match=r"layers\.4\.bias"):
        restored_network(stored(()), (4,))


def test_the_trained_network_is_not_shared() -> None:
    network = trained(3, (2,), 5, 0)
    found = as_arrays(network)
    before = found.logits(np.ones((1, 3), np.float32))
    torch.nn.init.zeros_(network.layers[0].weight)
    assert np.array_equal(Network(found.state).logits(np.ones((1, 3), np.float32)), before)
