"""How good a model was found to be: figures with the protocol that made them."""

from __future__ import annotations

from heartbeat_core.settings import Settings


class Figures(Settings):
    """How well predictions meet the labels of held-out rows.

    ``confusion_matrix[i][j]`` counts rows of ``labels[i]`` predicted as ``labels[j]``. ``balanced_accuracy`` is
    the mean recall over the labels that occur; ``macro_f1`` the mean F1 over the same labels.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    labels: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]


class HoldoutReport(Settings):
    """The figures of one hold-out, with the protocol that made them and the trivial rule beside them."""

    protocol: str
    n_training_rows: int
    n_holdout_rows: int
    n_holdout_patients: int
    model: Figures
    majority_label: str
    majority_rule: Figures


class Interval(Settings):
    """A figure with its 95 % interval: 1,000 resamples of the patients with replacement, percentile method.

    A resample that lacks a label takes the mean over the labels that occur in it.
    """

    value: float
    low: float
    high: float


class LabelFigures(Settings):
    """One label's figures; ``n_rows`` rows truly have it."""

    n_rows: int
    recall: float | None
    """None where no row has the label."""
    precision: float | None
    """None where it is never predicted."""


class DeviceFigures(Settings):
    """The figures of one recording device's rows; ``labels`` are those that occur among them."""

    n_rows: int
    labels: tuple[str, ...]
    balanced_accuracy: float
    """The mean recall over ``labels``."""


class Judgement(Settings):
    """All figures of one recipe's out-of-fold predictions for one task and one seed.

    ``labels`` are those that occur or are predicted; ``confusion_matrix``, ``balanced_accuracy`` and ``macro_f1`` are
    as in ``Figures``. Confidence is the probability of the predicted label.
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
    ece: float
    """Expected calibration error over 15 bins of confidence."""
    brier: float
    """Mean squared distance between the probabilities and the truth, 0 to 2."""
    risk_coverage: tuple[float, ...]
    """Error rate among the most confident 10 %, 20 % ... 100 % of the rows."""
    aurc: float
    """Area under the risk-coverage curve."""


class OverSeeds(Settings):
    """A figure's mean over seeds, with the least and the most that a seed gave."""

    value: float
    least: float
    most: float


class IntervalOverSeeds(Interval):
    """A figure's mean over seeds and their range; ``low`` and ``high`` are the means of the seeds' own bounds.

    So the interval is as wide as that of one seed: it tells of the patients, the range tells of the seeds.
    """

    least: float
    most: float


class LabelOverSeeds(Settings):
    """One label's figures, each over those seeds where it is defined; None where it is in none."""

    n_rows: int
    recall: OverSeeds | None
    precision: OverSeeds | None


class DeviceOverSeeds(Settings):
    """One recording device's figures over seeds."""

    n_rows: int
    labels: tuple[str, ...]
    balanced_accuracy: OverSeeds


class PooledJudgement(Settings):
    """What several seeds gave for the same rows: each figure of ``Judgement`` with its mean and range.

    ``labels`` are those of any seed, and ``confusion_matrix`` is the sum, so each row is counted once a seed.
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
    ece: OverSeeds
    brier: OverSeeds
    risk_coverage: tuple[OverSeeds, ...]
    aurc: OverSeeds


class RecipeFigures(Settings):
    """What one recipe, or one trivial rule, was found to be worth for one task.

    ``recipe_fingerprint`` is None for a rule; ``fit_s`` is the mean time of a fit, ``weights_bytes`` the model's size,
    ``no_better_than`` the rules that the recipe does not beat.
    """

    name: str
    task: str
    dropped_labels: tuple[str, ...]
    judgement: PooledJudgement
    recipe_fingerprint: str | None = None
    no_better_than: tuple[str, ...] = ()
    fit_s: float | None = None
    weights_bytes: int | None = None

    @property
    def is_rule(self) -> bool:
        """Whether this is a rule, to which nothing is fitted and which states no probabilities."""
        return self.recipe_fingerprint is None


class Evaluation(Settings):
    """Every figure of an evaluation: ``figures.json``."""

    protocol: str
    data_fingerprint: str
    """Over content, labels, patients and devices of the dataset's labelled rows."""
    recipes: tuple[RecipeFigures, ...]
    rules: tuple[RecipeFigures, ...]

    def rules_beside(self, recipe: RecipeFigures) -> list[RecipeFigures]:
        """Return the rules as judged for a recipe's task."""
        return [rule for rule in self.rules if rule.task == recipe.task]


FIGURES_NAME = "figures.json"
