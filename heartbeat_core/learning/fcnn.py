"""The fully connected network (FCNN) of the original project, and how bundles store it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from heartbeat_core.recipe import Recipe


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
    """Return the tensors of a network and of the scaler before it, by name."""
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    return {**tensors, "scaler.mean": torch.from_numpy(mean), "scaler.scale": torch.from_numpy(scale)}


def restored_network(
    tensors: dict[str, torch.Tensor], hidden: Sequence[int], recipe: Recipe
) -> tuple[FCNN, NDArray[np.float64], NDArray[np.float64]]:
    """Restore what ``stored_tensors`` returned: the network in evaluation mode, the mean and the scale.

    Raises
    ------
    KeyError, RuntimeError
        The tensors do not fit a network of these hidden widths.
    """
    mean, scale = (tensors[f"scaler.{name}"].numpy() for name in ("mean", "scale"))
    n_labels = len(tensors[f"network.layers.{4 * len(hidden)}.bias"])
    network = FCNN(mean.size, hidden, n_labels, recipe.network.dropout)
    prefix = "network."
    network.load_state_dict({n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)})
    return network.eval(), mean, scale


def describe_network(hidden: Sequence[int]) -> str:
    """Return a description of the network, for a model card."""
    return f"A fully connected network (hidden widths {', '.join(map(str, hidden))})"
