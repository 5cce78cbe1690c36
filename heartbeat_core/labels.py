"""Labels: their names, their order, and what the cells of a label column say.

A dataset and a model each have an ordered set of labels; the code of a label is its place in it. A cell holds one
label, or several joined by ``|`` ("one of these"), or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.errors import InputError

Labels = tuple[str, ...]

ORIGINAL_LABELS: Labels = ("normal", "extrahls", "murmur", "artifact", "extrastole")
"""The labels of the original project, in its order."""
SEPARATOR = "|"
"""Joins the labels of a cell that says "one of these"."""
PROBABILITY_PREFIX = "prob_"
"""Begins the name of the column of a label's probability."""
MAX_LABELS = 64
"""More different labels than this are hardly labels: more likely, the wrong column was named."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,62}")


def parse_cell(text: str | None, where: str) -> tuple[str, ...]:
    """Return the labels that a cell allows, each once, as they are spelled there; none for an empty cell.

    Parameters
    ----------
    text : str | None
        The cell.
    where : str
        Its place, for messages.

    Raises
    ------
    InputError
        A name cannot be the name of a column, or there is nothing on one side of a ``|``.

    Examples
    --------
    >>> parse_cell("Normal|extrahls", "labels.csv, row 1")
    ('Normal', 'extrahls')
    >>> parse_cell("  ", "labels.csv, row 2")
    ()
    """
    if text is None or not text.strip():
        return ()
    parts = [part.strip() for part in text.split(SEPARATOR)]
    if "" in parts:
        raise InputError(f"{where}: '{text.strip()}' has nothing on one side of a '{SEPARATOR}': name a label on each")
    return tuple(dict.fromkeys(check_name(part, where) for part in parts))


def check_name(name: str, where: str) -> str:
    """Return the name of a label, checked: it is to be a part of a column's name.

    Parameters
    ----------
    name : str
    where : str
        Its place, for messages.

    Raises
    ------
    InputError
        It is not 1 to 63 letters of English, digits and ``_``, or it begins with ``_``.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{where}: '{name}' cannot be a label, because it is to be a part of a column's name "
            f"({PROBABILITY_PREFIX}…): use at most 63 letters of English, digits and '_', or a --label-map that turns "
            "it into such a name"
        )
    return name


def settle_labels(found: Iterable[str], declared: Sequence[str] | None = None, where: str = "labels") -> Labels:
    """Return the ordered labels of a dataset. Small and capital letters do not tell labels apart.

    Parameters
    ----------
    found : Iterable[str]
        The labels that occur, as ``parse_cell`` returns them.
    declared : Sequence[str] | None
        The labels that the user named, in order. None takes the original's five where all labels are among them, and
        otherwise those that occur, in alphabetical order.
    where : str
        The source of the labels, for messages.

    Raises
    ------
    InputError
        A declared name cannot be a label, a label that occurs was not declared, two labels differ only in small and
        capital letters, or there are more than ``MAX_LABELS``.

    Examples
    --------
    >>> settle_labels(["murmur", "normal"])
    ('normal', 'extrahls', 'murmur', 'artifact', 'extrastole')
    >>> settle_labels(["MS", "AS", "MR"])
    ('AS', 'MR', 'MS')
    """
    names = sorted(set(found), key=lambda name: (name.casefold(), name))
    if declared is not None:
        labels = tuple(check_name(name, f"{where}: --labels-are") for name in declared)
        known = {name.casefold() for name in labels}
        if unknown := [name for name in names if name.casefold() not in known]:
            raise InputError(
                f"{where}: the label '{unknown[0]}' is not one of those of --labels-are ({', '.join(labels)}): add it "
                "there, or turn it into one of them with --label-map"
            )
    elif {name.casefold() for name in names} <= set(ORIGINAL_LABELS):
        return ORIGINAL_LABELS
    else:
        labels = tuple(names)
    folded: dict[str, str] = {}
    for name in labels:
        earlier = folded.setdefault(name.casefold(), name)
        if earlier != name or labels.count(name) > 1:
            raise InputError(
                f"{where}: the labels '{earlier}' and '{name}' would be one column: make them one with --label-map"
            )
    if len(labels) > MAX_LABELS:
        raise InputError(
            f"{where}: {len(labels)} different labels, such as '{labels[0]}' and '{labels[1]}', are more than the "
            f"{MAX_LABELS} that a model can have: is this the column of labels? Name it with --label-column"
        )
    return labels


