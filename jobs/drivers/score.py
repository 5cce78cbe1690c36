"""The official scores of a challenge for the results of ``classify``.

The scores go to ``RESULTS/_scores/CHALLENGE.json``, or to a file that the user names. Scoring again replaces them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import heartbeat_core
from heartbeat_core import storage
from heartbeat_core.challenges.answers import Question, Scores
from heartbeat_core.challenges.challenge import CHALLENGES, Challenge
from heartbeat_core.errors import InputError
from heartbeat_core.storage.uris import public_uri
from heartbeat_core.wording import counted
from jobs.listing.truth import TruthTable, read_truth
from jobs.output.answers import Judged, answers_of, assign, read_results, unanswered

SCORES_FOLDER = "_scores"


@dataclass(frozen=True)
class Scored:
    """What was scored.

    Attributes
    ----------
    challenge : Challenge
    scores : dict[str, Scores]
        By question.
    notes : tuple[str, ...]
        What the user should know of the recordings, one sentence each.
    unanswered : tuple[str, ...]
        Questions that no results answer.
    place : str
        Where the scores were written.
    """

    challenge: Challenge
    scores: dict[str, Scores]
    notes: tuple[str, ...]
    unanswered: tuple[str, ...]
    place: str


def score(results: Sequence[str], truth: str, challenge: str, out: str | None = None) -> Scored:
    """Score results and write the scores as JSON.

    Parameters
    ----------
    results : Sequence[str]
        Output folders of ``classify``: one, or one for each question.
    truth : str
        As ``read_truth`` takes it.
    challenge : str
        Its name.
    out : str | None
        Path or URL of the file. None writes below the first results.

    Raises
    ------
    UsageError
        The challenge is not known, or the results or the truth cannot be used.
    JobError
        The file cannot be written.
    """
    asked = CHALLENGES.get(challenge)
    judged = assign([read_results(one) for one in results], asked)
    table = read_truth(truth, asked)
    for question in asked.questions:
        if question.name in judged and question.truth.name not in table.columns:
            raise InputError(_no_column(table, question))
    answers, notes = answers_of(judged, asked, table)
    notes = [*dict.fromkeys(note for one in judged.values() for note in _of_training(one)), *notes]
    true = table.by_record()
    questions = {question.name: question for question in asked.questions}
    scores = {name: asked.score(questions[name], found, true) for name, found in answers.items()}
    left = tuple(question.name for question in unanswered(judged, asked))
    target = storage.to_uri(out or storage.join(storage.to_uri(results[0]), SCORES_FOLDER, f"{asked.name}.json"))
    done = Scored(asked, scores, tuple(notes), left, storage.display(public_uri(target)))
    storage.put(target, _as_json(done, judged, table))
    return done


def _of_training(judged: Judged) -> Iterator[str]:
    """Say which of the recordings the model is known to have met, and what else it has."""
    if judged.n_trained_on:
        n, of = judged.n_trained_on, counted(len(judged.predicted.names), "recording")
        yield f"{judged.place}: the model was trained on {n} of {of}: its scores are too good"
    if judged.training_data is not None:
        yield (
            f"{judged.place}: the model's training data: {judged.training_data.rstrip('.')}. Copies of these "
            "recordings in another format, and parts of them, are not recognised"
        )


def _no_column(table: TruthTable, question: Question) -> str:
    candidates, words = (
        " or ".join(f"'{one}'" for one in group) for group in (question.truth.candidates, question.truth.words)
    )
    return (
        f"{table.source}: no column says {question.name}: call it {candidates}, with cells that are {words}, or empty"
    )


def _as_json(done: Scored, judged: dict[str, Judged], table: TruthTable) -> bytes:
    content = {
        "challenge": done.challenge.name,
        "heartbeat_version": heartbeat_core.__version__,
        "truth": table.source,
        "rules": done.challenge.rules,
        "notes": done.notes,
        "questions": {
            name: {
                "results": judged[name].place,
                "model_id": judged[name].model_id,
                "unit": done.challenge.unit,
                **_without_nan(asdict(found)),
            }
            for name, found in done.scores.items()
        },
    }
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _without_nan(value: Any) -> Any:
    """Return a value with null for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
