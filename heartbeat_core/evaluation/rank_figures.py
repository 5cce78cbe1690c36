"""How well the probability of a label ranks rows with it above rows without it: figures of one label against the rest.

Overall figures never stand alone: ``LabelRanks`` holds those within each database and device beside them.
"""

from __future__ import annotations

from pydantic import Field

from heartbeat_core.evaluation.intervals import IntervalOverSeeds
from heartbeat_core.settings import Settings


class RankFigures(Settings):
    """The figures of one label against the rest, for some rows.

    A row is positive if it is known to have the label, and negative if it is known not to have it. Other rows are left
    out. Each figure has its 95 % interval: 1,000 resamples of the persons with replacement, percentile method, without
    the resamples that lack positive or negative rows. A figure is None if there are no positive rows, no negative rows,
    or only one person, who gives no interval; within a group by age, sex or site also if fewer than five persons have
    the label, or fewer than five do not.

    For one seed, the range of each figure is its value.
    """

    n_positive: int
    n_negative: int
    n_patients: int
    """Persons among the positive and negative rows."""
    auroc: IntervalOverSeeds | None
    """Area under the ROC curve: the share of pairs of a positive and a negative row in which the positive row has the
    higher score; an equal score counts half."""
    auprc: IntervalOverSeeds | None
    """Average precision: the sum over thresholds of (step in recall) x precision, without interpolation. Its value for
    random scores is the share of positive rows."""
    sensitivity: IntervalOverSeeds | None
    """The largest sensitivity of any threshold "score >= t" whose specificity is at least 0.9."""
    calibration_error: IntervalOverSeeds | None = None
    """Expected calibration error of the score as a probability: the mean over rows of |share of positive rows - mean
    score| of the row's bin, in 15 bins of equal width (Guo et al., 2017, arXiv:1706.04599). None in figures of earlier
    versions as well."""


class ReliabilityBin(Settings):
    """The rows whose score lies in one of 15 bins of equal width.

    The bins are numbered from 0. Each includes its upper edge; the first also includes 0.
    """

    number: int
    n: int
    """Rows; with several seeds, each row counts once for each seed."""
    mean_probability: float
    share_positive: float


class DatabaseMean(Settings):
    """The plain mean of a figure over the databases in which it is defined."""

    value: float
    n_databases: int


class DatabaseMeans(Settings):
    """The plain means over databases; None if the figure is defined in no database."""

    auroc: DatabaseMean | None
    auprc: DatabaseMean | None
    sensitivity: DatabaseMean | None
    calibration_error: DatabaseMean | None = None


class LabelRanks(Settings):
    """All figures of one label against the rest, by recording and by patient.

    By patient, the rows are the patients of each database. A patient's score is the mean of the probabilities of the
    recordings. A patient has the label if at least one recording is known to have it. A patient does not have it if at
    least one recording is known not to have it, and none is known to have it. Other patients are left out.
    """

    label: str
    pooled: RankFigures
    """Over the rows of all databases at once. Never show it without ``databases``: if a label is more common in one
    database, then a model that only recognises the database already does well."""
    by_patient: RankFigures
    databases: dict[str, RankFigures]
    databases_by_patient: dict[str, RankFigures]
    devices: dict[str, RankFigures]
    mean_over_databases: DatabaseMeans
    mean_over_databases_by_patient: DatabaseMeans
    groups: dict[str, dict[str, RankFigures]] = Field(default_factory=dict)
    """For each of age, sex and site that the dataset knows: the figures within each of its values, by recording. Rows
    where it is not known are left out."""
    reliability: dict[str, tuple[ReliabilityBin, ...]] = Field(default_factory=dict)
    """The bins that have rows, for each database; see ``calibration_error``."""
    reliability_pooled: tuple[ReliabilityBin, ...] = ()
