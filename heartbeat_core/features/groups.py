"""Groups of columns under the names that people use: what a model reads, in a dozen words instead of 652 columns.

A group may have a direction: the columns that all grow when the recordings become, say, brighter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.features.catalogue import sets_read


@dataclass(frozen=True, slots=True)
class Group:
    """Columns of one feature set that describe one thing.

    Attributes
    ----------
    feature_set : str
    pattern : str
        A regular expression that the beginning of a column's name matches; a column belongs to the first group it fits.
    title : str
        Unique. What the columns describe.
    directed : str
        A regular expression of the columns that have a direction; empty if none has.
    more, less : str
        What recordings are whose directed columns lie above and below those of others.
    """

    feature_set: str
    pattern: str
    title: str
    directed: str = ""
    more: str = ""
    less: str = ""


_FASTER = {"more": "of faster hearts", "less": "of slower hearts"}
_PITCH = {"more": "brighter (higher in pitch)", "less": "darker (lower in pitch)"}
_PAUSES = {"more": "noisier between the heart sounds", "less": "quieter between the heart sounds"}
_SYSTOLE = {"more": "fuller of high sounds in systole", "less": "emptier of high sounds in systole"}
GROUPS = (
    Group("statistics", "mfcc_00_|dominant_log_magnitude_", "level over time", "mfcc_00_(mean|p10|p50)", **_PAUSES),
    Group("statistics", "mfcc_", "timbre"),
    Group("statistics", "dominant_hz_", "pitch", "dominant_hz_(mean|p)", **_PITCH),
    Group("statistics", "rhythm_low_", "rhythm, 25 to 150 Hz", "rhythm_low_beat_rate_hz", **_FASTER),
    Group("statistics", "rhythm_middle_", "rhythm, 150 to 400 Hz"),
    Group("statistics", "rhythm_high_", "rhythm, 400 to 800 Hz"),
    Group("cycles", r"cycle_\d+_to_", "shape of the heart cycle"),
    Group("cycles", "cycle_", "beats and intervals", "cycle_rate_hz", **_FASTER),
    Group("cycles", "similarity_", "similarity of heart cycles"),
    Group("cycles", "dynamics_", "dynamics by pitch"),
    Group("beats", "", "heart rate and regularity", "heart_rate_bpm", **_FASTER),
    Group("cycle-spectrum", r"cycle_level_s\d+_b0[0-7]", "low sounds in systole"),
    Group("cycle-spectrum", r"cycle_level_s\d+_b", "high sounds in systole", r"cycle_level_s\d+_b", **_SYSTOLE),
    Group("cycle-spectrum", r"cycle_level_d\d+_b", "sounds in diastole"),
    Group("cycle-spectrum", "cycle_spread_", "change from cycle to cycle"),
)
"""All known groups. A feature set that is not among them, as of another package, is one group under its own name."""


@dataclass(frozen=True, slots=True)
class GroupColumns:
    """A group and its place among the values that a recipe reads.

    Attributes
    ----------
    group : Group
    columns, directed : ndarray, [k] int64
        Places of its columns, and of those with a direction.
    """

    group: Group
    columns: NDArray[np.int64]
    directed: NDArray[np.int64]


@lru_cache(maxsize=16)
def groups_read(recipe_input: str) -> tuple[GroupColumns, ...]:
    """Return the groups of the columns that a recipe's ``input`` reads, in order; each column is in exactly one.

    Parameters
    ----------
    recipe_input : str
        As ``catalogue.sets_read`` takes it.

    Raises
    ------
    ConfigError
        As ``catalogue.sets_read``.

    Examples
    --------
    >>> [one.group.title for one in groups_read("beats")]
    ['heart rate and regularity']
    """
    places: dict[Group, list[int]] = {}
    names: list[str] = []
    for feature_set in sets_read(recipe_input):
        rest = Group(feature_set.name, "", feature_set.name)
        known = [one for one in GROUPS if one.feature_set == feature_set.name]
        for column in feature_set.columns:
            group = next((one for one in known if re.match(one.pattern, column.name)), rest)
            places.setdefault(group, []).append(len(names))
            names.append(column.name)
    return tuple(
        GroupColumns(
            group,
            np.array(columns),
            np.array([i for i in columns if group.directed and re.match(group.directed, names[i])], np.int64),
        )
        for group, columns in places.items()
    )
