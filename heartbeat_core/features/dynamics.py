"""Dynamics of groups of mel bands: differences and correlations of levels, in which the device's response cancels."""

from __future__ import annotations

import numpy as np

from heartbeat_core.arrays import Named, Values
from heartbeat_core.features.cycles_columns import COMPARED_GROUP, GROUP_SIZE, LEVEL_SHARES, N_GROUPS
from heartbeat_core.features.series import percentiles

ORDERING_GROUPS = slice(1, 4)
"""The groups that hold most of S1 and S2."""
CONSTANT = 1e-6
"""A level with a smaller deviation, on a logarithmic scale, counts as constant: its changes are rounding."""


def summarise_dynamics(log_mel: Values) -> Named:
    """Summarise the levels of groups of mel bands.

    Parameters
    ----------
    log_mel : ndarray, [n_frames, 40] float64
        As ``signal.log_mel`` returns it; the highest band is not used.

    Returns
    -------
    Named
        115 values, under the names that follow ``dynamics`` in ``cycles_columns.NAMES``.
    """
    # In columns, along which all else is computed.
    bands = np.ascontiguousarray(log_mel[:, : N_GROUPS * GROUP_SIZE].T).reshape(N_GROUPS, GROUP_SIZE, -1)
    groups = bands.mean(axis=1).T
    by_group = {**_levels(groups), **_contrasts(groups)}
    found = {f"{group:02d}_{name}": values[group] for name, values in by_group.items() for group in range(N_GROUPS)}
    correlations = _correlations(groups)
    for group in range(1, N_GROUPS):
        found[f"{group:02d}_correlation_with_lower"] = correlations[group, group - 1]
        found[f"{group:02d}_correlation_with_{COMPARED_GROUP:02d}"] = correlations[group, COMPARED_GROUP]
    return found


def _levels(groups: Values) -> dict[str, Values]:
    """Return [13] values: percentiles of the groups' levels, minus their medians."""
    found = percentiles(groups, (50, *LEVEL_SHARES))
    middle = found.pop("p50")
    return {f"{name}_less_p50": level - middle for name, level in found.items()}


def _contrasts(groups: Values) -> dict[str, Values]:
    """Return [13] values: levels in the loudest and the middle fifth of the frames, minus those in the quietest."""
    ordered = groups[np.argsort(groups[:, ORDERING_GROUPS].mean(axis=1), kind="stable")]
    n_frames = max(1, len(ordered) // 5)
    middle = min(2 * n_frames, len(ordered) - n_frames)
    quiet = ordered[:n_frames].mean(axis=0)
    return {
        "loud_less_quiet": ordered[-n_frames:].mean(axis=0) - quiet,
        "middle_less_quiet": ordered[middle : middle + n_frames].mean(axis=0) - quiet,
    }


def _correlations(groups: Values) -> Values:
    """Return [13, 13]: correlations of the groups' levels over time; 0 if one of the two does not vary."""
    centred = groups - groups.mean(axis=0)
    deviation = np.sqrt(np.square(centred).mean(axis=0))
    varies = deviation > CONSTANT
    units = np.where(varies, centred / np.where(varies, deviation, 1.0), 0.0)
    correlations: Values = units.T @ units / len(units)
    return correlations
