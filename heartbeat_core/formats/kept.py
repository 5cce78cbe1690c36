"""Columns of a user's table that are kept: how they are called in ours, and which type holds all their values.

All parts of a table need the same types, and the last value may come from the last manifest. So each value, as it is
listed, strikes out the types that cannot hold it, and what is left at the end holds all of them.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from heartbeat_core.errors import InputError
from heartbeat_core.labels import PROBABILITY_PREFIX

KeptType = Literal["int64", "float64", "bool", "timestamp", "text"]

_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
"""Letters that are not an English one with an accent."""
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|-?inf|nan", re.IGNORECASE)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """A kept column: the name that the user gave, and the type of its values.

    Attributes
    ----------
    name : str
    type : KeptType

    Examples
    --------
    >>> KeptColumn("Recorded at", "timestamp").column
    'recorded_at'
    """

    name: str
    type: KeptType

    @property
    def column(self) -> str:
        """The name of the column in the tables that are written."""
        return kept_name(self.name)


def kept_name(name: str) -> str:
    """Return the name of a column in lower_snake_case, without accents.

    Examples
    --------
    >>> kept_name(" Größe (cm)"), kept_name("recordedAt")
    ('grosse_cm', 'recorded_at')
    """
    letters = "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", letters).lower().translate(_LETTERS)
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_")


def check_names(names: Iterable[str], taken: Iterable[str] = ()) -> None:
    """Check that the columns of these names can stand beside each other, and beside the columns ``taken``.

    Parameters
    ----------
    names : Iterable[str]
        As the user gave them.
    taken : Iterable[str]
        Names in lower_snake_case. What begins with ``prob_`` is always taken.

    Raises
    ------
    InputError
        A name has no letter of English and no digit, is taken, or becomes the same column as another.
    """
    of_results, earlier = set(taken), dict[str, str]()
    for name in names:
        column = kept_name(name)
        if not column:
            raise InputError(f"--keep-columns: '{name}' has no letter of English and no digit: rename the column")
        if column in of_results or column.startswith(PROBABILITY_PREFIX):
            raise InputError(
                f"--keep-columns: '{name}' would be the column '{column}', a name that the results have or reserve for "
                "themselves: rename it in your table"
            )
        if column in earlier:
            raise InputError(
                f"--keep-columns: '{earlier[column]}' and '{name}' would both be the column '{column}': rename one"
            )
        earlier[column] = name


def find_name(columns: Sequence[str], name: str) -> str | None:
    """Return the column of this name, else the first one that differs only in small and capital letters, else None."""
    if name in columns:
        return name
    return next((column for column in columns if column.casefold() == name.casefold()), None)


class KeptTypes:
    """The types that are still possible for each kept column.

    Parameters
    ----------
    names : Sequence[str]
        The names of the columns.
    settled : Sequence[KeptColumn]
        The same columns with their types, if these are settled already.

    Attributes
    ----------
    names : tuple[str, ...]

    Examples
    --------
    >>> types = KeptTypes(["site", "age", "note"])
    >>> types.add(["007", "3", None], "a.wav")
    >>> types.add(["12", "3.5", None], "b.wav")
    >>> [column.type for column in types.columns()]
    ['text', 'float64', 'text']
    """

    def __init__(self, names: Sequence[str], settled: Sequence[KeptColumn] = ()) -> None:
        self.names = tuple(names)
        self._settled = tuple(settled)
        self._possible: list[list[KeptType]] = [[one.type] for one in settled] or [list(_READERS) for _ in names]
        self._is_empty = [True] * len(names)

    def add(self, values: Sequence[str | None], where: str) -> None:
        """Add the values of one recording.

        Parameters
        ----------
        values : Sequence[str | None]
            In the order of the names; None for an empty cell.
        where : str
            The recording, for messages.

        Raises
        ------
        InputError
            The type of a column is settled and cannot hold its value, or a value is not valid Unicode.
        """
        for number, value in enumerate(values):
            if value is None:
                continue
            left = [kind for kind in self._possible[number] if _holds(kind, value)]
            if not left:
                raise InputError(self._describe(number, value, where))
            self._possible[number] = left
            self._is_empty[number] = False

    def columns(self) -> tuple[KeptColumn, ...]:
        """Return the columns, each with the first type that holds all its values; text for a column of none."""
        return self._settled or tuple(
            KeptColumn(name, "text" if is_empty else left[0])
            for name, left, is_empty in zip(self.names, self._possible, self._is_empty, strict=True)
        )

    def _describe(self, number: int, value: str, where: str) -> str:
        shown = ascii(value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…")
        what = f"{where}: the column '{self.names[number]}' has {shown}, which is not"
        if not self._settled:
            return f"{what} valid Unicode: correct it in the table"
        return (
            f"{what} {self._settled[number].type}, the type of this column in the output: correct the value, leave it "
            "empty, or name another output folder"
        )


def convert(value: str | None, kind: KeptType) -> Any:
    """Return a value of a kept column as Python's; None stays None.

    Parameters
    ----------
    value : str | None
        The cell.
    kind : KeptType

    Returns
    -------
    int | float | bool | datetime | str | None
        Times are aware, in UTC.

    Raises
    ------
    ValueError
        The type cannot hold the value.

    Examples
    --------
    >>> convert("2024-02-29", "timestamp").isoformat()
    '2024-02-29T00:00:00+00:00'
    """
    return None if value is None else _READERS[kind](value)


def _holds(kind: KeptType, value: str) -> bool:
    try:
        _READERS[kind](value)
    except ValueError:
        return False
    return True


def _read_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()) or not -(2**63) <= int(text) < 2**63:
        raise ValueError("not an int64 without leading zeros")
    return int(text)


def _read_float(text: str) -> float:
    stripped = text.strip()
    if not _FLOAT.fullmatch(stripped):
        raise ValueError("not a number without leading zeros")
    number = float(stripped)
    if math.isinf(number) and "inf" not in stripped.lower():
        raise ValueError("out of the range of a float64")
    # A long number without a point is an identifier, and would lose its last digits.
    if _INTEGER.fullmatch(stripped) and int(number) != int(stripped):
        raise ValueError("not exact as a float64")
    return number


def _read_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise ValueError("neither true nor false")
    return word == "true"


def _read_time(text: str) -> datetime:
    if not _TIME.fullmatch(text.strip()):
        raise ValueError("not an ISO date or time")
    moment = datetime.fromisoformat(text.strip())
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _read_text(text: str) -> str:
    text.encode()
    return text


_READERS: dict[KeptType, Callable[[str], Any]] = {
    "int64": _read_integer,
    "float64": _read_float,
    "bool": _read_bool,
    "timestamp": _read_time,
    "text": _read_text,
}
"""What reads a value of each type, in the order in which types are preferred; ValueError where it does not hold it."""
