"""The CirCor DigiScope Phonocardiogram Dataset as it is published (PhysioNet ``circor-heart-sound`` 1.0.3).

The folder that is read::

    training_data.csv             a row a patient; repeats what ID.txt says
    training_data/ID.txt          'ID n rate', n lines 'SITE hea wav tsv', and lines '#Key: value' (nan: nothing)
    training_data/ID_SITE.wav     a recording; ID_SITE_1, ID_SITE_2 where a site has several
    training_data/ID_SITE.hea     its header
    training_data/ID_SITE.tsv     its segmentation: start, end (seconds), state

``training_data/`` may also be given itself. Source: Oliveira J, et al. The CirCor DigiScope Dataset. IEEE J Biomed
Health Inform 2022, doi:10.1109/JBHI.2021.3137048.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from heartbeat_core.databases.database import DatabaseTable, Segment
from heartbeat_core.databases.folder import Folder, Problems, quoted
from heartbeat_core.databases.wfdb import Header, parse_header
from heartbeat_core.errors import InputError
from heartbeat_core.formats.records import read_records

DATA = "training_data/"
TABLE = "training_data.csv"
SITES = ("AV", "PV", "TV", "MV", "Phc")
"""Aortic, pulmonary, tricuspid and mitral valve, and any other place."""
MURMURS = ("Present", "Absent", "Unknown")
OUTCOMES = ("Normal", "Abnormal")
STATES = range(5)
DEVICE = "Littmann 3200 (DigiScope Collector)"

_NAMES = {
    "height": "height_cm",
    "weight": "weight_kg",
    "pregnancy_status": "pregnancy",
    "locations": "recording_locations",
    "patient_id": "record_id",
}
"""Columns that are named otherwise than their keys."""
_NUMBERS = ("height_cm", "weight_kg", "additional_id")

Facts = dict[str, str | None]
Piece = tuple[float, float, int]


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that a patient's file names: where it was taken, and its path without an ending."""

    site: str
    stem: str


@dataclass(frozen=True, slots=True)
class Patient:
    """The content of one ``ID.txt``.

    Attributes
    ----------
    number : str
        The published number. One person may have two.
    sample_rate_hz : int
        Of all recordings.
    recordings : tuple[Recording, ...]
        In the order of the file.
    facts : dict[str, str | None]
        What the ``#Key: value`` lines say, by the name of the column.
    """

    number: str
    sample_rate_hz: int
    recordings: tuple[Recording, ...]
    facts: Facts


class CirCor:
    """Reads the database; see the module's docstring for its files."""

    name = "circor"
    description = "CirCor DigiScope 1.0.3: children and young people, up to five sites each, murmur and outcome"
    label_columns = ("murmur", "outcome", "finding")

    def read(self, folder: str) -> DatabaseTable:
        """Read the files; see ``Database.read``.

        Notes
        -----
        ``murmur`` and ``outcome`` are of the patient, ``finding`` of the recording: ``murmur`` at the sites where the
        patient's murmur is heard, ``normal`` or ``no_murmur`` (by outcome) for a patient without a murmur, and nothing
        at the other sites or where a murmur is unknown. ``patient_id`` joins the numbers of one person.
        """
        files = Folder(folder)
        prefix = DATA if any(path.startswith(DATA) for path in files) else ""
        problems = Problems()
        wanted = {path: "it is listed" for path in files if re.fullmatch(re.escape(prefix) + r"\d+\.txt", path)}
        if not wanted:
            raise InputError(f"{files.show()}: expected {DATA} with a file ID.txt for each patient, found none")
        patients = list(files.read_all(wanted, parse_patient, problems).values())
        # What follows relies on these files.
        problems.check()

        paths = {f"{prefix}{one.stem}.wav" for patient in patients for one in patient.recordings}
        segments = _read_recordings(files, prefix, patients, problems)
        files.check_no_others(prefix, paths, "its patient's ID.txt", problems)
        notes = _check_table(files, patients, problems)
        problems.check()

        persons = join_numbers(_links(patients))
        rows = [
            _row(patient, one, f"{prefix}{one.stem}.wav", persons[int(patient.number)])
            for patient in patients
            for one in patient.recordings
        ]
        return DatabaseTable.of_rows(rows, segments, notes)


CIRCOR = CirCor()


def parse_patient(text: str, where: str) -> Patient:
    """Return the content of an ``ID.txt``.

    Parameters
    ----------
    text : str
        The content of the file.
    where : str
        Its path, which ends in the patient's number and ``.txt``; also for messages.

    Raises
    ------
    InputError
        The text is damaged, or contradicts the file's name.
    """
    number = where.rpartition("/")[2].removesuffix(".txt")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = (lines or [""])[0]
    found = re.fullmatch(r"(\d+) (\d+) (\d+)", first)
    if found is None or found[1] != number or not int(found[2]) or not int(found[3]):
        raise InputError(f"{where}: expected a first line '{number} recordings rate', found {quoted(first)}")
    named = [line for line in lines[1:] if not line.startswith("#")]
    if len(named) != int(found[2]):
        raise InputError(f"{where}: expected {found[2]} recordings, as its first line says, found {len(named)}")
    recordings = tuple(_parse_recording(line, number, where) for line in named)
    twice = {one.stem for one in recordings if recordings.count(one) > 1}
    if twice:
        raise InputError(f"{where}: expected each recording once, found {min(twice)} twice")
    pairs = [line[1:].partition(":")[::2] for line in lines[1:] if line.startswith("#")]
    return Patient(number, int(found[3]), recordings, _facts(pairs, where))


