"""The definition of a feature set: its name, version, columns and inputs, and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from heartbeat_core.features.analysis import Analysis

Shape = Literal["vector", "sequence", "frames"]
"""``vector``: one value for each column. ``sequence``: [n, width], one row every few milliseconds. ``frames``: [n, 2],
the pairs of frequency and amplitude of the original project, which alignment padding places."""
Need = Literal["samples", "sample_rate_hz", "quality", "signal", "power", "log_mel", "rhythm_envelopes", "segmentation"]
"""An attribute of ``analysis.Analysis``."""
ColumnType = Literal["float", "double", "int32", "floats"]
"""The type of a stored column; ``floats`` is a list of floats."""

_UNITS = ("Hz", "bpm", "s", "frames")


@dataclass(frozen=True, slots=True)
class Column:
    """One stored value of a feature set.

    Attributes
    ----------
    name : str
        Unique among all feature sets that are written together.
    description : str
        One line that does not name the unit.
    unit : str | None
        None if the value has no unit.
    type : ColumnType
        How the value is stored.
    part : str | None
        The group that the column belongs to. A member of a bagged network can read a single group.
    """

    name: str
    description: str
    unit: str | None = None
    type: ColumnType = "float"
    part: str | None = None


@dataclass(frozen=True)
class FeatureSet:
    """One way to describe a recording with numbers.

    Attributes
    ----------
    name : str
        The name that recipes and ``--features`` use.
    version : str
        It changes whenever a value or a column changes.
    shape : Shape
        The shape of the values for one recording.
    columns : tuple[Column, ...]
        The columns of single values, in order; none if only models read the set.
    needs : tuple[Need, ...]
        The arguments of ``function``, in order. Empty for frames, which depend on the recipe.
    function : str | Callable[..., ndarray] | None
        Returns [len(columns)] or [n, width] float32. ``module:name`` is loaded at its first call, so a process that
        only needs names does not load its libraries. None for frames.
    introduction : str
        The text of its page before the table of columns.
    lists : tuple[Column, ...]
        Columns that hold a list for each recording. They are stored behind the others; models do not read them.
    lists_function : str | Callable[..., tuple[ndarray, ...]] | None
        Returns one [k_i] float32 for each of ``lists``; its arguments and its loading are those of ``function``.

    Examples
    --------
    >>> import numpy as np
    >>> loudness = FeatureSet("loudness", "loudness-v1", "vector", (Column("loudness", "root mean square"),),
    ...                       needs=("samples",), function=lambda x: np.sqrt(np.mean(np.square(x), keepdims=True)))
    >>> loudness.names
    ('loudness',)
    """

    name: str
    version: str
    shape: Shape
    columns: tuple[Column, ...] = ()
    needs: tuple[Need, ...] = ()
    function: str | Callable[..., NDArray[np.float32]] | None = None
    introduction: str = ""
    lists: tuple[Column, ...] = ()
    lists_function: str | Callable[..., tuple[NDArray[np.float32], ...]] | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of the columns of single values, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def stored(self) -> tuple[Column, ...]:
        """Return all columns of the ``features`` table, in order."""
        return (*self.columns, *self.lists)

    def compute(self, analysis: Analysis) -> NDArray[np.float32]:
        """Compute the set for one recording.

        Returns
        -------
        ndarray of float32
            [len(columns)] for a vector, [n, width] for a sequence.

        Raises
        ------
        RecordingError
            A named subclass: no features can be computed for the recording.
        ValueError
            The function returned values that do not match the columns.
        """
        values = self._function(*self._arguments(analysis))
        if self.shape == "vector" and values.shape != (len(self.columns),):
            raise ValueError(f"feature set '{self.name}' has {len(self.columns)} columns and gave {values.shape}")
        return values.astype(np.float32, copy=False)

    def compute_lists(self, analysis: Analysis) -> dict[str, NDArray[np.float32]]:
        """Return [k_i] float32 for each column of ``lists``, by its name; raises RecordingError as ``compute``."""
        if self.lists_function is None:
            return {}
        values = _loaded(self.lists_function)(*self._arguments(analysis))
        return {column.name: row.astype(np.float32) for column, row in zip(self.lists, values, strict=True)}

    def page(self) -> str:
        """Return the page about the columns as Markdown: for each its place from 0, name, unit and description."""
        rows = [
            f"| {place} | `{one.name}` | {one.unit or ''} | {one.description} |"
            for place, one in enumerate(self.stored)
        ]
        head = ["| place | name | unit | what it is |", "|---|---|---|---|"]
        return "\n".join([f"# {self.version}", "", self.introduction, *head, *rows, ""])

    @cached_property
    def _function(self) -> Callable[..., NDArray[np.float32]]:
        if self.function is None:
            raise ValueError(f"feature set '{self.name}' cannot be computed from a recording alone")
        function: Callable[..., NDArray[np.float32]] = _loaded(self.function)
        return function

    def _arguments(self, analysis: Analysis) -> list[Any]:
        return [getattr(analysis, need) for need in self.needs]


def _loaded(function: str | Callable[..., Any]) -> Callable[..., Any]:
    loaded: Callable[..., Any] = resolve_name(function) if isinstance(function, str) else function
    return loaded


def described(descriptions: Mapping[str, str], parts: Mapping[str, str]) -> tuple[Column, ...]:
    """Return float columns for descriptions such as ``"mean interval, s"``, in which the unit follows the last comma.

    Parameters
    ----------
    descriptions : Mapping[str, str]
        Descriptions by column name, in order.
    parts : Mapping[str, str]
        The prefix of the column names of each part, and the name of the part.
    """
    columns = []
    for name, text in descriptions.items():
        what, comma, unit = text.rpartition(", ")
        has_unit = bool(comma) and unit in _UNITS
        part = next((part for prefix, part in parts.items() if name.startswith(prefix)), None)
        columns.append(Column(name, what if has_unit else text, unit if has_unit else None, part=part))
    return tuple(columns)


def described_percentiles(shares: tuple[int, ...], text: str) -> dict[str, str]:
    """Return descriptions of percentiles by the names that ``series.percentiles`` gives them; share 0 is the least."""
    return {f"p{share:02d}": f"{share}th percentile {text}" if share else f"least {text}" for share in shares}
