"""Every challenge, by name.

To add a challenge to this package, write its module in this folder and list it in ``CHALLENGES``. Another package can
add one with the entry point group ``heartbeat.challenges`` (see ``registry``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from heartbeat_core.challenges.answers import Answers, Column, Predicted, Question, Scores, Truth
from heartbeat_core.challenges.cinc2016 import CINC2016
from heartbeat_core.challenges.moody2022 import MOODY2022
from heartbeat_core.registry import Registry


class Challenge(Protocol):
    """What a challenge asks, how predictions become answers, and how it judges them."""

    @property
    def name(self) -> str:
        """Return the name that commands use."""

    @property
    def unit(self) -> str:
        """Return what is judged: ``recording`` or ``patient``."""

    @property
    def database(self) -> str:
        """Return the name of the database whose published files hold the truth."""

    @property
    def record_columns(self) -> tuple[str, ...]:
        """Return the columns of the truth that name what a recording belongs to, in small letters, the best first.

        Without such a column, and for recordings that are not in the truth, ``record_of`` takes it from the file name.
        """

    @property
    def questions(self) -> tuple[Question, ...]:
        """Return the questions, in order."""

    @property
    def facts(self) -> tuple[Column, ...]:
        """Return what else the truth may say; a truth without these columns is complete."""

    @property
    def rules(self) -> str:
        """Return how predictions become answers, in one line for the user."""

    def record_of(self, name: str) -> str:
        """Return what a recording belongs to, from its file name without the ending of audio files."""

    def answer(self, question: Question, predicted: Predicted, records: Sequence[str]) -> Answers:
        """Return the answers to a question.

        Parameters
        ----------
        question : Question
            One of ``questions`` that the labels of ``predicted`` answer.
        predicted : Predicted
            Of n recordings.
        records : Sequence[str]
            What each of the n recordings belongs to: a name of its own, or its patient.

        Returns
        -------
        Answers
            One for each recording or patient, in ascending order of their names.
        """

    def score(self, question: Question, answers: Answers, truth: Truth) -> Scores:
        """Return the official measures of the answers to a question.

        Parameters
        ----------
        question : Question
            One of ``questions``.
        answers : Answers
            They need not be complete: ``Scores.notes`` tells what became of the truth without an answer.
        truth : Truth
            It has the question's column.
        """

    def files(self, answers: Mapping[str, Answers]) -> dict[str, str]:
        """Return the official answer files.

        Parameters
        ----------
        answers : Mapping[str, Answers]
            By the name of the question: at least one, and others may be missing.

        Returns
        -------
        dict[str, str]
            By name, the text of each file.
        """


CHALLENGES: Registry[Challenge] = Registry("challenge", "heartbeat.challenges", (CINC2016, MOODY2022))
