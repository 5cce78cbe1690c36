"""The training set of the PhysioNet/CinC Challenge 2016 as it is published (PhysioNet ``challenge-2016`` 1.0.0).

The folder that is read::

    training-a/ … training-f/                         six databases; any of them
    training-x/REFERENCE.csv                          'name,class' a line: -1 normal, 1 abnormal
    training-x/NAME.wav                               a recording
    training-x/NAME.hea                               its header; a comment repeats the class
    training-x/REFERENCE_withSQI.csv, or
    annotations/updated/training-x/REFERENCE_withSQI.csv   'name,class,quality': 1 good, 0 unsure; may be absent

One of the folders ``training-x`` may also be given itself. The second signal of database a, an ECG, is not read. The
table leaves out ``validation/``, which repeats recordings of these folders. These files tell nothing of patients.

Source: Liu C, et al. An open access database for the evaluation of heart sound algorithms. Physiol Meas
2016;37(12):2181-2213.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from heartbeat_core.databases.database import DatabaseTable
from heartbeat_core.databases.folder import Folder, Problems, quoted
from heartbeat_core.databases.wfdb import Header, parse_header
from heartbeat_core.errors import InputError

REFERENCE = "REFERENCE.csv"
QUALITY = "REFERENCE_withSQI.csv"
CLASSES = {"-1": "normal", "1": "abnormal"}
DEVICES = {
    "a": "Welch Allyn Meditron",
    "b": "3M Littmann E4000",
    "c": "AUDIOSCOPE",
    "d": "prototype stethoscopes",
    "e": "MLT201/Piezo",
    "f": "JABES",
}
"""By database. In e this is the device of the normal recordings."""
DEVICE_E_ABNORMAL = "3M Littmann"

Row = dict[str, str | None]
T = TypeVar("T")

_NAME = re.compile(r"[a-f]\d+")


@dataclass(frozen=True, slots=True)
class Quality:
    """A line of ``REFERENCE_withSQI.csv``: the class in words, and 1 or 0."""

    word: str
    quality: str


class CinC2016:
    """Reads the database; see the module's docstring for its files."""

    name = "cinc2016"
    description = "PhysioNet/CinC Challenge 2016, training set: six databases with a device each, normal or abnormal"
    label_columns = ("class",)

    def read(self, folder: str) -> DatabaseTable:
        """Read the files; see ``Database.read``."""
        files = Folder(folder)
        prefixes = sorted({found[0] for path in files if (found := re.match(r"training-[a-f]/", path))})
        if not prefixes and REFERENCE not in files:
            raise InputError(f"{files.show()}: expected training-a to training-f or {REFERENCE}, found neither")
        problems = Problems()
        rows = [row for prefix in prefixes or [""] for row in _read_one(files, prefix, problems)]
        problems.check()
        notes = ["the published files do not name patients: each recording counts as a patient of its own"]
        if not any(row["quality"] for row in rows):
            notes.append(f"{QUALITY} is not there: the quality of the recordings is not known")
        return DatabaseTable.of_rows(rows, notes=notes)


CINC2016 = CinC2016()


def parse_reference(text: str, where: str) -> dict[str, str]:
    r"""Return the class of each recording, ``normal`` or ``abnormal``, from a ``REFERENCE.csv``.

    Parameters
    ----------
    text : str
        The content of the file.
    where : str
        Its name, for messages.

    Returns
    -------
    dict[str, str]
        By recording, in the order of the file.

    Raises
    ------
    InputError
        There is no line, a line is damaged, or a recording occurs twice.

    Examples
    --------
    >>> parse_reference("a0001,1\na0007,-1\n", "REFERENCE.csv")
    {'a0001': 'abnormal', 'a0007': 'normal'}
    """

    def word(cells: list[str]) -> str | None:
        return CLASSES.get(cells[0]) if len(cells) == 1 else None

    return _parse_lines(text, where, word, "'name,-1' or 'name,1'")


