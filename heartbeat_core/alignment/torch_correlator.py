"""The transforms for alignment on a GPU, with torch.

The offsets are the same as on the processor: the GPU computes the cross terms in float64, and all offsets that rounding
could confuse are computed again exactly as in the loop.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

from heartbeat_core.alignment.correlation import EPSILON, centre, error_factor, mean_of
from heartbeat_core.arrays import Frames


class TorchCorrelator:
    """Cross terms in float64 with the transforms of torch, on any torch device.

    Parameters
    ----------
    reference : ndarray, [length, 2] float32
        Hz, linear magnitude.
    device : str
        The name of a torch device, such as ``cuda``.
    """

    def __init__(self, reference: Frames, device: str) -> None:
        self._length = len(reference)
        self._mean = mean_of(reference)
        self._device = torch.device(device)
        self._fft_length: int = scipy.fft.next_fast_len(len(reference), real=True)
        centred = centre(reference, self._mean)
        self._energy = float(np.square(centred).sum())
        self._spectra = torch.fft.rfft(self._to_device(centred), n=self._fft_length, dim=0)

    def cross(self, query: Frames) -> tuple[NDArray[np.float64], float, float]:
        """Return the values that ``correlation.Correlator.cross`` describes."""
        centred = centre(query, self._mean)
        energy = float(np.square(centred).sum())
        spectra = torch.fft.rfft(self._to_device(centred), n=self._fft_length, dim=0).conj() * self._spectra
        terms = torch.fft.irfft(spectra.sum(dim=1), n=self._fft_length)[: self._length - len(query) + 1]
        error = EPSILON * error_factor(self._fft_length) * np.sqrt(energy * self._energy)
        cross: NDArray[np.float64] = terms.cpu().numpy()
        return cross, energy, float(error)

    def _to_device(self, values: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)
