"""Label maps: what the words of a source mean as labels.

A map is a YAML file::

    column: finding                             optional: the column of labels that is looked for first
    labels:                                     every word of the source, and the cell that it becomes
      present: murmur
      absent: normal|extrahls|extrastole        one of these
      unknown:                                  nothing

Small and capital letters do not tell words apart.
"""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from heartbeat_core.errors import ConfigError, InputError
from heartbeat_core.labels import SEPARATOR, parse_cell
from heartbeat_core.settings import Settings, parse_yaml
from jobs.settings import read_text


class LabelMap(Settings):
    """What the words of a source mean.

    Attributes
    ----------
    column : str | None
        The column of labels that is looked for first, None for the usual names.
    words : dict[str, str]
        By word, the cell that it becomes: a label, several joined by ``|``, or an empty text for nothing.
    source : str
        The name or file of the map, for messages.
    """

    column: str | None = None
    words: dict[str, str]
    source: str

    def apply(self, word: str | None, where: str) -> str | None:
        """Return the cell for a word, None for an empty cell or a word that says nothing.

        Parameters
        ----------
        word : str | None
            What the source has in its column of labels.
        where : str
            Its place, for messages.

        Raises
        ------
        InputError
            The map does not have the word.

        Examples
        --------
        >>> both = LabelMap(words={"Absent": "normal|extrahls", "Unknown": ""}, source="mine.yaml")
        >>> both.apply("absent ", "row 1"), both.apply("Unknown", "row 2"), both.apply(None, "row 3")
        ('normal|extrahls', None, None)
        """
        if word is None or not word.strip():
            return None
        cell = self._folded.get(_fold(word))
        if cell is None:
            raise InputError(
                f"{where}: the label map {self.source} does not have the word '{word.strip()}': it has "
                f"{', '.join(self.words)}"
            )
        return cell or None

    def has(self, word: str) -> bool:
        """Tell whether the map has a word."""
        return _fold(word) in self._folded

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {_fold(word): cell for word, cell in self.words.items()}


class _File(Settings):
    """The content of a map's file."""

    column: str | None = None
    labels: dict[str, str | None]

    @field_validator("labels", mode="before")
    @classmethod
    def _check_words(cls, labels: Any) -> Any:
        # YAML reads -1 as a number and no as a truth value.
        for word, cell in labels.items() if isinstance(labels, dict) else ():
            if not isinstance(word, str):
                told = f"{word} is not a word in YAML: put it into quotes, as it is in the source"
                raise PydanticCustomError("word", "{told}", {"told": told})
            if isinstance(cell, int | float):
                told = f"{word}: {cell} is not a word in YAML: put the label into quotes"
                raise PydanticCustomError("cell", "{told}", {"told": told})
            if isinstance(cell, list):
                told = f"{word}: write several labels as one word, such as '{SEPARATOR.join(map(str, cell))}'"
                raise PydanticCustomError("cell", "{told}", {"told": told})
        return labels


def load_label_map(text: str) -> LabelMap:
    """Return a shipped label map by its name, or read one from a YAML file.

    Parameters
    ----------
    text : str
        One of ``shipped_label_maps``, or the path or URL of a file that ends in ``.yaml`` or ``.yml``.

    Raises
    ------
    ConfigError
        There is no such map, or a key or value of the file is wrong.
    InputError
        The file is not there, or a cell is not made of labels.
    """
    if text.endswith((".yaml", ".yml")):
        return parse_label_map(read_text(text), text)
    if text in shipped_label_maps():
        return parse_label_map((_folder() / f"{text}.yaml").read_text(encoding="utf-8"), text)
    shipped = ", ".join(shipped_label_maps())
    raise ConfigError(f"unknown label map '{text}': shipped ones are {shipped}, or give a .yaml file")


def parse_label_map(text: str, source: str) -> LabelMap:
    """Return a label map from its YAML.

    Parameters
    ----------
    text : str
        As the module describes it.
    source : str
        The name or file of the map, for messages.

    Raises
    ------
    ConfigError
        It is not YAML, a key or value is wrong, or a word is empty or occurs twice.
    InputError
        A cell is not made of labels.

    Examples
    --------
    >>> parse_label_map("labels: {AS: stenosis, N: normal}", "mine.yaml").apply("as", "row 1")
    'stenosis'
    """
    content = parse_yaml(_File, text, source)
    words: dict[str, str] = {}
    seen: set[str] = set()
    for word, cell in content.labels.items():
        if _fold(word) in seen or not word.strip():
            raise ConfigError(f"{source}: labels: the word '{word}' is empty, or occurs twice but for capital letters")
        seen.add(_fold(word))
        parse_cell(cell, f"{source}: the word '{word}'")
        words[word] = (cell or "").strip()
    if not words:
        raise ConfigError(f"{source}: labels: expected a word and the label that it becomes, found nothing")
    return LabelMap(column=content.column, words=words, source=source)


def shipped_label_maps() -> list[str]:
    """Return the names of the label maps that are part of the package."""
    names = (entry.name for entry in _folder().iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _folder() -> Traversable:
    return files("heartbeat_core.configs") / "label_maps"


def _fold(word: str) -> str:
    return word.strip().casefold()
