"""Encode samples as a WAV file that every player knows."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray


def wav_bytes(samples: NDArray[np.float32], sample_rate_hz: int) -> bytes:
    """Encode samples as a mono WAV of 16 bit; what is louder than full scale is clipped.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Full scale ±1.
    sample_rate_hz : int

    Returns
    -------
    bytes
        The file.

    Examples
    --------
    >>> data = wav_bytes(np.zeros(4_000, np.float32), 4_000)
    >>> data[:4], len(data)
    (b'RIFF', 8044)
    """
    buffer = BytesIO()
    soundfile.write(buffer, np.clip(samples, -1.0, 1.0), sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
