"""The fully connected network (FCNN) of the original project, as torch trains it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from heartbeat_core.learning.network import BATCH_NORM_EPSILON, Network


class FCNN(nn.Module):
    """For each hidden width: Linear, ReLU, BatchNorm1d, Dropout; then Linear to the classes.

    Parameters
    ----------
    n_inputs : int
        Number of values in one flattened input row.
    hidden : Sequence[int]
        Widths of the hidden layers; the best ones of the original project are 16 and 8.
    n_classes : int
        Number of outputs.
    dropout : float
        Probability that a value is set to 0 during training; the original project uses 0.5.
    """

    def __init__(self, n_inputs: int, hidden: Sequence[int], n_classes: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = n_inputs
        for next_width in hidden:
            layers += [
                nn.Linear(width, next_width),
                nn.ReLU(),
                nn.BatchNorm1d(next_width, eps=BATCH_NORM_EPSILON),
                nn.Dropout(dropout),
            ]
            width = next_width
        layers.append(nn.Linear(width, n_classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits [batch, n_classes] float32 for inputs [batch, n_inputs] float32."""
        logits: torch.Tensor = self.layers(inputs)
        return logits


def as_arrays(network: FCNN) -> Network:
    """Return the trained network as arrays, which serve without torch; ``network`` is not changed.

    Parameters
    ----------
    network : FCNN
        On the CPU.
    """
    return Network({name: value.numpy().copy() for name, value in network.state_dict().items()})


def as_modules(network: Network) -> FCNN:
    """Return the network in torch, on the CPU, in evaluation mode and without dropout."""
    first, *others = network.layers
    hidden = [len(layer.bias) for layer in (first, *others[:-1])] if others else []
    found = FCNN(first.weight.shape[1], hidden, len((others or [first])[-1].bias), 0.0)
    found.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in network.state.items()})
    return found.eval()