def parse_segments(text: str, where: str) -> list[Piece]:
    r"""Return the segmentation of a recording from its ``.tsv``.

    Parameters
    ----------
    text : str
        The content of the file.
    where : str
        Its path, for messages.

    Returns
    -------
    list[tuple[float, float, int]]
        Start and end in s, and the state (as in ``Segment``), in the order of the file. Pieces of no length are left
        out, and pieces that overlap are kept: both occur as published.

    Raises
    ------
    InputError
        There is no line, or a line is damaged: a piece that ends before it begins, too.

    Examples
    --------
    >>> parse_segments("0\t2.7055\t0\n2.7055\t2.7055\t1\n2.7055\t2.796155\t1\n", "1_AV.tsv")
    [(0.0, 2.7055, 0), (2.7055, 2.796155, 1)]
    """
    pieces = []
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{where}: expected lines of start, end and state, found none")
    for number, line in lines:
        try:
            start_s, end_s, state = map(float, line.split("\t"))
        except ValueError:
            start_s, end_s, state = math.nan, math.nan, math.nan
        if not (0 <= start_s < math.inf and 0 <= end_s < math.inf and state in STATES):
            raise InputError(
                f"{where}: line {number}: expected start, end and a state from 0 to 4, divided by tabs, found "
                f"{quoted(line)}"
            )
        if end_s < start_s:
            raise InputError(
                f"{where}: line {number}: expected an end that is not before the start, found {quoted(line)}"
            )
        if end_s > start_s:
            pieces.append((start_s, end_s, int(state)))
    return pieces


