"""A trained FCNN as arrays: what a bundle holds, and what computes the outputs on the CPU, without torch.

A trained FCNN is a chain of products with a ReLU between them. Each BatchNorm1d follows a ReLU. It is folded into the
Linear layer behind it: with ``y = gain * x + shift``, ``W y + b`` is ``(W * gain) x + (b + W shift)``. The products are
computed in float64, so that the outputs are those of torch except for its float32 rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Logits, Values
from heartbeat_core.recipe import CompressionSettings

BATCH_NORM_EPSILON = 1e-5
"""Added to the variance, in training and in serving."""

Arrays = dict[str, NDArray[np.generic]]
"""Arrays by the names that they have in a file of weights."""

_PREFIX = "network."
_STEP = 4
"""Each hidden layer is Linear, ReLU, BatchNorm1d and Dropout."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A Linear layer.

    Attributes
    ----------
    weight : ndarray, [n_outputs, n_inputs] float64
    bias : ndarray, [n_outputs] float64
    """

    weight: Values
    bias: Values

    def outputs(self, rows: NDArray[np.floating]) -> Values:
        """Return ``rows @ weight.T + bias``, [n, n_outputs] float64, for rows [n, n_inputs]."""
        found: Values = rows @ self.weight.T + self.bias
        return found


def outputs_after(rows: Values, layers: Sequence[Layer]) -> Values:
    """Return the outputs of layers that follow each other, with a ReLU in front of each.

    Parameters
    ----------
    rows : ndarray, [n, n_inputs] float64
        The outputs of the layer before them.
    layers : Sequence[Layer]
        Without a layer, the rows are returned.

    Returns
    -------
    ndarray, [n, n_outputs] float64
    """
    for layer in layers:
        rows = layer.outputs(np.maximum(rows, 0.0))
    return rows


class Network:
    """A trained FCNN.

    Parameters
    ----------
    state : Mapping[str, ndarray]
        The entries of the state dict of ``fcnn.FCNN``: ``layers.0.weight`` [n_outputs, n_inputs] float32, and so on.
    """

    def __init__(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        self.state = state

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The Linear layers, each with the BatchNorm1d before it folded in; only a ReLU remains between them."""
        found = []
        for number in range(_n_layers(self.state)):
            weight, bias = (self._exact(f"layers.{_STEP * number}.{name}") for name in ("weight", "bias"))
            if number > 0:
                norm = f"layers.{_STEP * number - 2}"
                gain = self._exact(f"{norm}.weight") / np.sqrt(self._exact(f"{norm}.running_var") + BATCH_NORM_EPSILON)
                shift = self._exact(f"{norm}.bias") - self._exact(f"{norm}.running_mean") * gain
                bias = bias + weight @ shift
                weight = weight * gain
            found.append(Layer(weight, bias))
        return tuple(found)

    def logits(self, rows: NDArray[np.float32]) -> Logits:
        """Return [n, n_labels] float64 for scaled rows [n, n_inputs] float32."""
        first, *others = self.layers
        return outputs_after(first.outputs(rows), others)

    def scaled_layers(self, mean: Values, scale: Values) -> list[Layer]:
        """Return the layers with the scaler folded into the first one: they read values before they are scaled.

        Parameters
        ----------
        mean, scale : ndarray, [L, 2] or [n_inputs] float64
            A scaled value is ``(x - mean) / scale``.
        """
        first, *others = self.layers
        weight = first.weight / scale.reshape(-1)
        return [Layer(weight, first.bias - weight @ mean.reshape(-1)), *others]

    def halved(self) -> Network:
        """Return the network with the weights of its Linear layers rounded to float16."""
        halves = {name: value.astype(np.float16) for name, value in self.state.items() if value.ndim == 2}
        return Network({**self.state, **halves})

    def _exact(self, name: str) -> Values:
        return self.state[name].astype(np.float64)


