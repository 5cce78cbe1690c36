"""The folder of a published database: listed once, its small text files read at the same time.

What is wrong with its files is collected in ``Problems``, so that one message tells how much there is to mend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from heartbeat_core import storage
from heartbeat_core.errors import InputError
from heartbeat_core.formats.audio_names import AUDIO_SUFFIXES, without_ending
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import public_uri

FILES_AT_ONCE = 16
"""How many files are read at the same time."""
PROBLEMS_NAMED = 3
"""Further files with a problem that a message names."""

LONGEST_QUOTE = 60
"""Characters of a file's content that a message shows."""

T = TypeVar("T")


def quoted(text: str) -> str:
    """Return a piece of a file as a message shows it.

    Examples
    --------
    >>> quoted("AV x.hea"), quoted("")
    ("'AV x.hea'", 'nothing')
    """
    return repr(text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…") if text else "nothing"


class Problems:
    """What is wrong with the files of a database.

    Examples
    --------
    >>> problems = Problems()
    >>> for name in ("a.hea", "b.hea", "c.hea"):
    ...     with problems.of(name):
    ...         raise InputError(f"{name}: it is empty")
    >>> problems.check()
    Traceback (most recent call last):
    heartbeat_core.errors.InputError: a.hea: it is empty; and 2 more: b.hea, c.hea
    """

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Collect an InputError in the block as the problem of a file; only a file's first problem counts."""
        try:
            yield
        except InputError as error:
            self._found.setdefault(name, str(error))

    def check(self) -> None:
        """Raise InputError if there is a problem: the first in full, and the names of the next few."""
        if not self._found:
            return
        (_, first), *others = self._found.items()
        named = ", ".join(name for name, _ in others[:PROBLEMS_NAMED])
        more = f"; and {len(others)} more: {named}{', …' if len(others) > PROBLEMS_NAMED else ''}" if others else ""
        raise InputError(first + more)


class Folder:
    """The files below a folder or URL. Hidden files are passed over, such as those of a file manager.

    Parameters
    ----------
    place : str
        The folder, or any URL that fsspec knows.

    Raises
    ------
    InputError
        It cannot be listed.
    StoreUnavailable
        The store does not answer.
    """

    def __init__(self, place: str) -> None:
        self.uri = storage.to_uri(place)
        with storage.refusals_as(InputError):
            entries = [entry for entry in storage.walk(self.uri) if not entry.is_special]
        self._uris = {entry.relative_path: entry.uri for entry in entries if _is_shown(entry.relative_path)}
        self._audio = {without_ending(path): path for path in self._uris if path.lower().endswith(AUDIO_SUFFIXES)}

    def __contains__(self, path: str) -> bool:
        return path in self._uris

    def __iter__(self) -> Iterator[str]:
        """Yield the paths of all files, relative to the folder, in order."""
        return iter(self._uris)

    def show(self, path: str = "") -> str:
        """Return a path below the folder as messages name it."""
        return storage.display(public_uri(storage.join(self.uri, path) if path else self.uri))

    def has_recording(self, path: str) -> bool:
        """Tell whether a recording is there, under its published name or with another audio ending."""
        return without_ending(path) in self._audio

    def check_recording(self, path: str, named_by: str) -> None:
        """Check that a recording is there; see ``has_recording``.

        Parameters
        ----------
        path : str
            Its published name, relative to the folder.
        named_by : str
            The file that names it, for messages.

        Raises
        ------
        InputError
            It is not there.
        """
        if not self.has_recording(path):
            raise InputError(f"{self.show(path)}: expected this recording, because {named_by} names it, found none")

    def check_no_others(self, prefix: str, known: set[str], named_by: str, problems: Problems) -> None:
        """Add a problem for each recording directly in a folder that is not among the known paths.

        Parameters
        ----------
        prefix : str
            The folder, relative to this one, with ``/`` behind it; empty for this one itself.
        known : set[str]
            Paths of recordings; their audio endings do not count.
        named_by : str
            What should name a recording, for messages.
        problems : Problems
            Takes the problems.
        """
        stems = {without_ending(path) for path in known}
        for stem, path in self._audio.items():
            if stem.startswith(prefix) and "/" not in stem[len(prefix) :] and stem not in stems:
                with problems.of(path):
                    raise InputError(f"{self.show(path)}: expected {named_by} to name this recording, and it does not")

    def read_text(self, path: str, why: str) -> str:
        """Return a text file (UTF-8).

        Parameters
        ----------
        path : str
            Relative to the folder.
        why : str
            Why the file should be there, for messages.

        Raises
        ------
        InputError
            It does not exist, is not text, or cannot be read.
        StoreUnavailable
            The store does not answer.
        """
        with storage.refusals_as(InputError):
            return self._read_text(path, why)

    def _read_text(self, path: str, why: str) -> str:
        shown = self.show(path)
        if path not in self._uris:
            raise InputError(f"{shown}: expected this file, because {why}, found none")
        try:
            text = storage.read(self._uris[path]).decode("utf-8-sig")
        except FileNotFoundError:
            raise InputError(f"{shown}: it is listed and not there: is it a broken link?") from None
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise InputError(f"{shown}: expected a text file, found other bytes")
        return text

    def read_all(self, wanted: Mapping[str, str], parse: Callable[[str, str], T], problems: Problems) -> dict[str, T]:
        """Read text files at the same time, and parse each.

        Parameters
        ----------
        wanted : Mapping[str, str]
            The paths, and for each why the file should be there, for messages.
        parse : Callable[[str, str], T]
            Turns a text into its content; it is given the text and the file's name for messages.
        problems : Problems
            Takes the files that are missing or damaged.

        Returns
        -------
        dict[str, T]
            By path, the content of the files without a problem, in the order of ``wanted``.

        Raises
        ------
        InputError
            A file cannot be read. This ends the reading at once, since the store may fail for all of them.
        StoreUnavailable
            The store does not answer.
        """
        found: dict[str, T] = {}
        pool = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="database")
        try:
            pending = [(path, retry.submit(pool, self._read_text, path, wanted[path])) for path in wanted]
            for path, future in pending:
                # A store that refuses one file may refuse all of them: that error ends the reading.
                with storage.refusals_as(InputError), problems.of(path):
                    found[path] = parse(future.result(), self.show(path))
        finally:
            pool.shutdown(cancel_futures=True)
        return found


def _is_shown(path: str) -> bool:
    """Tell whether a file is not hidden and its name is UTF-8, since tables and messages can hold no other name."""
    return not path.rpartition("/")[2].startswith(".") and path.isprintable()
