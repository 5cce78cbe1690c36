"""Splits that hold out one database, or one recording device, and train on all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.errors import DatasetError
from heartbeat_core.evaluation.splits import Split

Place = Literal["database", "device"]


def leave_one_out(names: Sequence[str], groups: Sequence[str], place: Place) -> list[Split]:
    """Hold out one database or device after the other.

    The training rows are all other rows, without those of a person who occurs in the test rows. So no person is on
    both sides, and a row of a person who occurs in two places is a training row of neither of the two splits.

    Parameters
    ----------
    names : Sequence[str]
        The database or device of each row.
    groups : Sequence[str]
        The person of each row.
    place : Place
        Whether the names are of databases or of devices, for messages.

    Returns
    -------
    list[Split]
        One split for each name, in alphabetical order. Each row is a test row of exactly one.

    Raises
    ------
    DatasetError
        There are fewer than two names, or no training rows are left for one of them.

    Examples
    --------
    >>> [(held.name, held.training.tolist()) for held in leave_one_out(["b", "a", "b"], ["1", "2", "3"], "database")]
    [('a', [0, 2]), ('b', [1])]
    """
    of_row, person = np.asarray(names), np.asarray(groups)
    found = sorted(set(names))
    if len(found) < 2:
        seen = f"all {len(names)} rows are of '{found[0]}'" if found else "there are no rows"
        raise DatasetError(
            f"leave-one-{place}-out needs rows of at least two {place}s, and {seen}: add a dataset with another "
            f"{place}, or evaluate with the grouped folds"
        )
    return [_held(name, of_row == name, person, place) for name in found]


def _held(name: str, is_test: NDArray[np.bool_], person: NDArray[np.str_], place: Place) -> Split:
    is_training = ~np.isin(person, person[is_test])
    if not is_training.any():
        raise DatasetError(
            f"leave-one-{place}-out has no training rows for the {place} '{name}', because each person of the others "
            f"occurs in it as well: add a dataset of other persons, or evaluate with the grouped folds"
        )
    return Split(name, np.flatnonzero(is_training), np.flatnonzero(is_test))