def find_label(name: str, labels: Labels, where: str) -> str:
    """Return a label as it is spelled in ``labels``, whatever the mix of small and capital letters in ``name``.

    Parameters
    ----------
    name : str
        Spaces around it do not count.
    labels : Labels
    where : str
        The place of the name, for messages.

    Raises
    ------
    InputError
        It is none of them.
    """
    for label in labels:
        if label.casefold() == name.strip().casefold():
            return label
    raise InputError(f"{where}: '{name}' is not a label; the labels are {', '.join(labels)}")


def join_cell(names: Iterable[str], labels: Labels) -> str | None:
    """Return labels as the text of a cell, spelled and ordered as in ``labels``; None for no label.

    Names may have any mix of small and capital letters. Those that are not in ``labels`` are left out.

    Examples
    --------
    >>> join_cell(["Murmur", "NORMAL"], ORIGINAL_LABELS)
    'normal|murmur'
    """
    folded = {name.casefold() for name in names}
    return SEPARATOR.join(name for name in labels if name.casefold() in folded) or None


def common_labels(sets: Sequence[Labels], names: Sequence[str]) -> Labels:
    """Return the labels of several datasets together: those of the one that has all labels of the others.

    Parameters
    ----------
    sets : Sequence[Labels]
        The labels of each dataset, at least one.
    names : Sequence[str]
        The name of each dataset, for messages.

    Raises
    ------
    InputError
        There is no such dataset.
    """
    largest = max(sets, key=len)
    for labels, name in zip(sets, names, strict=True):
        if not set(labels) <= set(largest):
            raise InputError(
                f"the datasets have different labels: {', '.join(largest)} in {names[sets.index(largest)]}, "
                f"{', '.join(labels)} in {name}: build them with a --label-map that gives both the same labels"
            )
    return largest


def ordered_counts(counts: Mapping[str, int], labels: Labels) -> dict[str, int]:
    """Return counts of cells in order: those of one label first, in the order of the labels; none that is 0.

    Parameters
    ----------
    counts : Mapping[str, int]
        By the text of a cell, as ``join_cell`` returns it.
    labels : Labels
    """
    order = [*labels, *sorted(cell for cell in counts if cell not in labels)]
    return {cell: counts[cell] for cell in order if counts.get(cell)}


