"""The definition of a feature set: its name, version, columns and inputs, and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.errors import ConfigError, FeaturesFailed, RecordingError

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

        Parameters
        ----------
        analysis : Analysis
            Of the recording; its attributes that the set needs are computed.

        Returns
        -------
        ndarray of float32
            [len(columns)] for a vector, [n, width] for a sequence.

        Raises
        ------
        RecordingError
            A named subclass: no features can be computed for the recording. ``FeaturesFailed`` if the values are not
            finite, or if the function of another package raises any other error, or gives values that do not match
            the columns. An error of this package's own function is raised as it is: it is one of the program.
        ConfigError
            The set needs what is not there, or its function cannot be loaded.
        ValueError
            The set cannot be computed from a recording alone.
        """
        if self.function is None:
            raise ValueError(f"feature set '{self.name}' cannot be computed from a recording alone")
        function, arguments = _loaded(self.function), self._arguments(analysis)
        with self._failing(self.function):
            values = self._finite(function(*arguments))
            if self.shape == "vector" and values.shape != (len(self.columns),):
                raise ValueError(f"it has {len(self.columns)} columns and gave {values.shape}")
            return values

    def compute_lists(self, analysis: Analysis) -> dict[str, NDArray[np.float32]]:
        """Compute the columns of ``lists`` for one recording; nothing for a set without them.

        Parameters
        ----------
        analysis : Analysis
            As for ``compute``.

        Returns
        -------
        dict[str, ndarray]
            [k_i] float32 for each column of ``lists``, by its name.

        Raises
        ------
        RecordingError, ConfigError
            As ``compute``.
        """
        if self.lists_function is None:
            return {}
        function, arguments = _loaded(self.lists_function), self._arguments(analysis)
        with self._failing(self.lists_function):
            rows = function(*arguments)
            return {column.name: self._finite(row) for column, row in zip(self.lists, rows, strict=True)}

    @contextmanager
    def _failing(self, function: str | Callable[..., Any]) -> Iterator[None]:
        """Make an error of another package's function one of the recording, so that the others are not lost."""
        try:
            yield
        except (RecordingError, MemoryError):
            raise
        except Exception as error:
            if _is_own(function):
                raise
            told = " ".join(str(error).split())
            raise FeaturesFailed(f"feature set '{self.name}': {type(error).__name__}: {told}") from error

    def _finite(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            found: NDArray[np.float32] = values.astype(np.float32, copy=False)
        if not np.isfinite(found).all():
            raise FeaturesFailed(f"feature set '{self.name}': it gave NaN or infinity")
        return found

    def page(self) -> str:
        """Return the page about the columns as Markdown: for each its place from 0, name, unit and description."""
        rows = [
            f"| {place} | `{one.name}` | {one.unit or ''} | {one.description} |"
            for place, one in enumerate(self.stored)
        ]
        head = ["| place | name | unit | what it is |", "|---|---|---|---|"]
        return "\n".join([f"# {self.version}", "", self.introduction, *head, *rows, ""])

    def _arguments(self, analysis: Analysis) -> list[Any]:
        unknown = set(self.needs) - set(get_args(Need))
        if unknown:
            raise ConfigError(
                f"feature set '{self.name}' needs '{min(unknown)}', which is none of {', '.join(get_args(Need))}"
            )
        return [getattr(analysis, need) for need in self.needs]


def _loaded(function: str | Callable[..., Any]) -> Callable[..., Any]:
    return _resolved(function) if isinstance(function, str) else function


def _is_own(function: str | Callable[..., Any]) -> bool:
    """Tell whether a function is of this package, and not of one that adds a feature set to it."""
    module = function if isinstance(function, str) else getattr(function, "__module__", None) or ""
    return module.startswith("heartbeat_core.")


@lru_cache(maxsize=64)
def _resolved(name: str) -> Callable[..., Any]:
    try:
        function: Callable[..., Any] = resolve_name(name)
    except Exception as error:  # The code of another package may raise any.
        if _is_own(name):
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"the function of a feature set, {name}, cannot be loaded: {told}") from error
    return function


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
    """Return descriptions of percentiles by the names that ``series.percentiles`` gives them; share 0 is the least.

    Parameters
    ----------
    shares : tuple[int, ...]
        In percent.
    text : str
        What the percentiles are of.
    """
    return {f"p{share:02d}": f"{share}th percentile {text}" if share else f"least {text}" for share in shares}
