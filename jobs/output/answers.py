"""From the results of ``classify`` to the answers of a challenge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from heartbeat_core import storage
from heartbeat_core.bundles.digests import count_known
from heartbeat_core.bundles.reasons import POOR_QUALITY
from heartbeat_core.challenges.answers import Answers, Predicted, Question
from heartbeat_core.challenges.challenge import Challenge
from heartbeat_core.errors import InputError, UsageError
from heartbeat_core.labels import PROBABILITY_PREFIX
from heartbeat_core.results.evaluation import labels_of
from heartbeat_core.results.folder import Results
from heartbeat_core.storage.uris import public_uri
from heartbeat_core.wording import counted
from jobs.listing.truth import TruthTable, recording_names
from jobs.output.model import find_manifest
from jobs.output.status import read_status


@dataclass(frozen=True)
class Judged:
    """The results of one model.

    Attributes
    ----------
    place : str
        Their folder, for messages.
    notes : tuple[str, ...]
        What the user should know of them.
    n_trained_on : int
        How many of the recordings the model is known to be trained on.
    training_data : str | None
        What the model was trained on, in the words of its bundle.
    """

    place: str
    model_id: str
    predicted: Predicted
    notes: tuple[str, ...] = ()
    n_trained_on: int = 0
    training_data: str | None = None


def read_results(folder: str) -> Judged:
    """Read the predictions and failures of a finished ``classify``, each recording once.

    Parameters
    ----------
    folder : str
        Path or URL of the output folder.

    Returns
    -------
    Judged
        The predictions first, and then the failures, whose codes are -1 and whose probabilities are 0.

    Raises
    ------
    InputError
        The folder is not the output of ``classify`` or is not finished, or two recordings have the same name.
    """
    status = read_status(folder)
    place = storage.display(public_uri(storage.to_uri(folder)))
    if status.job != "classify":
        raise InputError(f"{place} is the output of '{status.job}': name the output of 'classify'")
    if not status.finished:
        raise InputError(f"{place} is not finished: run its job again to go on, then score it")
    results = Results(folder)
    schema = results.schema()
    labels = labels_of(schema)
    facts = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    stored = json.loads(facts.get("heartbeat.thresholds", "null"))
    thresholds = np.array(stored or [1.0] * len(labels))
    model_id = facts.get("heartbeat.model_id", "")
    manifest = find_manifest(storage.to_uri(folder), model_id)
    trained_on = None if manifest is None else manifest.training_data
    of_labels = [PROBABILITY_PREFIX + label for label in labels]
    columns = ["uri", "audio_sha256", "predicted_label", "unsure_reason", *of_labels]
    rows = results.predictions(columns).to_pydict()
    failed = results.failures(["uri"]).column("uri").to_pylist() if results.part_uris("failures") else []
    n_failed = len(failed)
    probabilities = np.array([rows[name] for name in of_labels], np.float64).T
    return Judged(
        place,
        model_id,
        Predicted(
            labels=labels,
            thresholds=thresholds,
            names=tuple(recording_names([*rows["uri"], *failed], place)),
            codes=np.array([*map(labels.index, rows["predicted_label"]), *[-1] * n_failed], np.int64),
            probabilities=np.vstack([probabilities, np.zeros((n_failed, len(labels)))]),
            poor_quality=np.array(
                [*(POOR_QUALITY in (reason or "").split(",") for reason in rows["unsure_reason"]), *[False] * n_failed]
            ),
        ),
        () if stored else (f"{place}: an earlier version did not store the model's thresholds, so each counts as 1",),
        0 if trained_on is None else count_known(trained_on.recordings, rows["audio_sha256"]),
        None if trained_on is None else trained_on.description,
    )


def assign(found: Sequence[Judged], challenge: Challenge) -> dict[str, Judged]:
    """Return which results answer which question.

    One set of results answers all questions that its labels answer. Of several, each answers one question: in the
    order of the questions if that is possible.

    Parameters
    ----------
    found : Sequence[Judged]
        As ``read_results`` returns them.
    challenge : Challenge

    Returns
    -------
    dict[str, Judged]
        By the name of the question. A question that none answers is missing.

    Raises
    ------
    UsageError
        There are more results than questions.
    InputError
        The labels of some results answer no question, or the same question as those of others.
    """
    if len(found) > len(challenge.questions):
        names = " and ".join(question.name for question in challenge.questions)
        raise UsageError(
            f"{challenge.name} asks for {names}: give {len(challenge.questions)} RESULTS at most, one each"
        )
    for one in found:
        if not any(question.is_answered_by(one.predicted.labels) for question in challenge.questions):
            raise InputError(_told(one, challenge))
    if len(found) == 1:
        [one] = found
        return {question.name: one for question in challenge.questions if question.is_answered_by(one.predicted.labels)}
    for order in permutations(challenge.questions, len(found)):
        pairs = list(zip(order, found, strict=True))
        if all(question.is_answered_by(one.predicted.labels) for question, one in pairs):
            return {question.name: one for question, one in pairs}
    raise InputError(f"{found[0].place} and {found[1].place} answer the same question of {challenge.name}: give one")


def answers_of(
    judged: dict[str, Judged], challenge: Challenge, truth: TruthTable | None
) -> tuple[dict[str, Answers], list[str]]:
    """Return the answers by question, and what the user should know of recordings without truth or prediction.

    Parameters
    ----------
    judged : dict[str, Judged]
        As ``assign`` returns it.
    challenge : Challenge
    truth : TruthTable | None
        Tells which recordings are of one patient; None leaves this to the names of the files.

    Returns
    -------
    tuple[dict[str, Answers], list[str]]
        Answers by the name of the question, and notes, a line each. A recording that failed counts, too.

    Raises
    ------
    InputError
        Not one recording is in the truth.
    """
    known = {} if truth is None else dict(zip(truth.names, truth.records, strict=True))
    answers: dict[str, Answers] = {}
    notes: list[str] = []
    for question in challenge.questions:
        if question.name not in judged:
            continue
        one = judged[question.name]
        names = one.predicted.names
        if challenge.unit == "patient":  # A recording's label was decided by the model.
            notes += one.notes
        if truth is not None:
            notes += _compare(one, truth, set(names) & known.keys())
        records = [known.get(name) or challenge.record_of(name) for name in names]
        answers[question.name] = challenge.answer(question, one.predicted, records)
    return answers, list(dict.fromkeys(notes))


def unanswered(judged: dict[str, Judged], challenge: Challenge) -> list[Question]:
    """Return the questions that no results answer.

    Parameters
    ----------
    judged : dict[str, Judged]
        As ``assign`` returns it.
    challenge : Challenge
    """
    return [question for question in challenge.questions if question.name not in judged]


def _compare(one: Judged, truth: TruthTable, both: set[str]) -> list[str]:
    names = one.predicted.names
    if not both:
        raise InputError(
            f"{one.place} has '{names[0]}', and {truth.source} has '{truth.names[0]}': no recording has the same file "
            "name in both: name the truth of these recordings"
        )
    notes = []
    if n := len(truth.names) - len(both):
        notes.append(f"{one.place}: without a prediction or failure: {counted(n, 'recording')} of the truth")
    if n := len(names) - len(both):
        notes.append(f"{one.place}: without a truth: {counted(n, 'recording')}")
    return notes


def _told(one: Judged, challenge: Challenge) -> str:
    wanted = "; ".join(f"{question.name}: {', '.join(question.by_label)}" for question in challenge.questions)
    return (
        f"{one.place}: its labels ({', '.join(one.predicted.labels)}) answer no question of {challenge.name}; these "
        f"do: {wanted}"
    )
