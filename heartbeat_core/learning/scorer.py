"""Compute the outputs of the network for aligned frames without padding them.

The scaler is folded into the first layer. With ``z = (x - mean) / scale`` over the padded row, ``W z + b`` is
``c + (W / scale) x`` with ``c = b - (W / scale) mean``. In ``x`` only the frames of the recording are not zero, so a
row costs ``O(n_frames * hidden)`` instead of ``O(length * hidden)``. The sum is computed in float64. The outputs are
therefore those of the padded row, except for the float32 rounding there, and the outputs of one row do not depend on
the other rows that are scored with it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.arrays import Frames
from heartbeat_core.learning.fcnn import FCNN


class Scorer:
    """A network and its scaler, ready to serve.

    Parameters
    ----------
    network : FCNN
        In evaluation mode; it is not changed.
    scaler : Scaler
        The scaler of the positions that the network was trained on.
    device : str
        The torch device.
    """

    def __init__(self, network: FCNN, scaler: Scaler, device: str = "cpu") -> None:
        layers = copy.deepcopy(network.layers).double()
        first = layers[0]
        weight, bias = (first.get_parameter(name).detach() for name in ("weight", "bias"))
        weights = weight / torch.from_numpy(scaler.scale.reshape(-1))
        self._device = torch.device(device)
        self._constant = (bias - weights @ torch.from_numpy(scaler.mean.reshape(-1))).to(self._device)
        self._weights = weights.T.contiguous().to(self._device)
        self._others = layers[1:].to(self._device)

    def score(self, frames: Sequence[Frames], offsets: Sequence[int]) -> NDArray[np.float32]:
        """Score aligned sequences.

        Parameters
        ----------
        frames : Sequence[Frames]
            n arrays [n_frames_i, 2] float32, unpadded.
        offsets : Sequence[int]
            n offsets in frames.

        Returns
        -------
        ndarray, [n, n_labels] float32
            The network's logits. Logits of labels that were not trained have no meaning.
        """
        with torch.inference_mode():
            rows = [self._first_layer(row, offset) for row, offset in zip(frames, offsets, strict=True)]
            hidden = torch.stack(rows) if rows else self._constant.new_zeros((0, len(self._constant)))
            logits = self._others(hidden)
        found: NDArray[np.float32] = logits.float().cpu().numpy()
        return found

    def _first_layer(self, frames: Frames, offset: int) -> torch.Tensor:
        """Return [width] float64: the outputs of the first layer for one row."""
        values = torch.from_numpy(frames.reshape(-1).astype(np.float64)).to(self._device)
        begin = 2 * offset
        return self._constant + values @ self._weights[begin : begin + len(values)]
