"""Choose recordings for review: the most uncertain, the poorest in quality, the most confident, and some at random."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

UNCERTAIN, QUALITY, CONFIDENT, RANDOM = "uncertain", "quality", "confident", "random"
REASONS = (UNCERTAIN, QUALITY, CONFIDENT, RANDOM)
"""Why a recording is chosen. Only ``random`` says something about the results as a whole."""
FLAWS = ("clipped_fraction", "silent_fraction")
"""The columns that ``rough_quality`` takes first."""
SEPARATOR = "|"
"""Joins the reasons of a recording that is chosen for several."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the results say of a recording.

    Attributes
    ----------
    recording_id : str
        16 hexadecimal digits.
    audio_sha256 : str
        Of its file.
    relative_path, predicted_label : str
    confidence : float
        The probability of the predicted label, 0 to 1.
    unsure_reason : str | None
        Why the model is not sure, separated by commas; None if it is.
    quality : float | None
        How usable the recording is, 0 to 1; None if it is not known.
    """

    recording_id: str
    audio_sha256: str
    relative_path: str
    predicted_label: str
    confidence: float
    unsure_reason: str | None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A recording to judge, and why it was chosen: ``REASONS``, joined by ``|``."""

    predicted: Predicted
    reasons: str

    @property
    def recording_id(self) -> str:
        """That of the recording."""
        return self.predicted.recording_id


def rough_quality(clipped_fraction: float, silent_fraction: float, segmentation_confidence: float = 1.0) -> float:
    """Return from 0 to 1 how usable a recording is: (1 - clipped) * (1 - silent) * confidence of the heart sounds.

    It stands in where the features lack the set ``signal-quality``.

    Parameters
    ----------
    clipped_fraction, silent_fraction : float
        As the features have them, 0 to 1.
    segmentation_confidence : float
        Of the feature set ``beats``, 0 to 1.

    Examples
    --------
    >>> rough_quality(0.0, 0.5, 0.8)
    0.4
    """
    return (1.0 - clipped_fraction) * (1.0 - silent_fraction) * segmentation_confidence


def poorest(parts: Iterable[Iterable[tuple[str, float]]], n: int) -> dict[str, float]:
    """Return the recordings with the lowest quality.

    Parameters
    ----------
    parts : Iterable[Iterable[tuple[str, float]]]
        ``(recording_id, quality)`` of all recordings, each once. Only one part and what is kept is held.
    n : int
        How many.

    Returns
    -------
    dict[str, float]
        Quality by recording_id, the lowest first; of equal ones, the lower id.
    """
    kept: list[tuple[str, float]] = []
    for part in parts:
        kept = heapq.nsmallest(n, [*kept, *part], key=lambda one: (one[1], one[0]))
    return dict(kept)


def choose(parts: Iterable[Collection[Predicted]], poor: Collection[str], n: int) -> list[Chosen]:
    """Choose ``n`` recordings for each reason, of which ``confident`` has ``n`` for each label.

    The random sample is that of the lowest ids: an id is the beginning of a SHA-256, which knows nothing of the
    recording. So the same results give the same list. Its order is that of the ids' last digits, which tell nothing of
    the reasons: who judges is not led.

    Parameters
    ----------
    parts : Iterable[Collection[Predicted]]
        All recordings, each once. Only one part and what is chosen is held.
    poor : Collection[str]
        The ids of the recordings that are poorest in quality.
    n : int
        At least 1.

    Returns
    -------
    list[Chosen]
        Each recording once, with all reasons for which it was chosen. At most ``n`` are ``uncertain`` and ``random``,
        and as many as in ``poor`` are ``quality``.

    Examples
    --------
    >>> rows = [Predicted(f"{k}a", "", f"{k}.wav", "normal", 0.5 + k / 10, None) for k in range(3)]
    >>> [(one.predicted.relative_path, one.reasons) for one in choose([rows], ["1a"], 1)]
    [('0.wav', 'uncertain|random'), ('1.wav', 'quality'), ('2.wav', 'confident')]
    """
    keys: dict[str, Callable[[Predicted], object]] = {
        UNCERTAIN: lambda one: (one.confidence, one.recording_id),
        CONFIDENT: lambda one: (-one.confidence, one.recording_id),
        RANDOM: lambda one: one.recording_id,
    }
    kept: dict[tuple[str, str], list[Predicted]] = {}
    for part in parts:
        groups = {(reason, ""): part for reason in (UNCERTAIN, RANDOM)}
        groups |= {
            (CONFIDENT, label): [one for one in part if one.predicted_label == label]
            for label in {one.predicted_label for one in part}
        }
        for group, rows in groups.items():
            kept[group] = heapq.nsmallest(n, [*kept.get(group, ()), *rows], key=keys[group[0]])  # type: ignore[arg-type]
        kept.setdefault((QUALITY, ""), []).extend(one for one in part if one.recording_id in poor)
    reasons: dict[str, set[str]] = {}
    rows_of: dict[str, Predicted] = {}
    for (reason, _), rows in kept.items():
        for one in rows:
            reasons.setdefault(one.recording_id, set()).add(reason)
            rows_of[one.recording_id] = one
    return [
        Chosen(rows_of[one], SEPARATOR.join(reason for reason in REASONS if reason in reasons[one]))
        for one in sorted(rows_of, key=lambda one: one[::-1])
    ]
