"""How often the verdicts of people agree with predictions, by label and band of confidence, with intervals.

The interval is Wilson's (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22,
1927): for few verdicts it stays within 0 to 1, which the usual one does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

BANDS = ((0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0))
"""Bands of confidence; a band holds its lower bound, the last one its upper bound, too."""
CANNOT_TELL = "cannot tell"
"""The verdict of who cannot judge a recording. It counts for no precision."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A prediction and the verdict on it.

    Attributes
    ----------
    predicted_label : str
    confidence : float
        The probability of this label, 0 to 1.
    verdict : str
        A label, or ``CANNOT_TELL``.
    """

    predicted_label: str
    confidence: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Precision:
    """Of ``judged`` predictions, ``right`` are as the verdicts say.

    Attributes
    ----------
    label : str | None
        The predicted label; None for all.
    band : tuple[float, float] | None
        The band of confidence; None for all.
    right, judged : int
        Verdicts that cannot tell are not counted.
    low, high : float
        95 % interval of ``right / judged``.
    """

    label: str | None
    band: tuple[float, float] | None
    right: int
    judged: int
    low: float
    high: float


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share; 0 and 1 where there is nothing to count.

    Parameters
    ----------
    right, n : int
        The share is ``right / n``, with ``0 <= right <= n``.

    Returns
    -------
    tuple[float, float]
        The lower and the upper bound.

    Examples
    --------
    >>> [round(bound, 3) for bound in wilson(8, 10)]
    [0.49, 0.943]
    """
    if n == 0:
        return 0.0, 1.0
    found = binomtest(right, n).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def measure_precision(judged: Iterable[Judged]) -> list[Precision]:
    """Return how often predictions are right: of all, of each label, and of each band of confidence of each label.

    Parameters
    ----------
    judged : Iterable[Judged]
        A verdict that cannot tell is left out.

    Returns
    -------
    list[Precision]
        First the one of all predictions. Then, for each predicted label in alphabetical order, the one of all bands and
        those of the bands of ``BANDS``. There is none of predictions without a verdict.

    Examples
    --------
    >>> told = [("murmur", 0.8, "murmur"), ("murmur", 0.6, "normal"), ("murmur", 0.6, CANNOT_TELL)]
    >>> for one in measure_precision(Judged(*each) for each in told):
    ...     print(one.label, one.band, one.right, one.judged)
    None None 1 2
    murmur None 1 2
    murmur (0.5, 0.7) 0 1
    murmur (0.7, 0.9) 1 1
    """
    told = [one for one in judged if one.verdict != CANNOT_TELL]
    found = [_precision(None, None, told)] if told else []
    for label in sorted({one.predicted_label for one in told}):
        of_label = [one for one in told if one.predicted_label == label]
        found.append(_precision(label, None, of_label))
        for low, high in BANDS:
            rows = [one for one in of_label if low <= one.confidence < high or one.confidence == high == BANDS[-1][1]]
            found += [_precision(label, (low, high), rows)] if rows else []
    return found


def _precision(label: str | None, band: tuple[float, float] | None, rows: Sequence[Judged]) -> Precision:
    right = sum(one.verdict == one.predicted_label for one in rows)
    return Precision(label, band, right, len(rows), *wilson(right, len(rows)))
