"""The official answer files of a challenge from the results of ``classify``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heartbeat_core import storage
from heartbeat_core.challenges.challenge import CHALLENGES, Challenge
from heartbeat_core.errors import InputError, OutputError, UsageError
from heartbeat_core.storage.uris import public_uri
from heartbeat_core.wording import counted
from jobs.listing.truth import read_truth
from jobs.output.answers import answers_of, assign, read_results, unanswered


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    challenge : Challenge
    place : str
        The folder, as it is shown.
    n_files, n_answered : int
        Files, and recordings or patients in them, those with zeros included.
    notes : tuple[str, ...]
        What the user should know of the recordings, one sentence each.
    unanswered : tuple[str, ...]
        Questions that no results answer.
    """

    challenge: Challenge
    place: str
    n_files: int
    n_answered: int
    notes: tuple[str, ...]
    unanswered: tuple[str, ...]


def write_answers(results: Sequence[str], challenge: str, out: str, truth: str | None = None) -> Written:
    """Write the answer files of a challenge.

    Parameters
    ----------
    results : Sequence[str]
        Output folders of ``classify``: one, or one for each question.
    challenge : str
        Its name.
    out : str
        A new or empty folder, or a URL.
    truth : str | None
        As ``read_truth`` takes it; it says which patient each recording belongs to, and its other patients get zeros.
        None takes the patients from the file names.

    Raises
    ------
    UsageError
        The challenge is not known, the results or the truth cannot be used, or the folder is not empty.
    JobError
        A file cannot be written.
    """
    asked = CHALLENGES.get(challenge)
    if truth is not None and asked.unit == "recording":
        raise UsageError(f"{asked.name} is answered by recording, under the names of the files: leave --truth out")
    target = storage.to_uri(out)
    shown = storage.display(public_uri(target))
    if storage.list_names(target) or (storage.exists(target) and not storage.is_folder(target)):
        raise OutputError(f"{shown} is there already: name a new folder")
    judged = assign([read_results(one) for one in results], asked)
    table = None if truth is None else read_truth(truth, asked)
    answers, notes = answers_of(judged, asked, table)
    missing = set(table.records if table else ()) - {one for found in answers.values() for one in found.ids}
    if missing:  # The official scorers end with an error where a file is missing.
        answers = {name: found.at(sorted({*found.ids, *missing})) for name, found in answers.items()}
        notes.append(
            f"zeros, since there is no prediction or failure: {counted(len(missing), asked.unit)} of the truth"
        )
    files = asked.files(answers)
    for name in files:
        if "/" in name or name.startswith("."):
            raise InputError(f"the patient '{name.rpartition('.')[0]}' cannot name a file: give it another id")
    for name, text in files.items():
        if not storage.create(storage.join(target, name), text.encode()):
            raise OutputError(f"{shown}: another process writes there, too: name a new folder")
    return Written(
        asked,
        shown,
        len(files),
        len({one for found in answers.values() for one in found.ids}),
        tuple(notes),
        tuple(question.name for question in unanswered(judged, asked)),
    )
