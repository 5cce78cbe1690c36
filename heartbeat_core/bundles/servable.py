"""Make a bundle from labelled rows: choose the rows to train on and to hold out, fit, and pack with the figures."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.arrays import Codes
from heartbeat_core.bundles.bundle import Bundle, pack
from heartbeat_core.bundles.digests import short_digests
from heartbeat_core.bundles.manifest import ReferenceFacts, TrainingData
from heartbeat_core.bundles.predictions import Sureness
from heartbeat_core.datasets.labelled import content_fingerprint
from heartbeat_core.errors import ConfigError, DatasetError
from heartbeat_core.evaluation.figures import Evaluation
from heartbeat_core.evaluation.judging import report_holdout
from heartbeat_core.evaluation.splits import Task
from heartbeat_core.labels import Targets, ordered_counts
from heartbeat_core.learning.fit import Examples, Fitted, fit
from heartbeat_core.learning.kinds import implementation_of
from heartbeat_core.learning.model import OnStep, ServableModel
from heartbeat_core.recipe import Recipe

PACKAGES = ("heartbeat", "librosa", "numpy", "scikit-learn", "scipy", "soundfile", "soxr", "torch")


@dataclass(frozen=True, slots=True)
class Trainable:
    """Labelled rows of a dataset; some of them can be held out.

    Attributes
    ----------
    rows : Examples
    audio_sha256 : Sequence[str]
        SHA-256 of the file of each row.
    training, holdout : ndarray of int64
        Numbers of the rows for training, and of the held-out rows. With a cross-validation no row is held out.
    reference : Reference
        The alignment reference of the dataset.
    reference_facts : ReferenceFacts
        The recording that is the reference.
    """

    rows: Examples
    audio_sha256: Sequence[str]
    training: Codes
    holdout: Codes
    reference: Reference
    reference_facts: ReferenceFacts


@dataclass(frozen=True, slots=True)
class Holdout:
    """The held-out rows and the outputs of the model for them.

    Attributes
    ----------
    audio_sha256 : list[str]
    targets : Targets
    predicted : ndarray, [n] int64
        Codes.
    logits : ndarray, [n, n_labels] float32
    """

    audio_sha256: list[str]
    targets: Targets
    predicted: Codes
    logits: NDArray[np.float32]


def check_servable(recipe: Recipe) -> None:
    """Refuse a recipe whose model cannot be packed into a bundle.

    Raises
    ------
    ConfigError
        Models of this kind, or with these settings, can only be evaluated.
    """
    implementation_of(recipe).check_servable(recipe)


def usable_rows(targets: Targets, drop_labels: Sequence[str]) -> Codes:
    """Return the numbers of the rows that say something about the labels that are not dropped.

    Parameters
    ----------
    targets : Targets
        What the labels say of all rows.
    drop_labels : Sequence[str]
        Labels of the targets.

    Returns
    -------
    ndarray, [n_kept] int64
        Ascending.

    Raises
    ------
    DatasetError
        There are fewer than two labels among them.
    ValueError
        A label to drop is none of those of the targets.
    """
    task = Task("", tuple(drop_labels))
    kept = task.rows(targets)
    if not len(kept):
        codes = task.targets(targets).codes
        found = Counter(targets.labels[code] for code in codes[codes >= 0].tolist())
        told = ", ".join(f"{count} {label}" for label, count in found.items()) or "none"
        raise DatasetError(
            f"training needs at least two labels; the dataset's labelled rows, without those dropped, are: {told}"
        )
    return kept


def train_bundle(
    recipe: Recipe,
    trainable: Trainable,
    evaluations: Sequence[Evaluation],
    description: str | None,
    on_step: OnStep = lambda: None,
) -> tuple[Bundle, bytes, Holdout | None]:
    """Fit a recipe to the training rows and pack it with its figures.

    Parameters
    ----------
    recipe : Recipe
        A recipe that ``check_servable`` accepts.
    trainable : Trainable
    evaluations : Sequence[Evaluation]
        Evaluations of the recipe on these rows, by different protocols, the grouped folds first; without any, the model
        is judged on the held-out rows.
    description : str | None
        A description of the recordings.
    on_step : OnStep
        Called ``learning.fit.n_steps(recipe)`` times.

    Returns
    -------
    tuple[Bundle, bytes, Holdout | None]
        The bundle, its weights file, and the held-out rows if there are any.

    Raises
    ------
    ConfigError, DatasetError, TrainingDiverged
        As ``fit``; ConfigError also where models of this kind cannot be served.
    """
    rows, training = trainable.rows, trainable.training
    fitted = fit(recipe, rows.take(training), recipe.training.seed, trainable.reference, on_step)
    if not isinstance(fitted.model, ServableModel):
        raise ConfigError(f"recipe '{recipe.name}': models of the kind '{recipe.model}' cannot be served")
    holdout = None if evaluations else _hold_out(fitted, trainable)
    facts: dict[str, Any] = {
        "name": recipe.name,
        "recipe": recipe,
        "labels": rows.targets.labels,
        "trained_labels": tuple(rows.targets.labels[code] for code in fitted.trained),
        "reference": trainable.reference_facts,
        "training_data": _describe(trainable, description),
        "decision": fitted.decision,
        "sureness": Sureness(**asdict(fitted.limits)),
        "cross_validation": evaluations[0] if evaluations else None,
        "left_out": tuple(evaluations[1:]),
        "packages": {"python": ".".join(map(str, sys.version_info[:3]))} | {n: version(n) for n in PACKAGES},
    }
    if holdout is not None:
        groups = [rows.groups[i] for i in trainable.holdout.tolist()]
        facts["holdout"] = report_holdout(
            rows.targets.take(training), holdout.targets, holdout.predicted, groups, _protocol(recipe, trainable)
        )
    bundle, weights = pack(facts, trainable.reference, fitted.model)
    return bundle, weights, holdout


def _hold_out(fitted: Fitted, trainable: Trainable) -> Holdout:
    held_out = trainable.rows.take(trainable.holdout)
    logits = fitted.model.logits(held_out.inputs)
    predicted = fitted.decision.codes(fitted.decision.probabilities(logits, fitted.trained))
    digests = [trainable.audio_sha256[i] for i in trainable.holdout.tolist()]
    return Holdout(digests, held_out.targets, predicted, logits.astype(np.float32))


def _describe(trainable: Trainable, description: str | None) -> TrainingData:
    targets = trainable.rows.targets.take(trainable.training)
    digests = [trainable.audio_sha256[i] for i in trainable.training.tolist()]
    return TrainingData(
        description=description,
        fingerprint=content_fingerprint(digests, targets),
        n_rows=len(targets),
        rows_by_label=ordered_counts(Counter(cell for cell in targets.cells() if cell), targets.labels),
        recordings=short_digests(digests),
    )


def _protocol(recipe: Recipe, trainable: Trainable) -> str:
    trained_on = [trainable.audio_sha256[i] for i in trainable.training.tolist()]
    reference = (
        "the alignment reference and its patient among these"
        if trainable.reference_facts.audio_sha256 in trained_on
        else "the patient of the alignment reference among these, the reference itself being no labelled row"
    )
    return (
        f"one fold of StratifiedGroupKFold({recipe.training.holdout_folds}, shuffle, seed {recipe.training.seed}) "
        "held out by patient, a recording without a patient being its own group; scaler and network fitted on "
        f"the other rows, {reference}; one training run, last epoch"
    )
