"""What a published database is: a name, and a function that reads its files as a table of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a recording.

    Attributes
    ----------
    path : str
        The recording, as in the column ``path`` of the table.
    start_s, end_s : float
        Seconds from the start of the published recording.
    state : int
        1 S1, 2 systole, 3 S2, 4 diastole, 0 not annotated.
    """

    path: str
    start_s: float
    end_s: float
    state: int


@dataclass(frozen=True)
class DatabaseTable:
    """What the files of a database say of its recordings.

    Attributes
    ----------
    columns : dict[str, list[str | None]]
        Columns of text, a row a recording, None where the files say nothing. There is always ``path`` (relative to the
        folder, with ``/`` and the published ending), the database's label columns, ``patient_id``, ``device``,
        ``database`` and ``record_id``.
    segments : list[Segment]
        The published segmentation; none where there is none.
    notes : list[str]
        One line for each thing that the user should know, such as an optional file that is not there.
    """

    columns: dict[str, list[str | None]]
    segments: list[Segment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[dict[str, str | None]],
        segments: list[Segment] | None = None,
        notes: list[str] | None = None,
    ) -> DatabaseTable:
        """Return the table of rows; a row says nothing in the columns that it lacks.

        Parameters
        ----------
        rows : Sequence[dict[str, str | None]]
            The cells of each recording, by column.
        segments : list[Segment] | None
            The published segmentation; None where there is none.
        notes : list[str] | None
            Lines for the user; None for none.

        Returns
        -------
        DatabaseTable
            Its columns are in the order in which the rows name them first.

        Examples
        --------
        >>> DatabaseTable.of_rows([{"path": "a.wav"}, {"path": "b.wav", "age": "Child"}]).columns
        {'path': ['a.wav', 'b.wav'], 'age': [None, 'Child']}
        """
        names = dict.fromkeys(name for row in rows for name in row)
        return cls({name: [row.get(name) for row in rows] for name in names}, segments or [], notes or [])


class Database(Protocol):
    """A published database."""

    @property
    def name(self) -> str:
        """The name that commands use."""

    @property
    def description(self) -> str:
        """One line: what it is."""

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns that can be labels, the default first."""

    def read(self, folder: str) -> DatabaseTable:
        """Read the files in a folder, or below any URL.

        Parameters
        ----------
        folder : str
            The folder as it was published: a path or any fsspec URL.

        Returns
        -------
        DatabaseTable
            One row per recording.

        Raises
        ------
        InputError
            A file is missing, damaged, or contradicts another. The message is one line that names it.
        StoreUnavailable
            The store does not answer.
        """
