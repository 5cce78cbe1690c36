"""Which recordings a model was trained on: the first bytes of the SHA-256 of each one's audio, kept in its bundle."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled, content_fingerprint
from heartbeat_core.evaluation.finished import Overlap
from heartbeat_core.evaluation.splits import Task

DIGEST_BYTES = 6
"""Enough to tell recordings apart: none of a million others is taken for one of 3,000, but once in 90,000 times."""


def short_digests(audio_sha256: Iterable[str]) -> str:
    """Return the first bytes of digests (hex) as Base64: each digest once, in ascending order.

    Examples
    --------
    >>> short_digests(["ff" * 32, "00" * 32, "ff" * 32])
    'AAAAAAAA////////'
    """
    return base64.b64encode(b"".join(sorted(set(map(_first_bytes, audio_sha256))))).decode()


def count_known(digests: str, audio_sha256: Iterable[str]) -> int:
    """Return how many of some recordings are among those of ``short_digests``.

    Parameters
    ----------
    digests : str
        As ``short_digests`` returns them.
    audio_sha256 : Iterable[str]
        The SHA-256 (hex) of the audio of each recording.

    Examples
    --------
    >>> count_known("AAAAAAAA////////", ["ff" * 32, "0f" * 32, "ff" * 32])
    2
    """
    stored = base64.b64decode(digests)
    known = {stored[start : start + DIGEST_BYTES] for start in range(0, len(stored), DIGEST_BYTES)}
    return sum(_first_bytes(one) in known for one in audio_sha256)


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


def _first_bytes(sha256: str) -> bytes:
    return bytes.fromhex(sha256[: 2 * DIGEST_BYTES])
