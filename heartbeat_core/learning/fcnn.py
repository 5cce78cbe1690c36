"""The fully connected network (FCNN) of the original project, and how bundles store it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from heartbeat_core.recipe import LABELS, Recipe


class FCNN(nn.Module):
    """For each hidden width: Linear, ReLU, BatchNorm1d, Dropout; then Linear to the classes.

    Parameters
    ----------
    n_inputs : int
        Values in one flattened input row.
    hidden : Sequence[int]
        Widths of the hidden layers; the original's best are 16 and 8.
    n_classes : int
        Outputs.
    dropout : float
        Probability of a zero during training; the original's is 0.5.
    """

    def __init__(self, n_inputs: int, hidden: Sequence[int], n_classes: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = n_inputs
        for next_width in hidden:
            layers += [
                nn.Linear(width, next_width),
                nn.ReLU(),
                nn.BatchNorm1d(next_width),
                nn.Dropout(dropout),
            ]
            width = next_width
        layers.append(nn.Linear(width, n_classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits [batch, n_classes] float32 for inputs [batch, n_inputs] float32."""
        logits: torch.Tensor = self.layers(inputs)
        return logits


def stored_tensors(network: FCNN, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> dict[str, torch.Tensor]:
    """Return a network and the scaler before it as named tensors."""
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    return {**tensors, "scaler.mean": torch.from_numpy(mean), "scaler.scale": torch.from_numpy(scale)}


def restored_network(
    tensors: dict[str, torch.Tensor], hidden: Sequence[int], recipe: Recipe
) -> tuple[FCNN, NDArray[np.float64], NDArray[np.float64]]:
    """Read ``stored_tensors`` back: the network in evaluation mode, mean and scale.

    Raises
    ------
    KeyError, RuntimeError
        The tensors do not make a network of these hidden widths.
    """
    mean, scale = (tensors[f"scaler.{name}"].numpy() for name in ("mean", "scale"))
    network = FCNN(mean.size, hidden, len(LABELS), recipe.network.dropout)
    prefix = "network."
    network.load_state_dict({n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)})
    return network.eval(), mean, scale


def describe_network(hidden: Sequence[int]) -> str:
    """Return what the network is, for a model card."""
    return f"A fully connected network (hidden widths {', '.join(map(str, hidden))})"
