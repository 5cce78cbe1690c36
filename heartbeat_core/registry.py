"""Named things that the package ships and that other packages add.

Another package adds one by an entry point in its ``pyproject.toml``::

    [project.entry-points."heartbeat.feature_sets"]
    murmur-energy = "my_package.features:MURMUR_ENERGY"

Every process that has the package installed then knows it, workers too. A notebook calls ``Registry.add`` instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from heartbeat_core.errors import ConfigError


class HasName(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """Return the name that recipes and commands use."""


T = TypeVar("T", bound=HasName)


class Registry(Generic[T]):
    """Things of one sort, by their names.

    Parameters
    ----------
    what : str
        What they are, for messages: "feature set".
    group : str
        The entry points' group that other packages use.
    built_in : Iterable[T]
        Those that the package ships; they come first in every order.
    """

    def __init__(self, what: str, group: str, built_in: Iterable[T]) -> None:
        self._what = what
        self._group = group
        self._known: dict[str, T] = {one.name: one for one in built_in}
        self._looked = False

    def get(self, name: str) -> T:
        """Return the one with a name.

        Raises
        ------
        ConfigError
            There is none; the message lists the names that there are.
        """
        # Reading the entry points takes milliseconds: built-in names do without.
        if name not in self._known:
            self._look()
        if name not in self._known:
            raise ConfigError(f"unknown {self._what} '{name}': there are {', '.join(self._known)}")
        return self._known[name]

    def all(self) -> list[T]:
        """Return all of them: those of the package, then the others."""
        self._look()
        return list(self._known.values())

    def ordered(self, names: Iterable[str]) -> list[T]:
        """Return those with the names in the registry's order, each once; raises ConfigError as ``get``."""
        wanted = {name: self.get(name) for name in names}
        return [one for name, one in self._known.items() if name in wanted]

    def add(self, one: T) -> None:
        """Add one to this process's registry.

        Raises
        ------
        ConfigError
            Another one has the name.
        """
        if self._known.setdefault(one.name, one) is not one:
            raise ConfigError(f"two {self._what}s are called '{one.name}': rename one of them")

    def _look(self) -> None:
        if self._looked:
            return
        self._looked = True
        for point in entry_points(group=self._group):
            try:
                one = point.load()
            except (ImportError, AttributeError) as error:
                raise ConfigError(f"{self._what} '{point.name}' ({point.value}) cannot be loaded: {error}") from None
            self.add(one)
