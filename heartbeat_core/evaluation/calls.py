"""Count what recordings of each label are called, in each database or with each device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from heartbeat_core.arrays import Codes
from heartbeat_core.labels import Targets

Calls = dict[str, dict[str, dict[str, int]]]
"""``calls[place][label][predicted]``: how many recordings of a database or device that are known to have the label were
predicted as another or the same one. Counts of 0 are left out; with several seeds, each row counts once for each."""


def count_calls(targets: Targets, places: Sequence[str], predictions: Iterable[tuple[Codes, Codes]]) -> Calls:
    """Count the predictions of the rows with one known label.

    Parameters
    ----------
    targets : Targets
        The labels of all rows.
    places : Sequence[str]
        The database or the device of each row.
    predictions : Iterable[tuple[ndarray, ndarray]]
        The numbers of some rows and the codes that were predicted for them, each [n] int64. A row may occur several
        times, as with several seeds.

    Returns
    -------
    Calls
        Places in alphabetical order, labels and predictions in the order of their codes.

    Examples
    --------
    >>> targets = Targets.of_cells(["murmur", "normal", "normal"], ("normal", "murmur"))
    >>> count_calls(targets, ["b", "a", "a"], [(np.array([0, 1, 2]), np.array([1, 0, 1]))])
    {'a': {'normal': {'normal': 1, 'murmur': 1}}, 'b': {'murmur': {'murmur': 1}}}
    """
    names, place_of = np.unique(places, return_inverse=True)
    n_labels = len(targets.labels)
    counts = np.zeros((len(names), n_labels, n_labels), np.int64)
    for rows, predicted in predictions:
        known = np.flatnonzero(targets.codes[rows] >= 0)
        np.add.at(counts, (place_of[rows[known]], targets.codes[rows[known]], predicted[known]), 1)
    found: Calls = {}
    for place, code, said in np.argwhere(counts).tolist():
        of_label = found.setdefault(str(names[place]), {}).setdefault(targets.labels[code], {})
        of_label[targets.labels[said]] = int(counts[place, code, said])
    return found


def shares_called(calls: Mapping[str, int]) -> tuple[int, dict[str, float]]:
    """Return the number of predictions, and the share of each predicted label.

    Parameters
    ----------
    calls : Mapping[str, int]
        Counts by predicted label: one label at one place of ``Calls``.

    Examples
    --------
    >>> shares_called({"normal": 3, "murmur": 1})
    (4, {'normal': 0.75, 'murmur': 0.25})
    """
    n = sum(calls.values())
    return n, {label: count / n for label, count in calls.items()}
