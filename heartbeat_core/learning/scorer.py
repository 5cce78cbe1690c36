"""Compute the outputs of the network for aligned frames without padding them.

The scaler is folded into the first layer. With ``z = (x - mean) / scale`` over the padded row, ``W z + b`` is
``c + (W / scale) x`` with ``c = b - (W / scale) mean``. In ``x`` only the frames of the recording are not zero, so a
row costs ``O(n_frames * hidden)`` instead of ``O(length * hidden)``. The sum is computed in float64. The outputs are
therefore those of the padded row, except for the float32 rounding there, and the outputs of one row do not depend on
the other rows that are scored with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.arrays import Frames, Values
from heartbeat_core.learning.network import Network, outputs_after

if TYPE_CHECKING:
    from heartbeat_core.learning.torch_scorer import TorchScorer


class Scorer:
    """A network and its scaler, ready to serve on the CPU.

    Parameters
    ----------
    network : Network
    scaler : Scaler
        The scaler of the positions that the network was trained on.
    """

    def __init__(self, network: Network, scaler: Scaler) -> None:
        first, *self._others = network.scaled_layers(scaler.mean, scaler.scale)
        self._constant = first.bias
        self._weights = np.ascontiguousarray(first.weight.T)

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
        rows = np.zeros((len(frames), len(self._constant)))
        for number, (row, offset) in enumerate(zip(frames, offsets, strict=True)):
            rows[number] = self._first_layer(row, offset)
        return outputs_after(rows, self._others).astype(np.float32)

    def _first_layer(self, frames: Frames, offset: int) -> Values:
        """Return [width] float64: the outputs of the first layer for one row."""
        values = frames.reshape(-1).astype(np.float64)
        begin = 2 * offset
        found: Values = self._constant + values @ self._weights[begin : begin + len(values)]
        return found


def make_scorer(network: Network, scaler: Scaler, device: str) -> Scorer | TorchScorer:
    """Return a scorer that computes on ``cpu``, with NumPy, or on any other device of torch."""
    if device == "cpu":
        return Scorer(network, scaler)
    # Imported here because torch takes a second to load.
    from heartbeat_core.learning.torch_scorer import TorchScorer

    return TorchScorer(network, scaler, device)
