"""A figure with its interval over patients, its range over seeds, or both."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from heartbeat_core.settings import Settings


class Interval(Settings):
    """A figure with its 95 % interval: 1,000 resamples of the patients with replacement, percentile method.

    If a resample lacks a label, the mean is taken over the labels that occur in it. Of a single patient, no resample
    differs from another: the interval is 0 to 1.
    """

    value: float
    low: float
    high: float


class OverSeeds(Settings):
    """The mean of a figure over seeds, with the lowest and the highest value of a seed."""

    value: float
    least: float
    most: float


class IntervalOverSeeds(Interval):
    """The mean and range of a figure over seeds; ``low`` and ``high`` are the means of the bounds of each seed.

    The interval is therefore as wide as that of one seed. It shows the spread over patients; the range shows the spread
    over seeds.
    """

    least: float
    most: float


def pool_intervals(intervals: Sequence[Interval]) -> IntervalOverSeeds:
    """Return the mean and range of a figure over seeds.

    Parameters
    ----------
    intervals : Sequence[Interval]
        One for each seed.

    Raises
    ------
    ValueError
        There are no intervals.
    """
    values = [interval.value for interval in intervals]
    return IntervalOverSeeds(
        value=fmean(values),
        low=fmean(interval.low for interval in intervals),
        high=fmean(interval.high for interval in intervals),
        least=min(values),
        most=max(values),
    )
