"""Words for people that several wings need."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "recording"), counted(2, "patient")
    ('1 recording', '2 patients')
    """
    return f"{n} {noun}{'s' * (n != 1)}"
