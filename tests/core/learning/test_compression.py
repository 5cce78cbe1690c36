"""Compression: what is pruned, what int8 rounds, and how many bytes are left."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from heartbeat_core.labels import Targets
from heartbeat_core.learning.compression import QuantizedLinear, compress, prune, quantize
from heartbeat_core.learning.fcnn import FCNN, as_arrays
from heartbeat_core.learning.network import stored_bytes
from heartbeat_core.learning.training import MatrixRows, train_network
from heartbeat_core.recipe import CompressionSettings, Recipe

WIDTH = 20


def recipe(**compression: Any) -> Recipe:
    content = {
        "name": "x",
        "input": "statistics",
        "network": {"hidden": [6, 4]},
        "training": {"batch_size": 16, "epochs": 8, "learning_rate": 0.01},
        "compression": compression,
    }
    return Recipe.model_validate(content)


def some_rows(n: int = 40, seed: int = 0) -> MatrixRows:
    rng = np.random.default_rng(seed)
    codes = np.array([(0, 2)[i % 2] for i in range(n)], np.int64)
    inputs = rng.standard_normal((n, WIDTH)) + codes[:, np.newaxis]
    return MatrixRows(inputs.astype(np.float32), Targets.of_codes(codes))


@pytest.fixture(scope="module")
def rows() -> MatrixRows:
    return some_rows()


@pytest.fixture(scope="module")
def network(rows: MatrixRows) -> FCNN:
    """A trained network; not to be changed."""
    return train_network(rows, recipe(), seed=0)


def linears(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def state(network: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


def test_nothing_is_done_unless_it_is_asked(network: FCNN, rows: MatrixRows) -> None:
    assert compress(network, rows, recipe(), seed=0) is network


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_of_each_layer_the_smallest_weights_are_zero(network: FCNN, rows: MatrixRows, share: float) -> None:
    before = state(network)
    pruned = prune(network, rows, recipe(pruned=share), seed=0)
    assert state(network) == before
    assert not pruned.training
    assert pruned.state_dict().keys() == network.state_dict().keys()
    for was, now in zip(linears(network), linears(pruned), strict=True):
        n_zero = round(share * was.weight.numel())
        order = was.weight.detach().abs().flatten().argsort()
        flat = now.weight.detach().flatten()
        assert (flat[order[:n_zero]] == 0).all()
        assert (flat[order[n_zero:]] != 0).all()
        assert isinstance(now.weight, nn.Parameter)


def test_the_weights_that_are_left_are_trained_on(network: FCNN, rows: MatrixRows) -> None:
    pruned = prune(network, rows, recipe(pruned=0.5), seed=0)
    for was, now in zip(linears(network), linears(pruned), strict=True):
        kept = now.weight.detach() != 0
        assert not torch.equal(was.weight.detach()[kept], now.weight.detach()[kept])
        assert not torch.equal(was.bias.detach(), now.bias.detach())
    assert state(prune(network, rows, recipe(pruned=0.5), seed=0)) == state(pruned)
    assert state(prune(network, rows, recipe(pruned=0.5), seed=1)) != state(pruned)


def integer_layer(
    weight: NDArray[np.float32], bias: NDArray[np.float32], inputs: NDArray[np.float32], lowest: float, highest: float
) -> NDArray[np.float64]:
    """Compute a layer in integers, one value after the other, as an int8 kernel would."""
    lowest, highest = min(lowest, 0.0), max(highest, 0.0)
    step = (highest - lowest) / 255
    zero = int(np.rint(-lowest / step))
    out = np.zeros((len(inputs), len(weight)))
    for i, row in enumerate(inputs):
        codes = [min(max(int(np.rint(value / np.float32(step))) + zero, 0), 255) for value in row]
        for j, weights in enumerate(weight):
            scale = np.abs(weights).max() / np.float32(127)
            whole = [int(np.rint(w / scale)) for w in weights]
            assert all(-127 <= w <= 127 for w in whole)
            total = sum(w * (code - zero) for w, code in zip(whole, codes, strict=True))
            out[i, j] = (total + int(np.rint(bias[j] / (scale * step)))) * scale * step
    return out


@pytest.mark.parametrize(("lowest", "highest"), [(-2.0, 3.0), (0.0, 3.0), (0.5, 3.0), (-3.0, -1.0)])
def test_a_quantized_layer_is_integer_arithmetic(lowest: float, highest: float) -> None:
    torch.manual_seed(1)
    linear = nn.Linear(12, 5)
    rng = np.random.default_rng(0)
    # Some lie out of the range, and are cut.
    inputs = rng.uniform(lowest - 0.5, highest + 0.5, (30, 12)).astype(np.float32)
    layer = QuantizedLinear(linear, lowest, highest)
    found = layer(torch.from_numpy(inputs)).numpy()
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    np.testing.assert_allclose(found, integer_layer(weight, bias, inputs, lowest, highest), rtol=1e-4, atol=1e-5)
    assert np.abs(found - linear(torch.from_numpy(inputs)).detach().numpy()).max() > 1e-4
    ratio = (layer.weight / layer.scale[:, None]).numpy()
    np.testing.assert_allclose(ratio, np.rint(ratio), atol=1e-4)
    assert np.abs(ratio).max(axis=1) == pytest.approx(127)


def test_a_layer_of_zeros_and_inputs_of_zeros_stay_zero() -> None:
    linear = nn.Linear(3, 2)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    layer = QuantizedLinear(linear, 0.0, 0.0)
    assert torch.equal(layer(torch.ones(4, 3)), torch.zeros(4, 2))


def test_quantized_inputs_range_over_the_training_rows(network: FCNN, rows: MatrixRows) -> None:
    before = state(network)
    quantized = quantize(network, rows)
    assert state(network) == before
    values = rows.__getitems__(list(range(len(rows))))[0]
    with torch.inference_mode():
        for was, now in zip(network.layers, quantized.layers, strict=True):
            assert isinstance(now, QuantizedLinear) == isinstance(was, nn.Linear)
            if isinstance(now, QuantizedLinear):
                lowest, highest = min(0.0, float(values.min())), max(0.0, float(values.max()))
                assert now.input_scale == pytest.approx((highest - lowest) / 255)
                assert now.input_zero == round(-lowest / now.input_scale)
            values = was(values)
        inputs = rows.__getitems__(list(range(len(rows))))[0]
        exact, rounded = network(inputs), quantized(inputs)
    assert 0 < float((exact - rounded).abs().max()) < 0.1 * float(exact.abs().max())


def test_pruned_weights_stay_zero_in_8_bits(network: FCNN, rows: MatrixRows) -> None:
    both = compress(network, rows, recipe(pruned=0.5, int8=True), seed=0)
    layers = [layer for layer in both.layers if isinstance(layer, QuantizedLinear)]
    assert [float((layer.weight == 0).float().mean()) >= 0.5 for layer in layers] == [True] * 3
    one_at_a_time = quantize(prune(network, rows, recipe(pruned=0.5), seed=0), rows)
    assert state(both) == state(one_at_a_time)


def test_bytes_are_counted_by_hand(rows: MatrixRows) -> None:
    weights = [WIDTH * 6, 6 * 4, 4 * 5]
    biases = 4 * (6 + 4 + 5)
    norms = sum(4 * 4 * width + 8 for width in (6, 4))
    plain = train_network(rows, recipe(), seed=0)

    def size(**compression: Any) -> int:
        network = compress(copy.deepcopy(plain), rows, recipe(**compression), seed=0)
        return stored_bytes(as_arrays(network), CompressionSettings(**compression))

    assert size() == 4 * sum(weights) + biases + norms
    kept = [n - round(0.5 * n) for n in weights]
    bits = sum(-(-n // 8) for n in weights)
    assert size(pruned=0.5) == 4 * sum(kept) + bits + biases + norms
    scales = 4 * (6 + 4 + 5) + 5 * 3
    assert size(int8=True) == sum(weights) + scales + biases + norms
    # Weights that round to 0 are not kept either.
    assert size(pruned=0.5, int8=True) <= sum(kept) + bits + scales + biases + norms
