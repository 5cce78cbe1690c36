"""What is known of a recording's person and place beside its label: age, sex and site of auscultation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_AGE_GROUPS = ((2, "0-1"), (13, "2-12"), (18, "13-17"), (40, "18-39"), (65, "40-64"), (math.inf, "65+"))
"""The age in years at which each group ends, and the group's name."""
_OLDEST = 130
_SEXES = {"f": "Female", "female": "Female", "m": "Male", "male": "Male"}


def values_of(name: str, texts: Sequence[str]) -> list[str]:
    """Return the value of each row by which it is grouped.

    An age in years becomes a group of ages, and a sex is spelt in one way; any other text stays as it is. A number that
    is no age is an unknown one, an empty text.

    Parameters
    ----------
    name : str
        ``age``, ``sex`` or ``site``; only the first two change a text.
    texts : Sequence[str]
        The cell of each row; empty where it is not known.

    Examples
    --------
    >>> values_of("age", ["1.5", "64", "Child", "999"])
    ['0-1', '40-64', 'Child', '']
    >>> values_of("sex", ["F", "female", "Male", "other"])
    ['Female', 'Female', 'Male', 'other']
    >>> values_of("site", ["1"])
    ['1']
    """
    if name == "age":
        return [_age_group(text) for text in texts]
    return [_SEXES.get(text.casefold(), text) for text in texts] if name == "sex" else list(texts)


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
    if not 0 <= years <= _OLDEST:  # Codes for an unknown age, such as -1 and 999.
        return ""
    return next(name for end, name in _AGE_GROUPS if years < end)
