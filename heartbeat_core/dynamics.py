"""Dynamics: how the levels of mel groups move with each other.

Only differences of log levels, in which a device's response cancels.
"""

from __future__ import annotations

import numpy as np

from heartbeat_core.cycles_names import COMPARED_GROUP, GROUP_SIZE, LEVEL_SHARES, N_GROUPS
from heartbeat_core.statistics import log_mel
from heartbeat_core.summaries import Values, percentile_values


def summarise_dynamics(power: Values) -> dict[str, float]:
    """Summarise power spectra [n_frames, 129], of at least one frame."""
    levels = log_mel(power)[:, : N_GROUPS * GROUP_SIZE].reshape(len(power), N_GROUPS, GROUP_SIZE).mean(axis=2)
    percentiles = percentile_values(levels, (*LEVEL_SHARES, 50))
    centred = levels - levels.mean(axis=0)
    deviations = np.sqrt(np.square(centred).mean(axis=0)) + 1e-6
    correlations = (centred.T @ centred) / len(centred) / np.outer(deviations, deviations)
    # By the loudness of the groups that hold most of S1 and S2.
    order = np.argsort(levels[:, 1:4].mean(axis=1), kind="stable")
    fifth = max(1, len(order) // 5)
    quiet, loud = (levels[part].mean(axis=0) for part in (order[:fifth], order[-fifth:]))
    middle_frames = order[2 * fifth : 3 * fifth]
    middle = levels[middle_frames].mean(axis=0) if len(middle_frames) else quiet
    found: dict[str, float] = {}
    for group in range(N_GROUPS):
        name = f"dynamics_{group:02d}"
        for share, level in zip(LEVEL_SHARES, percentiles[:-1, group].tolist(), strict=True):
            found[f"{name}_p{share:02d}_less_p50"] = level - float(percentiles[-1, group])
        if group:
            found[f"{name}_correlation_with_lower"] = float(correlations[group, group - 1])
            found[f"{name}_correlation_with_02"] = float(correlations[group, COMPARED_GROUP])
        found[f"{name}_loud_less_quiet"] = float(loud[group] - quiet[group])
        found[f"{name}_middle_less_quiet"] = float(middle[group] - quiet[group])
    return found
