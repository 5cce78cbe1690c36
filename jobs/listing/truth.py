"""The truth of a challenge: from the published files of its database, or from any table of recordings.

Recordings and truth are joined by file name without the ending of audio files, since a challenge's recordings are often
converted, and lie in other folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heartbeat_core import storage
from heartbeat_core.challenges.answers import Column, Truth
from heartbeat_core.challenges.challenge import Challenge
from heartbeat_core.databases.catalogue import DATABASES
from heartbeat_core.errors import InputError
from heartbeat_core.formats.audio_names import without_ending
from heartbeat_core.formats.records import read_records
from heartbeat_core.formats.table_names import TABLE_SUFFIXES
from heartbeat_core.storage.uris import public_uri, without_query
from jobs.listing.kept import same_patients
from jobs.listing.listing import PATH_COLUMNS

Cells = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class TruthTable:
    """The truth as it stands in its files, a row a recording.

    Attributes
    ----------
    source : str
        Where it was read, for messages.
    names : tuple[str, ...]
        n names, no two equal.
    records : tuple[str, ...]
        n recordings or patients: what is judged.
    columns : dict[str, tuple[str | None, ...]]
        The columns of the challenge that were found, with the meanings of their n cells.
    """

    source: str
    names: tuple[str, ...]
    records: tuple[str, ...]
    columns: dict[str, tuple[str | None, ...]]

    def by_record(self) -> Truth:
        """Return the truth of each recording or patient.

        Raises
        ------
        InputError
            Two rows of a patient disagree.
        """
        ids = tuple(sorted(set(self.records)))
        return Truth(ids, {name: self._collect(name, ids) for name in self.columns})

    def _collect(self, column: str, ids: Sequence[str]) -> tuple[str | None, ...]:
        found: dict[str, str] = {}
        for name, record, cell in zip(self.names, self.records, self.columns[column], strict=True):
            if cell is not None and found.setdefault(record, cell) != cell:
                raise InputError(
                    f"{self.source}: {record} has {column} {found[record]}, and its recording {name} {cell}: "
                    "make them the same"
                )
        return tuple(found.get(one) for one in ids)


def read_truth(source: str, challenge: Challenge) -> TruthTable:
    """Read the truth of a challenge.

    Parameters
    ----------
    source : str
        A table (``.csv``, ``.parquet``, ``.jsonl``), or the folder with the published files of the challenge's
        database.
    challenge : Challenge
        Names the columns that are looked for.

    Raises
    ------
    InputError
        It cannot be read, it names no recordings, or two of its rows have the same name.
    """
    shown = public_uri(source)
    cells = _read_table(source, shown) if _is_table(source) else DATABASES.get(challenge.database).read(source).columns
    paths = _find(cells, PATH_COLUMNS)
    if paths is None:
        raise InputError(
            f"{shown}: no column of recordings among {', '.join(cells)}: call it 'path'; for the published files of "
            f"{challenge.name}, name their folder"
        )
    numbers = [row for row, path in enumerate(paths) if path is not None]
    if not numbers:
        raise InputError(f"{shown}: it has no rows: give each recording a row with its path and its class")
    names = recording_names([str(paths[row]) for row in numbers], shown)
    given = same_patients(_find(cells, challenge.record_columns) or [None] * len(paths))
    records = [given[row] or challenge.record_of(name) for row, name in zip(numbers, names, strict=True)]
    columns = {}
    for column in (*(question.truth for question in challenge.questions), *challenge.facts):
        found = _meanings(cells, column)
        if found is not None:
            columns[column.name] = tuple(found[row] for row in numbers)
    return TruthTable(shown, tuple(names), tuple(records), columns)


def recording_names(paths: Sequence[str], source: str) -> list[str]:
    """Return the names by which recordings and truth are joined.

    Parameters
    ----------
    paths : Sequence[str]
        n paths or addresses.
    source : str
        Where they stand, for messages.

    Returns
    -------
    list[str]
        n names, in the same order: the last part of each path, without the ending of audio files.

    Raises
    ------
    InputError
        Two recordings have the same name.

    Examples
    --------
    >>> recording_names(["training-a/a0001.flac", "file:///data/33151_AV.wav"], "labels.csv")
    ['a0001', '33151_AV']
    """
    found: dict[str, str] = {}
    for path in paths:
        name = without_ending(without_query(path.strip().replace("\\", "/")).rpartition("/")[2])
        if name in found:
            raise InputError(
                f"{source}: '{public_uri(found[name])}' and '{public_uri(path)}' are both called {name}, and only the "
                "name tells recordings apart here: give each a name of its own, or classify without one of their "
                "folders (--exclude)"
            )
        found[name] = path
    return list(found)


def _is_table(source: str) -> bool:
    return source.lower().endswith(TABLE_SUFFIXES)


def _read_table(source: str, shown: str) -> Cells:
    try:
        with storage.refusals_as(InputError):
            data = storage.read(storage.to_uri(source))
    except FileNotFoundError:
        raise InputError(f"{shown}: no such file") from None
    return read_records(data, source[source.rindex(".") :].lower(), shown)


def _find(cells: Cells, candidates: Sequence[str]) -> Sequence[str | None] | None:
    """Return the column of the first candidate that is one, in upper or lower case; None where none is."""
    by_lower = {name.lower(): name for name in reversed(list(cells))}
    return next((cells[by_lower[one]] for one in candidates if one in by_lower), None)


def _meanings(cells: Cells, column: Column) -> list[str | None] | None:
    """Return a column from the first candidate whose cells, but for empty ones, are all words of it."""
    for candidate in column.candidates:
        words = [(cell or "").strip().lower() for cell in _find(cells, [candidate]) or ()]
        if any(words) and {word for word in words if word} <= column.words.keys():
            return [column.words.get(word) for word in words]
    return None
