"""Placeholder until the cycles are ported."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.statistics import compute_statistics


def summarise(samples: NDArray[np.float32], sample_rate_hz: int, with_cycles: bool) -> NDArray[np.float32]:
    """Return [392]."""
    if with_cycles:
        raise NotImplementedError
    return compute_statistics(samples, sample_rate_hz)
