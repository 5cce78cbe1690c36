"""Which of the recordings that judge a model it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.bundles.digests import count_known
from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled, content_fingerprint
from heartbeat_core.evaluation.finished import Overlap
from heartbeat_core.evaluation.splits import Task


def find_overlap(
    manifest: BundleManifest, datasets: Sequence[Dataset], labelled: Labelled
) -> tuple[Overlap, int | None]:
    """Tell which of some labelled recordings are known to be in the model's training data, and how many.

    A bundle of an earlier version does not name its recordings. A set of rows is then known to be if it has the
    fingerprint of the training data, with or without the labels that the model was not trained on; and where the
    alignment reference of the model is among the recordings, some are likely to be.

    Parameters
    ----------
    manifest : BundleManifest
        The facts of the model.
    datasets : Sequence[Dataset]
        Those that the recordings are of, whole.
    labelled : Labelled
        The recordings.

    Returns
    -------
    tuple[Overlap, int | None]
        How many of them, in a word, and as a number; None where the bundle does not tell.
    """
    if digests := manifest.training_data.recordings:
        n_known = count_known(digests, labelled.audio_sha256)
        return ("all" if n_known == len(labelled) else "some" if n_known else "none"), n_known
    if _is_training_data(manifest, labelled):
        return "all", len(labelled)
    if any(_is_training_data(manifest, dataset.labelled()) for dataset in datasets):
        return "some", None
    references = {dataset.facts.reference_audio_sha256 for dataset in datasets}
    is_likely = manifest.reference.audio_sha256 in references.union(labelled.audio_sha256)
    return ("likely" if is_likely else "unknown"), None


def _is_training_data(manifest: BundleManifest, labelled: Labelled) -> bool:
    untrained = tuple(label for label in labelled.targets.labels if label not in manifest.trained_labels)
    for task in (Task(""), Task("", untrained)):
        kept = task.rows(labelled.targets)
        digests = [labelled.audio_sha256[row] for row in kept.tolist()]
        targets = task.targets(labelled.targets).take(kept)
        if content_fingerprint(digests, targets) == manifest.training_data.fingerprint:
            return True
    return False
