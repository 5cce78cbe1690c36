"""The PASCAL Classifying Heart Sounds Challenge 2011 (CHSC2011) as it is published.

The folder that is read::

    set_a.csv    columns dataset, fname, label, sublabel: recordings of the public, by a phone's app
    set_a/       their recordings
    set_b.csv    the same columns: recordings in hospitals, by a digital stethoscope
    set_b/       their recordings

One of the two sets is enough. The tables name recordings otherwise than the files are called; ``file_stem`` says how.
The names of set_b begin with the patient's number; set_a names no patients. ``set_a_timing.csv`` is not read: it holds
the positions of some heart sounds, and not their ends.

Source: P. Bentley, G. Nordehn, M. Coimbra, S. Mannor, "The PASCAL Classifying Heart Sounds Challenge 2011 (CHSC2011)
Results".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from heartbeat_core.databases.database import DatabaseTable
from heartbeat_core.databases.folder import Folder, Problems, quoted
from heartbeat_core.errors import InputError
from heartbeat_core.formats.audio_names import without_ending
from heartbeat_core.formats.records import read_records

DEVICES = {"a": "iStethoscope (phone)", "b": "DigiScope"}
"""By set."""

_IN_TABLE = re.compile(r"(?:Btraining_)?([A-Za-z]+)(?:_Btraining_([a-z]+))?_(\d.*)")
_FILE = re.compile(r"[A-Za-z]+_[a-z]*_(?:(\d+)_\d+_\w+|\d+)")
"""A file's name; that of set_b holds the number of the patient, the time in ms, and a letter, such as A or B1."""
_COLUMNS = ("fname", "label", "sublabel")

Row = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of ``set_a.csv`` or ``set_b.csv``: the recording's name there (``set_a/….wav``) and what is said of it."""

    name: str
    label: str | None
    sublabel: str | None


class Pascal:
    """Reads the database; see the module's docstring for its files."""

    name = "pascal"
    description = "PASCAL CHSC2011: set_a by a phone, set_b by a digital stethoscope; five labels"
    label_columns = ("label", "sublabel")

    def read(self, folder: str) -> DatabaseTable:
        """Read the files; see ``Database.read``."""
        files = Folder(folder)
        sets = [
            letter
            for letter in DEVICES
            if f"set_{letter}.csv" in files or any(path.startswith(f"set_{letter}/") for path in files)
        ]
        if not sets:
            raise InputError(f"{files.show()}: expected set_a.csv with set_a/ or set_b.csv with set_b/, found neither")
        problems = Problems()
        rows = [row for letter in sets for row in _read_set(files, letter, problems)]
        problems.check()
        return DatabaseTable.of_rows(rows)


PASCAL = Pascal()


def file_stem(name: str) -> str:
    """Return how a recording's file is called, without an ending, from its name in the table.

    Examples
    --------
    >>> file_stem("Btraining_normal_105_1305033453095_A"), file_stem("Bunlabelledtest_101_1305030823364_D")
    ('normal__105_1305033453095_A', 'Bunlabelledtest__101_1305030823364_D')
    >>> file_stem("Btraining_murmur_Btraining_noisymurmur_171_1307971016233_D")
    'murmur_noisymurmur_171_1307971016233_D'
    >>> file_stem("__201012172010"), file_stem("artifact__201012172012")
    ('Aunlabelledtest__201012172010', 'artifact__201012172012')
    """
    if name.startswith("__"):
        return f"Aunlabelledtest{name}"
    found = _IN_TABLE.fullmatch(name)
    return f"{found[1]}_{found[2] or ''}_{found[3]}" if found else name


def parse_table(text: str, where: str) -> list[Entry]:
    r"""Return the rows of ``set_a.csv`` or ``set_b.csv``.

    Parameters
    ----------
    text : str
        The content of the file.
    where : str
        Its path, for messages.

    Returns
    -------
    list[Entry]
        In the order of the file; None where a label or sublabel is empty.

    Raises
    ------
    InputError
        It is not such a table, or has no rows.

    Examples
    --------
    >>> parse_table("dataset,fname,label,sublabel\na,set_a/normal__1.wav,normal,\n", "set_a.csv")
    [Entry(name='set_a/normal__1.wav', label='normal', sublabel=None)]
    """
    records = read_records(text.encode(), ".csv", where)
    if missing := [name for name in _COLUMNS if name not in records]:
        raise InputError(f"{where}: expected the columns {', '.join(_COLUMNS)}, found none called {missing[0]}")
    entries = [Entry(name or "", *words) for name, *words in zip(*(records[name] for name in _COLUMNS), strict=True)]
    if not entries:
        raise InputError(f"{where}: expected a row a recording, found none")
    return entries


def _read_set(files: Folder, letter: str, problems: Problems) -> list[Row]:
    """Return the rows of set a or b."""
    table, prefix = f"set_{letter}.csv", f"set_{letter}/"
    shown = files.show(table)
    rows: list[Row] = []
    known: set[str] = set()
    for entry in files.read_all({table: "it names the recordings"}, parse_table, problems).get(table, []):
        with problems.of(f"{table} ({entry.name})"):
            stem = _stem(files, prefix, entry.name, shown)
            path = f"{prefix}{stem}.wav"
            if path in known:
                raise InputError(f"{shown}: expected each recording once, found {quoted(entry.name)} twice")
            known.add(path)
            files.check_recording(path, table)
            rows.append(_row(letter, stem, entry, shown))
    if known:
        files.check_no_others(prefix, known, table, problems)
    return rows


def _stem(files: Folder, prefix: str, name: str, where: str) -> str:
    """Return how the file of a row is called: as the table says, where there is such a file."""
    if not name.startswith(prefix):
        raise InputError(f"{where}: expected names that begin with {prefix}, found {quoted(name)}")
    stem = without_ending(name.removeprefix(prefix))
    return stem if files.has_recording(name) else file_stem(stem)


def _row(letter: str, stem: str, entry: Entry, where: str) -> Row:
    # A name contains the label, so that the two can be compared.
    expected = f"{entry.label or f'{letter.upper()}unlabelledtest'}_{entry.sublabel or ''}_"
    found = _FILE.fullmatch(stem)
    if found is None or not stem.startswith(expected) or bool(found[1]) != (letter == "b"):
        raise InputError(
            f"{where}: expected a name of set_{letter} with its label {quoted(entry.label or '')} and sublabel "
            f"{quoted(entry.sublabel or '')}, found {quoted(entry.name)}"
        )
    return {
        "path": f"set_{letter}/{stem}.wav",
        "label": entry.label,
        "sublabel": entry.sublabel,
        "patient_id": f"b{found[1]}" if found[1] else None,
        "device": DEVICES[letter],
        "database": f"pascal-{letter}",
        "record_id": stem,
    }
