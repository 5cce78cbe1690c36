"""Make FCNNs smaller: set the smallest weights to 0, and store weights and activations in 8 bits.

Pruning removes the weights of the smallest magnitude in each Linear layer (Han et al., NIPS 2015, arXiv:1506.02626).
Training then continues with the weights that remain. Eight-bit arithmetic is simulated in float32 and rounds exactly
as onnxruntime's static quantization (QDQ) does (Jacob et al., CVPR 2018, arXiv:1712.05877). In each Linear layer, the
weights are symmetric int8 with one scale per output. The inputs are uint8, with one scale and one zero point from
their range over the training rows. The bias is int32. Everything between the Linear layers stays in float32.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import prune as torch_prune

from heartbeat_core.arrays import Logits
from heartbeat_core.learning.fcnn import FCNN, as_arrays
from heartbeat_core.learning.network import Network
from heartbeat_core.learning.training import TrainingRows, deterministic, optimise
from heartbeat_core.recipe import Recipe

FINE_TUNING_EPOCHS = 10

_WEIGHT_MAX = 127
_INPUT_MAX = 255


class QuantizedLinear(nn.Module):
    """A Linear layer as int8 arithmetic would compute it, except for the rounding of float32 sums.

    Parameters
    ----------
    linear : nn.Linear
        The layer; it is not changed.
    lowest, highest : float
        Range of its inputs. The range is extended to include 0, so that 0 is exact.

    Attributes
    ----------
    weight : ndarray, [n_outputs, n_inputs] float32
        Multiples of ``scale`` by -127 to 127.
    bias : ndarray, [n_outputs] float32
        Multiples of ``scale * input_scale``.
    scale : ndarray, [n_outputs] float32
        ``max |weight| / 127`` over the row of the output; 1 where all weights are 0.
    input_scale
        ``(highest - lowest) / 255``.
    input_zero
        The code that stands for an input of 0.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear, lowest: float, highest: float) -> None:
        super().__init__()
        lowest, highest = min(lowest, 0.0), max(highest, 0.0)
        self.input_scale = (highest - lowest) / _INPUT_MAX or 1.0
        self.input_zero = round(-lowest / self.input_scale)
        weight = linear.weight.detach()
        largest = weight.abs().amax(dim=1)
        scale = torch.where(largest > 0, largest / _WEIGHT_MAX, 1.0)
        zeros = torch.zeros(len(scale), dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -_WEIGHT_MAX, _WEIGHT_MAX)
        bias_scale = scale * self.input_scale
        self.register_buffer("scale", scale)
        self.register_buffer("weight", rounded)
        self.register_buffer("bias", (linear.bias.detach() / bias_scale).round() * bias_scale)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return [batch, n_outputs] float32 for inputs [batch, n_inputs] float32; it rounds and clips them first."""
        rounded = torch.fake_quantize_per_tensor_affine(inputs, self.input_scale, self.input_zero, 0, _INPUT_MAX)
        return nn.functional.linear(rounded, self.weight, self.bias)


def compress(network: FCNN, rows: TrainingRows, recipe: Recipe, seed: int) -> FCNN:
    """Compress a trained network as the recipe says; only the training rows are used for this.

    Parameters
    ----------
    network : FCNN
        In evaluation mode.
    rows : TrainingRows
        The rows that it was trained on.
    recipe : Recipe
        Its compression and training settings are used.
    seed : int
        Decides the order of the rows in further training.

    Returns
    -------
    FCNN
        The network itself if the recipe asks for no compression, else a new network in evaluation mode. The given
        network is not changed.
    """
    settings = recipe.compression
    if settings.pruned > 0:
        network = prune(network, rows, recipe, seed)
    return quantize(network, rows) if settings.int8 else network


def prune(network: FCNN, rows: TrainingRows, recipe: Recipe, seed: int) -> FCNN:
    """Return the network with the smallest weights of each Linear layer at 0, after further training of the others.

    Takes what ``compress`` takes. The result is a new network in evaluation mode.
    """
    pruned = copy.deepcopy(network)
    linears = [layer for layer in pruned.layers if isinstance(layer, nn.Linear)]
    for linear in linears:
        torch_prune.l1_unstructured(linear, "weight", recipe.compression.pruned)
    with deterministic(seed):
        optimise(pruned, rows, recipe, FINE_TUNING_EPOCHS, seed)
    for linear in linears:
        torch_prune.remove(linear, "weight")
    return pruned.eval()


def quantize(network: FCNN, rows: TrainingRows) -> FCNN:
    """Return a new network with each Linear layer in 8 bits; the training rows give the range of its inputs.

    Parameters
    ----------
    network : FCNN
        In evaluation mode; it is not changed.
    rows : TrainingRows
        The rows that it was trained on; all are read at once.
    """
    quantized = copy.deepcopy(network)
    with torch.inference_mode():
        values, _ = rows.__getitems__(list(range(len(rows))))
        for number, layer in enumerate(network.layers):
            if isinstance(layer, nn.Linear):
                quantized.layers[number] = QuantizedLinear(layer, float(values.min()), float(values.max()))
            values = layer(values)
    return quantized


class QuantizedNetwork(Network):
    """A network in 8 bits, which torch simulates.

    Parameters
    ----------
    network : FCNN
        As ``quantize`` returns it.
    """

    def __init__(self, network: FCNN) -> None:
        super().__init__(as_arrays(network).state)
        self._network = network

    def logits(self, rows: NDArray[np.float32]) -> Logits:
        """Return [n, n_labels] float64 for scaled rows [n, n_inputs] float32."""
        with torch.inference_mode():
            logits: Logits = self._network(torch.from_numpy(rows)).double().numpy()
        return logits


def compressed(network: FCNN, rows: TrainingRows, recipe: Recipe, seed: int) -> Network:
    """Compress a trained network, and return it ready to serve; takes what ``compress`` takes."""
    found = compress(network, rows, recipe, seed)
    return QuantizedNetwork(found) if recipe.compression.int8 else as_arrays(found)
