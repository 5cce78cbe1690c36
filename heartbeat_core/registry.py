"""Named items that this package ships or that other packages add.

Another package adds an item with an entry point in its ``pyproject.toml``::

    [project.entry-points."heartbeat.feature_sets"]
    murmur-energy = "my_package.features:MURMUR_ENERGY"

Every process that has the package installed then knows the item, also on workers. A notebook calls ``Registry.add``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from heartbeat_core.errors import ConfigError


class HasName(Protocol):
    """An item with a name."""

    @property
    def name(self) -> str:
        """Return the name that recipes and commands use."""


T = TypeVar("T", bound=HasName)


class Registry(Generic[T]):
    """Items of one sort, by name.

    Parameters
    ----------
    what : str
        The sort of the items, for messages: "feature set".
    group : str
        The entry point group that other packages use.
    built_in : Iterable[T]
        The items that the package ships; they come first in every order.

    Examples
    --------
    >>> from heartbeat_core.learning.kinds import ModelKind
    >>> kinds = Registry("model", "example.kinds", [ModelKind("mean", {"vector": "example:Mean"})])
    >>> kinds.add(ModelKind("median", {"vector": "example:Median"}))
    >>> kinds.get("median").name
    'median'
    >>> kinds.get("Mean")
    Traceback (most recent call last):
    heartbeat_core.errors.ConfigError: unknown model 'Mean': it is spelt 'mean'
    """

    def __init__(self, what: str, group: str, built_in: Iterable[T]) -> None:
        self._what = what
        self._group = group
        self._known: dict[str, T] = {one.name: one for one in built_in}
        self._looked = False
        self._lock = threading.RLock()

    def get(self, name: str) -> T:
        """Return the item with a name.

        Raises
        ------
        ConfigError
            There is no such item; the message lists the existing names. Or an item of another package cannot be loaded.
        """
        # Reading the entry points takes milliseconds; built-in names do not need it.
        if name not in self._known:
            self._look()
        if name not in self._known:
            spelt = next((known for known in self._known if known.casefold() == name.casefold()), None)
            hint = f"there are {', '.join(self._known)}" if spelt is None else f"it is spelt '{spelt}'"
            raise ConfigError(f"unknown {self._what} '{name}': {hint}")
        return self._known[name]

    def all(self) -> list[T]:
        """Return all items: first those of this package, then the others.

        Raises
        ------
        ConfigError
            An item of another package cannot be loaded, or has the name of another item.
        """
        self._look()
        return list(self._known.values())

    def ordered(self, names: Iterable[str]) -> list[T]:
        """Return the items with these names, each once, in registry order.

        Raises
        ------
        ConfigError
            As ``get``.
        """
        wanted = {name: self.get(name) for name in names}
        return [one for name, one in self._known.items() if name in wanted]

    def add(self, one: T) -> None:
        """Add an item to the registry of this process.

        Raises
        ------
        ConfigError
            Another item has the same name.
        """
        if self._known.setdefault(one.name, one) is not one:
            raise ConfigError(f"two {self._what}s are called '{one.name}': rename one of them")

    def _look(self) -> None:
        # The other threads of a worker wait until all items are there.
        with self._lock:
            if self._looked:
                return
            for point in entry_points(group=self._group):
                try:
                    self.add(point.load())
                except ConfigError:
                    raise
                except Exception as error:  # The code of another package may raise any.
                    package = "" if point.dist is None else f" of the package '{point.dist.name}'"
                    told = " ".join(f"{type(error).__name__}: {error}".split())
                    raise ConfigError(
                        f"{self._what} '{point.name}' ({point.value}){package} cannot be loaded: {told}"
                    ) from error
            self._looked = True  # Not before: each call says what cannot be loaded.