def join_numbers(links: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return, for each number, the smallest of those that links join it with, directly or through others.

    Parameters
    ----------
    links : Iterable[tuple[int, int]]
        A number without another is linked with itself.

    Examples
    --------
    >>> join_numbers([(36327, 49630), (49630, 36327), (7, 7)])
    {36327: 36327, 49630: 36327, 7: 7}
    """
    lower: dict[int, int] = {}

    def smallest(number: int) -> int:
        while lower.setdefault(number, number) != number:
            number = lower[number]
        return number

    for one, other in links:
        low, high = sorted((smallest(one), smallest(other)))
        lower[high] = low
    return {number: smallest(number) for number in lower}


def _links(patients: Iterable[Patient]) -> Iterable[tuple[int, int]]:
    for patient in patients:
        number = int(patient.number)
        yield number, int(patient.facts.get("additional_id") or number)


def _parse_recording(line: str, number: str, where: str) -> Recording:
    words = line.split()
    site = words[0]
    stem = words[1].removesuffix(".hea") if len(words) > 1 else ""
    if (
        site not in SITES
        or not re.fullmatch(rf"{number}_{site}(_\d+)?", stem)
        or words[1:] != [f"{stem}.hea", f"{stem}.wav", f"{stem}.tsv"]
    ):
        raise InputError(
            f"{where}: expected 'SITE {number}_SITE.hea {number}_SITE.wav {number}_SITE.tsv' with a site of "
            f"{', '.join(SITES)}, found {quoted(line)}"
        )
    return Recording(site, stem)


def _facts(pairs: Iterable[tuple[str, str | None]], where: str) -> Facts:
    """Return what keys and their texts say of a patient, by the name of the column.

    Raises
    ------
    InputError
        A key occurs twice, a number is none, or the murmur or the outcome is not one of the known words.
    """
    facts: Facts = {}
    for key, text in pairs:
        name = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
        name = _NAMES.get(name, name)
        value = (text or "").strip()
        if name in facts:
            raise InputError(f"{where}: expected each key once, found '{key.strip()}' twice")
        facts[name] = None if value in ("", "nan") else value
        if name in _NUMBERS:
            facts[name] = _check_number(facts[name], name == "additional_id", f"{where}: {key.strip()}")
    for name, words in (("murmur", MURMURS), ("outcome", OUTCOMES)):
        if facts.get(name) not in words:
            raise InputError(
                f"{where}: expected '{name.capitalize()}' to be one of {', '.join(words)}, found "
                f"{quoted(facts.get(name) or '')}"
            )
    if unknown := set(_locations(facts)) - {*SITES}:
        raise InputError(f"{where}: expected murmur locations of {', '.join(SITES)}, found {quoted(min(unknown))}")
    return facts


def _check_number(text: str | None, is_whole: bool, where: str) -> str | None:
    """Return the text of a number, a whole number without a fraction (49630.0 in some copies)."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf or (is_whole and number != int(number)):
        raise InputError(f"{where}: expected a {'whole ' * is_whole}number, found {quoted(text)}")
    return str(int(number)) if is_whole else text


def _locations(facts: Facts) -> list[str]:
    text = facts.get("murmur_locations")
    return text.split("+") if text else []


def _read_recordings(files: Folder, prefix: str, patients: list[Patient], problems: Problems) -> list[Segment]:
    """Check the recordings and their headers, and return the segments of all."""
    named_by = {f"{prefix}{one.stem}": f"{patient.number}.txt" for patient in patients for one in patient.recordings}
    for stem, name in named_by.items():
        with problems.of(f"{stem}.wav"):
            files.check_recording(f"{stem}.wav", name)
    headers = files.read_all(
        {f"{stem}.hea": f"{name} names it" for stem, name in named_by.items()}, parse_header, problems
    )
    for patient in patients:
        for one in patient.recordings:
            path = f"{prefix}{one.stem}.hea"
            if path in headers:
                with problems.of(path):
                    _check_header(headers[path], patient, one, files.show(path))
    pieces = files.read_all(
        {f"{stem}.tsv": f"{name} names it" for stem, name in named_by.items()}, parse_segments, problems
    )
    return [Segment(f"{path.removesuffix('.tsv')}.wav", *piece) for path, found in pieces.items() for piece in found]


def _check_header(header: Header, patient: Patient, one: Recording, where: str) -> None:
    for what, expected, found in (
        ("record", one.stem, header.record),
        ("file", f"{one.stem}.wav", header.signals[0].file_name),
        ("rate in Hz", patient.sample_rate_hz, header.sample_rate_hz),
    ):
        if expected != found:
            raise InputError(f"{where}: expected the {what} {expected}, as in {patient.number}.txt, found {found}")


def _check_table(files: Folder, patients: list[Patient], problems: Problems) -> list[str]:
    """Compare ``training_data.csv`` with the patients' files; return a note where it is not there."""
    if TABLE not in files:
        return [f"{TABLE} is not there, and so the patients' files could not be compared with it"]
    shown = files.show(TABLE)
    with problems.of(TABLE):
        records = read_records(files.read_text(TABLE, "it is listed").encode(), ".csv", shown)
        rows = [dict(zip(records, cells, strict=True)) for cells in zip(*records.values(), strict=True)]
        by_number = {patient.number: patient for patient in patients}
        seen: set[str] = set()
        for number, row in enumerate(rows, 1):
            where = f"{shown}: row {number}"
            facts = _facts(row.items(), where)
            patient_id = facts.pop("record_id", None) or ""
            if patient_id not in by_number:
                raise InputError(f"{where}: expected a patient with a file ID.txt, found {quoted(patient_id)}")
            if patient_id in seen:
                raise InputError(f"{where}: expected a row a patient, found another of {patient_id}")
            seen.add(patient_id)
            _compare(facts, by_number[patient_id], where)
        if without_row := by_number.keys() - seen:
            raise InputError(
                f"{shown}: expected a row of patient {min(without_row)}, who has a file ID.txt, found none"
            )
    return []


def _compare(facts: Facts, patient: Patient, where: str) -> None:
    """Raise InputError where a row of ``training_data.csv`` does not say what the patient's file says."""
    locations = facts.pop("recording_locations", None)
    sites = {one.site for one in patient.recordings}
    if locations is not None and {*locations.split("+")} != sites:
        raise InputError(
            f"{where}: expected the sites {'+'.join(sorted(sites))}, as in {patient.number}.txt, found "
            f"{quoted(locations)}"
        )
    for name, value in facts.items():
        expected = patient.facts.get(name)
        is_number = name in _NUMBERS and value is not None and expected is not None
        if float(value or 0) != float(expected or 0) if is_number else value != expected:
            raise InputError(
                f"{where}: expected the {name.replace('_', ' ')} {quoted(expected or '')}, as in {patient.number}.txt, "
                f"found {quoted(value or '')}"
            )


def _row(patient: Patient, one: Recording, path: str, person: int) -> Facts:
    facts = patient.facts
    row = {
        "path": path,
        "murmur": facts["murmur"],
        "outcome": facts["outcome"],
        "finding": _finding(facts, one.site),
        "patient_id": f"circor_{person}",
        "device": DEVICE,
        "database": CirCor.name,
        "record_id": patient.number,
        "site": one.site,
    }
    return row | {name: value for name, value in facts.items() if name not in row}


def _finding(facts: Facts, site: str) -> str | None:
    """Return what the patient's murmur and outcome say of a recording at a site."""
    if facts["murmur"] == "Present":
        return "murmur" if site in _locations(facts) else None
    if facts["murmur"] == "Absent":
        return "normal" if facts["outcome"] == "Normal" else "no_murmur"
    return None
