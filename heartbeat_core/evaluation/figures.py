"""How good a model is: figures, with the protocol that produced them."""

from __future__ import annotations

from pydantic import Field

from heartbeat_core.evaluation.calls import Calls
from heartbeat_core.evaluation.intervals import Interval, IntervalOverSeeds, OverSeeds
from heartbeat_core.evaluation.rank_figures import LabelRanks
from heartbeat_core.evaluation.unsure import UnsureShares
from heartbeat_core.settings import Settings


class Figures(Settings):
    """How well predictions match the labels of held-out rows.

    ``confusion_matrix[i][j]`` counts rows of ``labels[i]`` predicted as ``labels[j]``. ``balanced_accuracy`` is
    the mean recall over the labels that occur; ``macro_f1`` is the mean F1 over the same labels.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    labels: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]


class HoldoutReport(Settings):
    """The figures of one hold-out, with the protocol that produced them and the figures of the trivial rule."""

    protocol: str
    n_training_rows: int
    n_holdout_rows: int
    n_holdout_patients: int
    model: Figures
    majority_label: str
    majority_rule: Figures


class LabelFigures(Settings):
    """The figures of one label; ``n_rows`` is the number of rows that truly have it."""

    n_rows: int
    recall: float | None
    """None if no row has the label."""
    precision: float | None
    """None if the label is never predicted."""


class DeviceFigures(Settings):
    """The figures for the rows of one recording device or database; ``labels`` are the labels that occur there."""

    n_rows: int
    labels: tuple[str, ...]
    balanced_accuracy: float
    """The mean recall over ``labels``."""


class Judgement(Settings):
    """All figures for the out-of-fold predictions of one recipe, for one task and one seed.

    ``labels`` are the labels that occur or are predicted. ``confusion_matrix``, ``balanced_accuracy`` and ``macro_f1``
    are as in ``Figures``. Confidence is the probability of the predicted label.
    """

    n_rows: int
    n_patients: int
    labels: tuple[str, ...]
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    by_label: dict[str, LabelFigures]
    confusion_matrix: tuple[tuple[int, ...], ...]
    within_devices: dict[str, DeviceFigures]
    within_databases: dict[str, DeviceFigures] = Field(default_factory=dict)
    """Empty if all rows are of one database."""
    ece: float
    """Expected calibration error over 15 bins of confidence."""
    brier: float
    """Mean squared distance between the probabilities and the truth, 0 to 2."""
    risk_coverage: tuple[float, ...]
    """Error rates among the most confident 10 %, 20 % ... 100 % of the rows."""
    aurc: float
    """Area under the risk-coverage curve."""


class LabelOverSeeds(Settings):
    """The figures of one label, each over the seeds for which it is defined; None if it is defined for none."""

    n_rows: int
    recall: OverSeeds | None
    precision: OverSeeds | None


class DeviceOverSeeds(Settings):
    """The figures of one recording device or database over seeds."""

    n_rows: int
    labels: tuple[str, ...]
    balanced_accuracy: OverSeeds


class PooledJudgement(Settings):
    """The results of several seeds for the same rows: each figure of ``Judgement`` with its mean and range.

    ``labels`` are the labels of any seed. ``confusion_matrix`` is the sum, so each row is counted once per seed.
    """

    n_seeds: int
    n_rows: int
    n_patients: int
    labels: tuple[str, ...]
    accuracy: IntervalOverSeeds
    balanced_accuracy: IntervalOverSeeds
    macro_f1: IntervalOverSeeds
    by_label: dict[str, LabelOverSeeds]
    confusion_matrix: tuple[tuple[int, ...], ...]
    within_devices: dict[str, DeviceOverSeeds]
    within_databases: dict[str, DeviceOverSeeds] = Field(default_factory=dict)
    ece: OverSeeds
    brier: OverSeeds
    risk_coverage: tuple[OverSeeds, ...]
    aurc: OverSeeds


class RecipeFigures(Settings):
    """The figures of one recipe, or of one trivial rule, for one task.

    ``recipe_fingerprint`` is None for a rule. ``fit_s`` is the mean time of a fit, ``weights_bytes`` is the size of the
    model, and ``no_better_than`` lists the rules that the recipe does not beat.
    """

    name: str
    task: str
    dropped_labels: tuple[str, ...]
    judgement: PooledJudgement
    recipe_fingerprint: str | None = None
    no_better_than: tuple[str, ...] = ()
    against_rest: tuple[LabelRanks, ...] = ()
    """The figures of each label against the rest; a rule has none."""
    unsure: dict[str, UnsureShares] = Field(default_factory=dict, exclude_if=lambda shares: not shares)
    """For each database; each row counts once for each seed. Empty for a rule, and in figures of earlier versions."""
    unsure_pooled: UnsureShares | None = Field(default=None, exclude_if=lambda shares: shares is None)
    """The same for all databases."""
    calls: Calls = Field(default_factory=dict, exclude_if=lambda calls: not calls)
    """Empty where ``unsure`` is."""
    fit_s: float | None = None
    weights_bytes: int | None = None

    @property
    def is_rule(self) -> bool:
        """Whether this is a rule; rules are not fitted and give no probabilities."""
        return self.recipe_fingerprint is None


class Evaluation(Settings):
    """All figures of an evaluation: the content of ``figures.json``."""

    protocol: str
    data_fingerprint: str
    """Covers content, labels, patients, devices and databases of the labelled rows of the datasets."""
    recipes: tuple[RecipeFigures, ...]
    rules: tuple[RecipeFigures, ...]

    def rules_beside(self, recipe: RecipeFigures) -> list[RecipeFigures]:
        """Return the figures of the rules for the task of a recipe."""
        return [rule for rule in self.rules if rule.task == recipe.task]


FIGURES_NAME = "figures.json"
