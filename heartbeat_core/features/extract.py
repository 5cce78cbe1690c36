"""Compute features from a waveform: the requested sets, and the inputs of a recipe's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Inputs
from heartbeat_core.audio.decode import Waveform
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.augmentation import HARSH, MILD, altered_copies, short_pieces
from heartbeat_core.features.catalogue import FEATURE_SETS, sets_read, shape_read, vectors_read
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.features.signal import RATE_HZ
from heartbeat_core.recipe import Recipe


def compute_features(
    samples: NDArray[np.float32], sample_rate_hz: int, names: Sequence[str], person: str | None = None
) -> dict[str, NDArray[np.float32]]:
    """Compute feature sets of one recording; shared intermediate results are computed only once.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono, n > 0. A recording shorter than 64 ms is extended with zeros.
    sample_rate_hz : int
        Native sample rate.
    names : Sequence[str]
        Feature sets, except ``aligned`` and ``frequency``, which depend on a recipe.
    person : str | None
        Who was recorded, as ``Analysis`` takes it.

    Returns
    -------
    dict[str, ndarray of float32]
        Finite values by name of the feature set: [n_columns] for a vector, [n, width] for a sequence.

    Raises
    ------
    ConfigError
        A feature set is unknown, or its function cannot be loaded.
    ValueError
        A feature set is ``aligned`` or ``frequency``.
    NonFiniteSamples
        The samples are so large that the resampled ones overflow float32.
    FeaturesFailed
        The values are not finite, or the function of another package failed.

    Examples
    --------
    >>> import numpy as np
    >>> samples = np.sin(np.arange(8_000) / 20).astype(np.float32)
    >>> compute_features(samples, 4_000, ["statistics"])["statistics"].shape
    (392,)
    """
    return compute_sets(Analysis(samples, sample_rate_hz, person), names)


def compute_sets(analysis: Analysis, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Compute feature sets of one recording; returns and raises as ``compute_features``.

    Parameters
    ----------
    analysis : Analysis
        What two calls compute of it is shared.
    names : Sequence[str]
        Feature sets, as for ``compute_features``.
    """
    return {name: FEATURE_SETS.get(name).compute(analysis) for name in names}


def compute_lists(analysis: Analysis, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Compute the list columns of feature sets, [k_i] float32 each by column; raises as ``compute_features``.

    Parameters
    ----------
    analysis : Analysis
    names : Sequence[str]
        Feature sets; those without lists add nothing.
    """
    return {column: row for name in names for column, row in FEATURE_SETS.get(name).compute_lists(analysis).items()}


def compute_inputs(waveform: Waveform, recipe: Recipe, person: str | None = None) -> Inputs:
    """Compute the inputs of a recipe's model for one recording; nothing in them is fitted to training rows.

    Parameters
    ----------
    waveform : Waveform
    recipe : Recipe
        Its input, frames and augmentation are used.
    person : str | None
        Who was recorded, for rows that a model is trained or judged on; as ``Analysis`` takes it.

    Returns
    -------
    ndarray of float32
        For frames [n_frames, 2]: Hz, linear magnitude. For a sequence [n, width]. For vectors
        [1 + copies + pieces, width]: first the recording, then its altered copies and pieces, with several sets side by
        side.

    Raises
    ------
    RecordingError
        A named subclass: no inputs can be computed for the recording.
    ConfigError
        The recipe's input names an unknown feature set, or joins sets that are not vectors.
    """
    shape = shape_read(recipe.input)
    if shape == "frames":
        return compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)
    if shape == "sequence":
        return compute_features(waveform.samples, waveform.sample_rate_hz, [recipe.input], person)[recipe.input]
    names = vectors_read(recipe.input)
    samples, rate_hz, augmentation = waveform.samples, waveform.sample_rate_hz, recipe.augmentation
    copies = altered_copies(samples, rate_hz, augmentation.copies, HARSH if augmentation.harsh else MILD)
    pieces = short_pieces(samples, rate_hz, augmentation.pieces)
    recordings = [(samples, rate_hz), *((copy, RATE_HZ) for copy in copies), *((piece, rate_hz) for piece in pieces)]
    return np.stack([join_vectors(compute_features(*one, names, person), recipe.input) for one in recordings])


def join_vectors(features: Mapping[str, NDArray[np.float32]], recipe_input: str) -> NDArray[np.float32]:
    """Return [width] float32: the vectors that a recipe's ``input`` reads, side by side.

    Parameters
    ----------
    features : Mapping[str, ndarray], [n_columns] float32
        Vectors by feature set; those that are not read may be among them.
    recipe_input : str
        Vector sets joined by ``+``.

    Raises
    ------
    ValueError
        A vector is missing.
    ConfigError
        A set is unknown, or a joined set is not a vector.
    """
    missing = [name for name in vectors_read(recipe_input) if name not in features]
    if missing:
        raise ValueError(f"the model reads the feature set '{missing[0]}', which was not computed")
    return np.concatenate([features[name] for name in vectors_read(recipe_input)])


def input_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the part of a recipe that ``compute_inputs`` depends on; recipes with equal parts have the same inputs.

    Raises
    ------
    ConfigError
        As ``compute_inputs``.
    """
    if shape_read(recipe.input) == "frames":
        return {"kind": "frames", **recipe.frames.model_dump(mode="json")}
    versions = "+".join(one.version for one in sets_read(recipe.input))
    return {"kind": recipe.input, "versions": versions, **recipe.augmentation.model_dump(mode="json")}