def parse_quality(text: str, where: str) -> dict[str, Quality]:
    r"""Return class and quality of each recording from a ``REFERENCE_withSQI.csv``.

    Parameters, order and errors are those of ``parse_reference``.

    Examples
    --------
    >>> parse_quality("a0001,1,0\n", "REFERENCE_withSQI.csv")
    {'a0001': Quality(word='abnormal', quality='0')}
    """

    def quality(cells: list[str]) -> Quality | None:
        is_known = len(cells) == 2 and cells[0] in CLASSES and cells[1] in ("0", "1")
        return Quality(CLASSES[cells[0]], cells[1]) if is_known else None

    return _parse_lines(text, where, quality, "'name,class,quality' with a class of -1 or 1 and a quality of 0 or 1")


def _parse_lines(text: str, where: str, parse: Callable[[list[str]], T | None], expected: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, *cells = [cell.strip() for cell in line.split(",")]
        content = parse(cells)
        if content is None or not _NAME.fullmatch(name):
            raise InputError(f"{where}: line {number}: expected {expected}, found {quoted(line)}")
        if name in found:
            raise InputError(f"{where}: line {number}: expected each recording once, found {name} twice")
        found[name] = content
    if not found:
        raise InputError(f"{where}: expected lines {expected}, found none")
    return found


def _read_one(files: Folder, prefix: str, problems: Problems) -> list[Row]:
    """Return the rows of one of the six databases."""
    classes = files.read_all({f"{prefix}{REFERENCE}": "it names the recordings"}, parse_reference, problems)
    if not classes:
        return []
    words = classes[f"{prefix}{REFERENCE}"]
    letter = prefix.removesuffix("/")[-1:] or next(iter(words))[0]
    shown = files.show(f"{prefix}{REFERENCE}")
    for name in words:
        with problems.of(f"{prefix}{REFERENCE}"):
            if name[0] != letter:
                raise InputError(f"{shown}: expected recordings of database {letter}, found {name}")
        with problems.of(f"{prefix}{name}.wav"):
            files.check_recording(f"{prefix}{name}.wav", REFERENCE)
    files.check_no_others(prefix, {f"{prefix}{name}.wav" for name in words}, REFERENCE, problems)
    headers = files.read_all({f"{prefix}{name}.hea": f"{REFERENCE} names it" for name in words}, parse_header, problems)
    qualities = _read_qualities(files, prefix, words, problems)
    rows: list[Row] = []
    for name, word in words.items():
        header = headers.get(f"{prefix}{name}.hea")
        if header is not None:
            with problems.of(f"{prefix}{name}.hea"):
                _check_header(header, name, word, files.show(f"{prefix}{name}.hea"))
            rows.append(_row(f"{prefix}{name}.wav", name, word, qualities.get(name), header))
    return rows


def _read_qualities(files: Folder, prefix: str, words: dict[str, str], problems: Problems) -> dict[str, Quality]:
    """Return what is known of the quality; a file of it may lie in two places."""
    for path in (f"{prefix}{QUALITY}", f"annotations/updated/{prefix}{QUALITY}"):
        if path not in files:
            continue
        qualities = files.read_all({path: "it is listed"}, parse_quality, problems).get(path, {})
        for name, quality in qualities.items():
            if quality.word != words.get(name, quality.word):
                with problems.of(path):
                    raise InputError(
                        f"{files.show(path)}: expected {name} to be {words[name]}, as in {REFERENCE}, found "
                        f"{quality.word}"
                    )
        return qualities
    return {}


def _check_header(header: Header, name: str, word: str, where: str) -> None:
    # A header without a class says nothing against REFERENCE.csv.
    classes = [comment.lower() for comment in header.comments if comment.lower() in CLASSES.values()]
    for what, expected, found in (
        ("record", name, header.record),
        ("file", f"{name}.wav", header.signals[0].file_name),
        ("class", word, *(classes[-1:] or [word])),
    ):
        if expected != found:
            raise InputError(f"{where}: expected the {what} {expected}, as in {REFERENCE}, found {found}")


def _row(path: str, name: str, word: str, quality: Quality | None, header: Header) -> Row:
    letter = name[0]
    return {
        "path": path,
        "class": word,
        "patient_id": None,
        "device": DEVICE_E_ABNORMAL if letter == "e" and word == "abnormal" else DEVICES[letter],
        "database": f"training-{letter}",
        "record_id": name,
        "quality": None if quality is None else quality.quality,
        "published_sample_rate_hz": f"{header.sample_rate_hz:g}",
        "published_n_samples": str(header.n_samples),
    }