@dataclass(frozen=True)
class Targets:
    """What the labels say of n rows.

    Attributes
    ----------
    labels : Labels
        The ordered labels; a code is a place among them.
    possible : ndarray, [n, n_labels] bool
        The labels that each row may have: one where the label is known, several for "one of these". A row of all
        labels, or of none, says nothing.
    weights : ndarray, [n] float64 | None
        What each row counts in training; None leaves that to the model.
    databases : ndarray, [n] int64 | None
        The database of each row, as a number, for models that must not learn it; None: it is not known.

    Examples
    --------
    >>> targets = Targets.of_cells(["murmur", "normal|murmur", None], ("normal", "murmur"))
    >>> targets.codes
    array([ 1, -1, -1])
    >>> targets.cells()
    ['murmur', 'normal|murmur', None]
    """

    labels: Labels
    possible: NDArray[np.bool_]
    weights: NDArray[np.float64] | None = None
    databases: NDArray[np.int64] | None = None

    @classmethod
    def of_codes(cls, codes: NDArray[np.int64], labels: Labels = ORIGINAL_LABELS) -> Targets:
        """Return the targets of rows with one label each, by its code [n] int64, or none where the code is -1."""
        possible = np.zeros((len(codes), len(labels)), bool)
        known = np.flatnonzero(codes >= 0)
        possible[known, codes[known]] = True
        return cls(labels, possible)

    @classmethod
    def of_cells(cls, cells: Sequence[str | None], labels: Labels) -> Targets:
        """Return the targets of cells as a dataset stores them.

        Parameters
        ----------
        cells : Sequence[str | None]
            n texts as ``join_cell`` returns them.
        labels : Labels

        Raises
        ------
        ValueError
            A label is none of ``labels``, in this spelling.
        """
        possible = np.zeros((len(cells), len(labels)), bool)
        for row, cell in enumerate(cells):
            for name in cell.split(SEPARATOR) if cell else ():
                possible[row, labels.index(name)] = True
        return cls(labels, possible)

    def __len__(self) -> int:
        return len(self.possible)

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """[n] int64: the code of each row's label, and -1 where not exactly one is possible."""
        known = self.possible.sum(axis=1) == 1
        return np.where(known, self.possible.argmax(axis=1), -1).astype(np.int64)

    @cached_property
    def definite(self) -> NDArray[np.int64]:
        """[n_known] int64: the numbers of the rows whose label is known, ascending."""
        return np.flatnonzero(self.codes >= 0)

    @cached_property
    def present(self) -> NDArray[np.int64]:
        """[n_present] int64: codes of the labels that at least one row is known to have, ascending."""
        return np.unique(self.codes[self.definite])

    def labelled(self) -> NDArray[np.int64]:
        """Return the numbers of the rows that allow at least one label, and rule out at least one if there are more.

        They are [n_labelled] int64, ascending.
        """
        n_allowed = self.possible.sum(axis=1)
        return np.flatnonzero((n_allowed > 0) & (n_allowed < max(2, len(self.labels))))

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """[n_labels] float64: how many rows are known to have each label."""
        return np.bincount(self.codes[self.definite], minlength=len(self.labels)).astype(np.float64)

    @cached_property
    def expected_counts(self) -> NDArray[np.float64]:
        """[n_labels] float64: how many rows have each label.

        A row with several possible labels counts for each of them by its share of the rows whose label is known.
        """
        shares = self.possible[self.codes < 0] * self.counts
        total = shares.sum(axis=1, keepdims=True)
        divided = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
        found: NDArray[np.float64] = self.counts + divided.sum(axis=0)
        return found

    @cached_property
    def strata(self) -> NDArray[np.int64]:
        """[n] int64: the same number for rows that say the same; the code where the label is known."""
        found = self.codes.copy()
        others = np.flatnonzero(found < 0)
        _, pattern = np.unique(self.possible[others], axis=0, return_inverse=True)
        found[others] = len(self.labels) + pattern.reshape(-1)
        return found

    def cells(self) -> list[str | None]:
        """Return each row as the text of a cell; None for a row without a label."""
        return [join_cell((self.labels[code] for code in np.flatnonzero(row)), self.labels) for row in self.possible]

    def take(self, index: NDArray[np.int64]) -> Targets:
        """Return the rows at ``index``, [m] int64, in that order."""
        weights = None if self.weights is None else self.weights[index]
        databases = None if self.databases is None else self.databases[index]
        return Targets(self.labels, self.possible[index], weights, databases)

    def without(self, dropped: Iterable[int]) -> Targets:
        """Return the same rows without the possibility of the labels with these codes."""
        possible = self.possible.copy()
        possible[:, list(dropped)] = False
        return replace(self, possible=possible)

    def informative(self) -> NDArray[np.int64]:
        """Return the numbers of the rows that say something: they allow a label, and not all labels, that occur.

        They are [n_informative] int64, ascending. A label occurs if at least one row is known to have it. Nothing can
        be learned of the others.
        """
        n_allowed = self.possible[:, self.present].sum(axis=1)
        return np.flatnonzero((n_allowed > 0) & (n_allowed < len(self.present)))


def as_labels(targets: Targets, labels: Labels) -> Targets:
    """Return the same rows with codes of other labels, which are found by their names as ``find_label`` finds them.

    Raises
    ------
    InputError
        A row may have a label that is none of them.

    Examples
    --------
    >>> as_labels(Targets.of_cells(["Murmur", None], ("AS", "Murmur")), ("normal", "murmur")).cells()
    ['murmur', None]
    """
    folded = [label.casefold() for label in labels]
    occurring = np.flatnonzero(targets.possible.any(axis=0)).tolist()
    if unknown := [targets.labels[code] for code in occurring if targets.labels[code].casefold() not in folded]:
        raise InputError(
            f"the rows have labels that the model does not know: {', '.join(unknown)}; it knows {', '.join(labels)}: "
            "build the dataset with a --label-map that turns each into one of these, or into none"
        )
    possible = np.zeros((len(targets), len(labels)), bool)
    for code in occurring:
        possible[:, folded.index(targets.labels[code].casefold())] = targets.possible[:, code]
    return Targets(labels, possible)


def joined(parts: Sequence[Targets], labels: Labels) -> Targets:
    """Return the targets of all parts, one after the other, without their weights and databases.

    Parameters
    ----------
    parts : Sequence[Targets]
        Without a part, there are no rows.
    labels : Labels
        It has the labels of each part, and gives the codes.

    Raises
    ------
    ValueError
        A part has another label.
    """
    rows = [np.zeros((0, len(labels)), bool)]
    for part in parts:
        possible = np.zeros((len(part), len(labels)), bool)
        possible[:, [labels.index(name) for name in part.labels]] = part.possible
        rows.append(possible)
    return Targets(labels, np.concatenate(rows))