def _n_layers(state: Mapping[str, NDArray[np.generic]]) -> int:
    return sum(value.ndim == 2 for value in state.values())


def stored_arrays(network: Network, mean: Values, scale: Values) -> Arrays:
    """Return the arrays of a network and of the scaler before it, by name.

    Parameters
    ----------
    network : Network
    mean, scale : ndarray, [L, 2] or [n_inputs] float64
        They become ``scaler.mean`` and ``scaler.scale``. The names of the network's arrays begin with ``network.``.
    """
    return {
        **{_PREFIX + name: value for name, value in network.state.items()},
        "scaler.mean": mean,
        "scaler.scale": scale,
    }


def restored_network(
    arrays: Mapping[str, NDArray[np.generic]], hidden: Sequence[int]
) -> tuple[Network, Values, Values]:
    """Restore what ``stored_arrays`` returned.

    Parameters
    ----------
    arrays : Mapping[str, ndarray]
        By name.
    hidden : Sequence[int]
        Widths of the hidden layers.

    Returns
    -------
    tuple[Network, ndarray of float64, ndarray of float64]
        The network, and the mean and the scale, [L, 2] or [n_inputs].

    Raises
    ------
    KeyError, ValueError
        The arrays do not fit a network of these hidden widths.
    """
    mean, scale = (arrays[f"scaler.{name}"].astype(np.float64, copy=False) for name in ("mean", "scale"))
    state = {name.removeprefix(_PREFIX): value for name, value in arrays.items() if name.startswith(_PREFIX)}
    n_labels = len(state[f"layers.{_STEP * len(hidden)}.bias"])
    expected = _shapes([mean.size, *hidden, n_labels])
    found = {name: value.shape for name, value in state.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            shape, wanted = (list(one[name]) if name in one else "nothing" for one in (found, expected))
            raise ValueError(f"{_PREFIX}{name} is {shape}, not {wanted}")
    return Network({name: state[name] for name in expected}), mean, scale


def _shapes(widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each entry of a state dict, by name."""
    found: dict[str, tuple[int, ...]] = {}
    for number, (n_inputs, n_outputs) in enumerate(pairwise(widths)):
        place = _STEP * number
        found |= {f"layers.{place}.weight": (n_outputs, n_inputs), f"layers.{place}.bias": (n_outputs,)}
        if number < len(widths) - 2:
            names = ("weight", "bias", "running_mean", "running_var")
            found |= {f"layers.{place + 2}.{name}": (n_outputs,) for name in names}
            found[f"layers.{place + 2}.num_batches_tracked"] = ()
    return found


def stored_bytes(network: Network, settings: CompressionSettings) -> int:
    """Return how many bytes the values of a compressed network take in a file, without the headers of the file.

    An int8 weight takes one byte, any other weight two in float16 and four in float32. A layer that is stored without
    its zeros takes ``sparse_bytes``. An int8 layer also has one float32 scale per output, and for its inputs a float32
    scale and one byte for the zero point. Each bias takes four bytes (int32 or float32). The values of BatchNorm are
    added.
    """
    total = 0
    for value in network.state.values():
        if value.ndim != 2:
            total += value.nbytes
            continue
        itemsize = 1 if settings.int8 else value.itemsize
        total += min(itemsize * value.size, sparse_bytes(value, itemsize))
        total += 5 if settings.int8 else 0
    return total


def sparse_bytes(matrix: NDArray[np.generic], itemsize: int) -> int:
    """Return the size of a matrix without its zeros: the other values, and one bit a value to mark which they are.

    Parameters
    ----------
    matrix : ndarray, [n, m]
    itemsize : int
        Bytes of a stored value.
    """
    return itemsize * int(np.count_nonzero(matrix)) + math.ceil(matrix.size / 8)


def describe_network(hidden: Sequence[int]) -> str:
    """Return a description of the network, for a model card."""
    return f"A fully connected network (hidden widths {', '.join(map(str, hidden))})"
