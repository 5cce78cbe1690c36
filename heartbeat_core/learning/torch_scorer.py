"""The scorer on a GPU: the same layers, with the products of torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.arrays import Frames
from heartbeat_core.learning.network import Network


class TorchScorer:
    """A network and its scaler, ready to serve on any device of torch.

    Parameters
    ----------
    network : Network
    scaler : Scaler
        The scaler of the positions that the network was trained on.
    device : str
        The torch device.
    """

    def __init__(self, network: Network, scaler: Scaler, device: str) -> None:
        self._device = torch.device(device)
        self._layers = [
            tuple(torch.from_numpy(values).to(self._device) for values in (layer.weight.T.copy(), layer.bias))
            for layer in network.scaled_layers(scaler.mean, scaler.scale)
        ]

    def score(self, frames: Sequence[Frames], offsets: Sequence[int]) -> NDArray[np.float32]:
        """Score aligned sequences; arguments and result are those of ``scorer.Scorer.score``."""
        (weight, constant), *others = self._layers
        with torch.inference_mode():
            values = constant.new_zeros((len(frames), len(constant)))
            for number, (row, offset) in enumerate(zip(frames, offsets, strict=True)):
                flat = torch.from_numpy(row.reshape(-1).astype(np.float64)).to(self._device)
                values[number] = constant + flat @ weight[2 * offset : 2 * offset + len(flat)]
            for weight, bias in others:
                values = torch.relu(values) @ weight + bias
        found: NDArray[np.float32] = values.float().cpu().numpy()
        return found
