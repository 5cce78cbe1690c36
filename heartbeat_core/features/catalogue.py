"""Every feature set: names, units, version."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.features import cycles_columns, statistics_columns
from heartbeat_core.recipe import Reads, Summary

TIMBRE, RHYTHM = ("mfcc_",), ("rhythm_", "cycle_", "similarity_", "dynamics_")
"""How the names of the summary statistics begin that a member of a bagged network may read alone."""


def columns_read(reads: Reads, width: int) -> NDArray[np.bool_]:
    """Return [width] bool: which of the first so many summary statistics are read; all of other inputs."""
    if reads == "all":
        return np.ones(width, dtype=np.bool_)
    names = (*statistics_columns.NAMES, *cycles_columns.NAMES)[:width]
    part = TIMBRE if reads == "timbre" else RHYTHM
    return np.array([name.startswith(part) for name in names])


def summary_of(feature_sets: Sequence[str], read: Summary) -> Summary:
    """Return which summary statistics results need, so that the sets can be written and a model can read ``read``."""
    if "cycles" in feature_sets:
        return "statistics+cycles"
    return "statistics" if read == "none" and "statistics" in feature_sets else read
