"""Encode samples as a WAV file that every player knows."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray


def wav_bytes(samples: NDArray[np.float32], sample_rate_hz: int) -> bytes:
    """Return [n] float32 samples, full scale ±1, as a mono WAV of 16 bit; what is louder is clipped."""
    buffer = BytesIO()
    soundfile.write(buffer, np.clip(samples, -1.0, 1.0), sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
