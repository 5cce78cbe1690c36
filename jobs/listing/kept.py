"""Which columns of a manifest or label file go along with a recording: those that the user keeps, and the patient's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from heartbeat_core.errors import InputError
from heartbeat_core.formats.kept import find_name
from heartbeat_core.storage.uris import public_uri

PATIENT_COLUMNS = ("patient_id", "patient", "subject_id", "subject")
"""Names by which the column of patients is found when no option names it."""

GAPS = frozenset({"nan", "none", "na", "n/a", "<na>", "null"})
"""What programs write for a missing value, in small letters."""

_WHOLE_FLOAT = re.compile(r"\d+\.0")

Records = Mapping[str, Sequence[str | None]]
"""A table as ``read_records`` returns it."""


def kept_cells(records: Records, keep: Sequence[str]) -> Iterator[tuple[str | None, ...]]:
    """Yield the kept cells of each row.

    A cell that is an address loses its password and its query, which may hold a secret.

    Parameters
    ----------
    records : Records
        A table: by column, n cells each.
    keep : Sequence[str]
        The names of m columns; small and capital letters do not tell them apart.

    Returns
    -------
    Iterator[tuple[str | None, ...]]
        n tuples of m cells; None for an empty cell, and for a column that this table does not have.

    Examples
    --------
    >>> table = {"path": ["a.wav", "b.wav"], "Site": ["AV", " "]}
    >>> list(kept_cells(table, ["site", "age"]))
    [('AV', None), (None, None)]
    """
    found = [find_name(list(records), name) for name in keep]
    for row in range(_n_rows(records)):
        cells = (None if name is None else records[name][row] for name in found)
        yield tuple(_public(cell) if cell and cell.strip() else None for cell in cells)


def readable_cells(records: Records, column: str, source: str) -> Sequence[str | None]:
    """Return the cells of a column that goes into the tables.

    Parameters
    ----------
    records : Records
    column : str
        One of its columns.
    source : str
        The table, for messages.

    Raises
    ------
    InputError
        One of them is not valid Unicode: JSON may hold half a surrogate pair. The message names ``source`` and the row.
    """
    for row, cell in enumerate(records[column], 1):
        try:
            (cell or "").encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{source}, row {row}: the column '{column}' has {cell!a}, which is not valid Unicode: correct it"
            ) from None
    return records[column]


def is_gap(cell: str | None) -> bool:
    """Tell whether a cell holds one of ``GAPS``."""
    return cell is not None and cell.strip().lower() in GAPS


def gap_note(column: str, word: str, n: int) -> str:
    """Return what a user should know of n cells of a column of labels that hold one of ``GAPS``.

    Parameters
    ----------
    column : str
    word : str
        What the cells hold.
    n : int
        How many.
    """
    return (
        f"{n} {'cell' if n == 1 else 'cells'} of the column '{column}' {'is' if n == 1 else 'are'} '{word}', which is "
        "taken for an empty cell: if it is a label, name it in --labels-are or in a --label-map"
    )


def same_patients(cells: Sequence[str | None]) -> Sequence[str | None]:
    """Return the cells of a column of patients, named as in any other table; None for one of ``GAPS``.

    Programs write whole numbers as ``33151.0`` where a column has gaps. The same patient may be ``33151`` in another
    table, so a column in which all cells are written that way loses the ``.0``.

    Examples
    --------
    >>> same_patients(["33151.0", "nan"]), same_patients(["33151.0", "P7"])
    (['33151', None], ['33151.0', 'P7'])
    """
    known = [None if is_gap(cell) else cell for cell in cells]
    if all(_WHOLE_FLOAT.fullmatch(cell) for cell in known if cell):
        return [cell and cell.removesuffix(".0") for cell in known]
    return known


@dataclass(frozen=True, slots=True)
class ManifestColumns:
    """Which columns of manifests go along.

    Attributes
    ----------
    keep : tuple[str, ...]
        The names of the columns to keep.
    patient : str | None
        The name of the column of patients; None finds it by its usual names, if it is there.
    elsewhere : tuple[str, ...]
        The columns of another table that may have their values instead, such as a label file.
    """

    keep: tuple[str, ...] = ()
    patient: str | None = None
    elsewhere: tuple[str, ...] = ()

    def settled(self, records: Records, source: str) -> Records:
        """Return a table whose column of patients, if it has one, is ``same_patients``.

        Both the patient of a recording and a kept column are taken from it, and so they are the same.

        Parameters
        ----------
        records : Records
        source : str
            The table, for messages.

        Raises
        ------
        InputError
            As ``readable_cells``, of the column of patients.
        """
        column = self._patient_column(records)
        if column is None:
            return records
        return {**records, column: same_patients(readable_cells(records, column, source))}

    def patients(self, records: Records) -> Sequence[str | None]:
        """Return the patient of each row of a table that is ``settled``; None where a row or the table has none."""
        column = self._patient_column(records)
        return [None] * _n_rows(records) if column is None else records[column]

    def check(self, of_manifests: Sequence[str]) -> None:
        """Check that each named column is one of all manifests together, or of the other table.

        Parameters
        ----------
        of_manifests : Sequence[str]
            The names of the columns of all manifests.

        Raises
        ------
        InputError
            A column is not there. The message lists those that are.
        """
        columns = list(dict.fromkeys((*of_manifests, *self.elsewhere)))
        named = [("--keep-columns", name) for name in self.keep]
        if self.patient is not None:
            named.append(("--patient-column", self.patient))
        for option, name in named:
            if find_name(columns, name) is None:
                there = f"the columns are: {', '.join(columns)}" if columns else "no input is a manifest"
                raise InputError(f"{option}: no manifest or label file has a column '{name}'; {there}")

    def _patient_column(self, records: Records) -> str | None:
        wanted = PATIENT_COLUMNS if self.patient is None else (self.patient,)
        return next((found for name in wanted if (found := find_name(list(records), name)) is not None), None)


def _public(cell: str) -> str:
    """Return a cell; of an address, what may be stored."""
    return public_uri(cell) if "://" in cell else cell


def _n_rows(records: Records) -> int:
    return len(next(iter(records.values()), ()))
