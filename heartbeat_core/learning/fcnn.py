"""The fully connected network (FCNN) of the original project, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


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
