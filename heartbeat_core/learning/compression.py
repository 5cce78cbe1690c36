"""Smaller FCNNs: the smallest weights set to 0, and weights and activations in 8 bits.

Pruning is by magnitude in each Linear layer (Han et al., NIPS 2015, arXiv:1506.02626), then the weights that are left
are trained on. Eight bits are simulated in float32, exactly as onnxruntime's static quantization (QDQ) rounds: each
Linear layer's weights symmetric int8 with one scale an output, its inputs uint8 with one scale and zero point from
their range over the training rows, its bias int32 (Jacob et al., CVPR 2018, arXiv:1712.05877). What lies between the
Linear layers stays in float32.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.training import TrainingRows, deterministic, optimise
from heartbeat_core.recipe import CompressionSettings, Recipe

FINE_TUNING_EPOCHS = 10

_WEIGHT_MAX = 127
_INPUT_MAX = 255


class QuantizedLinear(nn.Module):
    """A Linear layer as int8 arithmetic would compute it, but for the rounding of float32 sums.

    Parameters
    ----------
    linear : nn.Linear
        The layer; it is not changed.
    lowest, highest : float
        Range of its inputs; 0 is taken in, so that it is exact.

    Attributes
    ----------
    weight : ndarray, [n_outputs, n_inputs] float32
        Multiples of ``scale`` by -127 to 127.
    bias : ndarray, [n_outputs] float32
        Multiples of ``scale * input_scale``.
    scale : ndarray, [n_outputs] float32
        ``max |weight| / 127`` of the output's row, 1 where all are 0.
    input_scale
        ``(highest - lowest) / 255``.
    input_zero
        The code of an input of 0.
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
        """Return [batch, n_outputs] float32 for inputs [batch, n_inputs] float32, which are rounded and cut first."""
        rounded = torch.fake_quantize_per_tensor_affine(inputs, self.input_scale, self.input_zero, 0, _INPUT_MAX)
        return nn.functional.linear(rounded, self.weight, self.bias)


def compress(network: FCNN, rows: TrainingRows, recipe: Recipe, seed: int) -> FCNN:
    """Make a trained network as small as the recipe says, with nothing but its training rows.

    Returns
    -------
    FCNN
        The network itself where the recipe asks for nothing, else another one in evaluation mode; the one that was
        given stays as it is.
    """
    settings = recipe.compression
    if settings.pruned > 0:
        network = prune(network, rows, recipe, seed)
    return quantize(network, rows) if settings.int8 else network


def prune(network: FCNN, rows: TrainingRows, recipe: Recipe, seed: int) -> FCNN:
    """Return the network with a share of each Linear layer's weights at 0, the smallest, and the others trained on."""
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
    """Return the network with each Linear layer in 8 bits, its inputs' range taken over the training rows."""
    quantized = copy.deepcopy(network)
    with torch.inference_mode():
        values, _ = rows.__getitems__(list(range(len(rows))))
        for number, layer in enumerate(network.layers):
            if isinstance(layer, nn.Linear):
                quantized.layers[number] = QuantizedLinear(layer, float(values.min()), float(values.max()))
            values = layer(values)
    return quantized


def stored_bytes(network: nn.Module, settings: CompressionSettings) -> int:
    """Return the bytes that a compressed network's values take in a file, without that file's headers.

    A weight is one byte where it is int8, else four. Of a pruned layer only the weights that are not 0 count, and
    one bit for each weight that says which these are. An int8 layer has a float32 scale an output, and a float32 scale
    and a byte for the zero point of its inputs. Biases have four bytes (int32 or float32), and BatchNorm its own.
    """
    total = sum(int(value.nbytes) for value in network.state_dict().values())
    for layer in network.modules():
        if not isinstance(layer, nn.Linear | QuantizedLinear):
            continue
        weight = layer.weight
        n_kept = int(torch.count_nonzero(weight)) if settings.pruned > 0 else weight.numel()
        total += n_kept * (1 if settings.int8 else 4) - int(weight.nbytes)
        total += -(-weight.numel() // 8) if settings.pruned > 0 else 0
        total += 5 if settings.int8 else 0
    return total
