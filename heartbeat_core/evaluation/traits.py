"""What is known of a recording's person and place beside its label: age, sex and site of auscultation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_AGE_GROUPS = ((2, "0-1"), (13, "2-12"), (18, "13-17"), (40, "18-39"), (65, "40-64"), (math.inf, "65+"))
"""The age in years at which each group ends, and the group's name."""


def values_of(name: str, texts: Sequence[str]) -> list[str]:
    """Return the value of each row by which it is grouped: a group for ages in years, any other text as it is.

    Examples
    --------
    >>> values_of("age", ["1.5", "64", "Child", ""])
    ['0-1', '40-64', 'Child', '']
    >>> values_of("site", ["1"])
    ['1']
    """
    return [_age_group(text) if name == "age" else text for text in texts]


def in_order(values: Iterable[str]) -> list[str]:
    """Return values in the order in which they are shown: groups of ages by age, all others by name.

    Examples
    --------
    >>> in_order({"Male", "13-17", "2-12", "Female"})
    ['2-12', '13-17', 'Female', 'Male']
    """
    groups = [name for _, name in _AGE_GROUPS]
    return sorted(values, key=lambda value: (groups.index(value) if value in groups else len(groups), value))


def _age_group(text: str) -> str:
    try:
        years = float(text)
    except ValueError:
        return text
    if math.isnan(years):
        return ""
    return next(name for end, name in _AGE_GROUPS if years < end) if 0 <= years < math.inf else text
