"""What a feature set is: its name, version and columns, what it is computed from, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from heartbeat_core.features.signal import Analysis

Shape = Literal["vector", "sequence", "frames"]
"""``vector``: one value a column. ``sequence``: [n, width], a row every few milliseconds. ``frames``: [n, 2], the
original's pairs of frequency and amplitude, which alignment padding places."""
Need = Literal["samples", "sample_rate_hz", "signal", "power"]
"""An attribute of ``signal.Analysis``."""
ColumnType = Literal["float", "double", "int32", "floats"]
"""Of a stored column; ``floats`` is a list of them."""

_UNITS = ("Hz", "s", "frames")


@dataclass(frozen=True, slots=True)
class Column:
    """One stored value of a feature set.

    Attributes
    ----------
    name : str
        Unique among all feature sets that are written together.
    description : str
        One line, without the unit.
    unit : str | None
        None where the value has none.
    type : ColumnType
        How it is stored.
    part : str | None
        The group of columns that it belongs to, which a member of a bagged network may read alone.
    """

    name: str
    description: str
    unit: str | None = None
    type: ColumnType = "float"
    part: str | None = None


@dataclass(frozen=True)
class FeatureSet:
    """One way to describe a recording by numbers.

    Attributes
    ----------
    name : str
        What recipes and ``--features`` call it.
    version : str
        Changes when a value or a column does.
    shape : Shape
        What one recording gives.
    columns : tuple[Column, ...]
        What is stored of it, in order; none where it is only read by models.
    needs : tuple[Need, ...]
        What ``function`` is called with, one argument each. Frames need nothing here: they depend on the recipe.
    function : str | Callable[..., ndarray] | None
        Returns [len(columns)] or [n, width] float32; as ``module:name`` it is loaded when it is called first, so that
        who only asks for names does without its libraries. None for frames.
    introduction : str
        What its page says before the table of columns.

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

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the columns' names, in order."""
        return tuple(column.name for column in self.columns)

    def compute(self, analysis: Analysis) -> NDArray[np.float32]:
        """Compute the set for one recording.

        Returns
        -------
        ndarray of float32
            [len(columns)] of a vector, [n, width] of a sequence.

        Raises
        ------
        RecordingError
            A named child: no features can be computed of the recording.
        ValueError
            The function returns something else than the columns promise.
        """
        values = self._loaded(*(getattr(analysis, need) for need in self.needs))
        if self.shape == "vector" and values.shape != (len(self.columns),):
            raise ValueError(f"feature set '{self.name}' has {len(self.columns)} columns and gave {values.shape}")
        return values.astype(np.float32, copy=False)

    def page(self) -> str:
        """Return the page that documents each column: its place from 0, name, unit and description, as Markdown."""
        rows = [
            f"| {place} | `{one.name}` | {one.unit or ''} | {one.description} |"
            for place, one in enumerate(self.columns)
        ]
        head = ["| place | name | unit | what it is |", "|---|---|---|---|"]
        return "\n".join([f"# {self.version}", "", self.introduction, *head, *rows, ""])

    @cached_property
    def _loaded(self) -> Callable[..., NDArray[np.float32]]:
        if not isinstance(self.function, str):
            if self.function is None:
                raise ValueError(f"feature set '{self.name}' is not computed of a recording alone")
            return self.function
        module, _, name = self.function.partition(":")
        loaded: Any = getattr(import_module(module), name)
        return loaded  # type: ignore[no-any-return]


def described(descriptions: Mapping[str, str], parts: Mapping[str, str]) -> tuple[Column, ...]:
    """Return float columns of descriptions such as ``"mean interval, s"``, whose unit follows the last comma.

    Parameters
    ----------
    descriptions : Mapping[str, str]
        By the columns' names, in order.
    parts : Mapping[str, str]
        How the names of a part's columns begin, and what the part is called.
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
