"""What a listing leaves out: counted, and said in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os.path import splitext

from heartbeat_core.wording import counted

ROWS_NAMED = 5
"""Rows of a manifest without a path that a message names."""
ENDINGS_NAMED = 3
"""Endings of skipped files that a message names."""
_LONGEST_ENDING = 8
_NO_ENDING = "without an ending"


@dataclass(slots=True)
class LeftOut:
    """The files and rows that are no recordings of a job.

    Attributes
    ----------
    n_filtered, n_duplicates : int
        Recordings that the selection leaves out, and repeated ones.
    n_special, n_not_utf8 : int
        FIFOs, sockets and devices; recordings whose names are not UTF-8.
    skipped : Counter[str]
        Files without an audio ending, by their endings in small letters.
    rows_without_path : dict[str, list[int]]
        By manifest, the numbers (from 1) of the rows whose path is empty.
    first_not_utf8 : str
        The first recording whose name is not UTF-8, as it is shown.

    Examples
    --------
    >>> left_out = LeftOut(n_filtered=2)
    >>> for path in ("a.m4a", "b.M4A", "README"):
    ...     left_out.skip(path)
    >>> list(left_out.describe())
    ['2 left out by the filters', '3 other files skipped (2 .m4a, 1 without an ending)']
    """

    n_filtered: int = 0
    n_duplicates: int = 0
    n_special: int = 0
    n_not_utf8: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    rows_without_path: dict[str, list[int]] = field(default_factory=dict)
    first_not_utf8: str = ""

    @property
    def n_skipped(self) -> int:
        """Files without an audio ending."""
        return self.skipped.total()

    def skip(self, path: str) -> None:
        """Count a file without an audio ending."""
        self.skipped[_ending(path)] += 1

    def refuse_name(self, shown: str) -> None:
        """Count a recording whose name is not UTF-8; ``shown`` is the name with escapes in place of the other bytes."""
        self.n_not_utf8 += 1
        self.first_not_utf8 = self.first_not_utf8 or shown

    def describe(self, *, with_names: bool = True) -> Iterator[str]:
        """Yield what was left out, one phrase for each reason.

        Parameters
        ----------
        with_names : bool
            Whether to name the endings of skipped files, in which a name may stand, and the first recording whose name
            is not UTF-8. Manifests are named in any case.
        """
        if self.n_filtered:
            yield f"{self.n_filtered} left out by the filters"
        if self.skipped:
            endings = f" ({self._endings()})" if with_names else ""
            yield f"{counted(self.n_skipped, 'other file')} skipped{endings}"
        if self.n_special:
            yield f"{counted(self.n_special, 'special file')} skipped"
        if self.n_not_utf8:
            named = "a name that is" if self.n_not_utf8 == 1 else "names that are"
            files = f"{counted(self.n_not_utf8, 'file')} with {named} not UTF-8"
            first = f" ({'first: ' * (self.n_not_utf8 > 1)}{self.first_not_utf8})" if with_names else ""
            yield f"{files} skipped{first}"
        for manifest, rows in self.rows_without_path.items():
            yield f"{counted(len(rows), 'row')} without a path skipped ({manifest}: {_shortened(rows)})"
        if self.n_duplicates:
            yield f"{self.n_duplicates} named twice and taken once"

    def _endings(self) -> str:
        """Name the commonest endings."""
        named = [f"{count} {ending}" for ending, count in self.skipped.most_common(ENDINGS_NAMED)]
        n_others = len(self.skipped) - len(named)
        return ", ".join([*named, *([f"{counted(n_others, 'more ending')}"] if n_others else [])])


def _ending(path: str) -> str:
    """Return the ending of a file's name; one that no format has, as that of ``a.0001``, is none.

    So a bucket of a million numbered files does not give a million endings.
    """
    ending = splitext(path)[1].lower()
    is_format = ending.isascii() and ending[1:].isalnum() and not ending[1:].isdigit()
    return ending if is_format and len(ending) <= _LONGEST_ENDING else _NO_ENDING


def _shortened(rows: Sequence[int]) -> str:
    """Name rows, not more than a few of them."""
    named = ", ".join(map(str, rows[:ROWS_NAMED]))
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {named}{more}"
