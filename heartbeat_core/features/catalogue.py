"""Every feature set, by name: recipes read them, and ``classify`` writes them.

To add a feature set to this package, write it in a module of this folder and list it in ``FEATURE_SETS``. Another
package can add one with the entry point group ``heartbeat.feature_sets`` (see ``registry``). Everything else uses it
without further changes: ``--features``, the ``input`` of recipes, the schema of ``features``, bundles, cards, exports
and the pages in ``configs/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.errors import ConfigError
from heartbeat_core.features.beats_columns import BEATS
from heartbeat_core.features.cycle_spectrum_columns import CYCLE_SPECTRUM
from heartbeat_core.features.cycles_columns import CYCLES
from heartbeat_core.features.feature_set import Column, FeatureSet, Shape
from heartbeat_core.features.signal_quality_columns import SIGNAL_QUALITY
from heartbeat_core.features.statistics_columns import N_MFCC, STATISTICS
from heartbeat_core.registry import Registry

N_CONTRAST_BANDS = 3
CONTRAST_MIN_HZ = 100.0

ALIGNED = FeatureSet(
    name="aligned",
    version="aligned-v1",
    shape="frames",
    columns=(
        Column("n_frames", "frames kept", "frames", "int32"),
        Column("n_frames_cut", "frames beyond the reference's length", "frames", "int32"),
        Column("offset_frames", "zeros in front after alignment", "frames", "int32"),
        Column(
            "alignment_distance", "Euclidean distance to the reference there, over Hz and magnitude", None, "double"
        ),
        Column("frequency_hz", "the frames' frequencies, unpadded", "Hz", "floats"),
        Column("amplitude", "the frames' linear magnitudes, unpadded", None, "floats"),
    ),
    introduction="""\
The original project's frames, placed along an alignment reference. `heartbeat_core/features/frames.py` computes them,
`heartbeat_core/alignment/placement.py` places them.

Each short-time spectrum is reduced to one frequency and one amplitude, as the recipe's method says. The frames lie from
`offset_frames` on in the reference's length, where their Euclidean distance to it is least; the rest is zeros.
""",
)
"""The frames of the original project, placed where they are nearest to the reference."""
FREQUENCY = FeatureSet(name="frequency", version="frequency-v1", shape="frames")
"""Only the frequencies of the frames, which the first network of the original project read."""
MFCC = FeatureSet(
    name="mfcc",
    version="mfcc-v1",
    shape="vector",
    columns=tuple(
        Column(f"mfcc_{summary}_{i:02d}", f"{text} over time of MFCC {i}")
        for summary, text in (("mean", "mean"), ("std", "standard deviation"))
        for i in range(N_MFCC)
    ),
    needs=("log_mel",),
    function="heartbeat_core.features.spectra:compute_mfcc",
    introduction="""\
Mel-frequency cepstral coefficients (MFCC); `heartbeat_core/features/spectra.py` computes them.

The recording is resampled, band-passed and scaled as for `pcg-stats-v1`; the MFCCs are of 40 mel bands to 1 kHz, in
frames of 64 ms every 20 ms.
""",
)
SPECTRAL_CONTRAST = FeatureSet(
    name="spectral-contrast",
    version="spectral-contrast-v1",
    shape="vector",
    columns=tuple(
        Column(f"contrast_{summary}_{i}_db", f"{text} over time of the spectral contrast in octave {i}", "dB")
        for summary, text in (("mean", "mean"), ("std", "standard deviation"))
        for i in range(N_CONTRAST_BANDS + 1)
    ),
    needs=("power",),
    function="heartbeat_core.features.spectra:compute_contrast",
    introduction="""\
Spectral contrast (Jiang et al., ICME 2002); `heartbeat_core/features/spectra.py` computes it with librosa.

The recording is resampled, band-passed and scaled as for `pcg-stats-v1`. Contrast is the level of a band's peaks over
that of its valleys, in dB; octave 0 lies below 100 Hz, the others are the octaves above.
""",
)
LOG_MEL = FeatureSet(
    name="log-mel",
    version="log-mel-v1",
    shape="sequence",
    needs=("log_mel",),
    function="heartbeat_core.features.spectra:compute_log_mel",
)

FEATURE_SETS: Registry[FeatureSet] = Registry(
    "feature set",
    "heartbeat.feature_sets",
    (ALIGNED, STATISTICS, CYCLES, BEATS, CYCLE_SPECTRUM, SIGNAL_QUALITY, FREQUENCY, MFCC, SPECTRAL_CONTRAST, LOG_MEL),
)


def sets_read(recipe_input: str) -> tuple[FeatureSet, ...]:
    """Return the feature sets that a recipe's ``input`` names, in order.

    Parameters
    ----------
    recipe_input : str
        One set, or several vectors joined by ``+``.

    Raises
    ------
    ConfigError
        A set is unknown, or a joined set is not a vector.

    Examples
    --------
    >>> [one.version for one in sets_read("statistics+cycles")]
    ['pcg-stats-v1', 'pcg-cycles-v1']
    """
    sets = tuple(FEATURE_SETS.get(name) for name in recipe_input.split("+"))
    if len(sets) > 1 and any(one.shape != "vector" for one in sets):
        raise ConfigError(f"input '{recipe_input}': only feature sets of one vector a recording can be joined")
    return sets


def shape_read(recipe_input: str) -> Shape:
    """Return the shape of a recipe's ``input``; raises ConfigError as ``sets_read``."""
    return sets_read(recipe_input)[0].shape


@lru_cache(maxsize=16)
def vectors_read(recipe_input: str) -> tuple[str, ...]:
    """Return the names of the vector sets that a recipe's ``input`` reads; none if it reads another shape.

    Raises
    ------
    ConfigError
        As ``sets_read``.
    """
    return tuple(one.name for one in sets_read(recipe_input) if one.shape == "vector")


def default_sets(recipe_input: str) -> tuple[str, ...]:
    """Return the names of the sets that ``classify`` writes where none are named.

    These are ``aligned``, ``statistics``, ``signal-quality``, ``beats``, and what the model reads.

    Results that hold what their model reads can be classified by another such model without reading the audio again.

    Parameters
    ----------
    recipe_input : str
        As ``sets_read`` takes it.

    Raises
    ------
    ConfigError
        As ``sets_read``.

    Examples
    --------
    >>> default_sets("statistics+cycles")
    ('aligned', 'statistics', 'signal-quality', 'beats', 'cycles')
    """
    read = (one.name for one in sets_read(recipe_input) if one.columns)
    return tuple(dict.fromkeys((ALIGNED.name, STATISTICS.name, SIGNAL_QUALITY.name, BEATS.name, *read)))


def sets_written(names: Sequence[str]) -> list[FeatureSet]:
    """Return the feature sets to write, in the order of their columns.

    Parameters
    ----------
    names : Sequence[str]
        In any order; a name that comes twice counts once.

    Raises
    ------
    ConfigError
        A set is unknown or has no columns, or two sets have a column of the same name.
    """
    chosen = FEATURE_SETS.ordered(names)
    owner: dict[str, str] = {}
    for one in chosen:
        if not one.columns:
            writable = ", ".join(other.name for other in FEATURE_SETS.all() if other.columns)
            raise ConfigError(f"feature set '{one.name}' has no columns to write: those that have are {writable}")
        for name in (column.name for column in one.stored):
            if owner.setdefault(name, one.name) != one.name:
                raise ConfigError(f"feature sets '{owner[name]}' and '{one.name}' both have a column '{name}'")
    return chosen


def column_place(name: str, recipe_input: str) -> int | None:
    """Return the place of a column among the values that a recipe's ``input`` names; None if it is not one of them.

    Raises
    ------
    ConfigError
        As ``sets_read``.
    """
    names = [column.name for one in sets_read(recipe_input) for column in one.columns]
    return names.index(name) if name in names else None


def columns_read(part: str, recipe_input: str) -> NDArray[np.bool_]:
    """Return [width] bool: which values of a recipe's vectors belong to a part.

    Parameters
    ----------
    part : str
        ``all`` for every value, the name of a feature set, or a part of the sets' columns such as ``timbre``.
    recipe_input : str
        The vector sets, written as in a recipe.

    Raises
    ------
    ConfigError
        No column belongs to the part, or as ``sets_read``.
    """
    sets = sets_read(recipe_input)
    chosen = np.array([part in ("all", one.name, column.part) for one in sets for column in one.columns], np.bool_)
    if not chosen.any():
        parts = sorted({column.part for one in sets for column in one.columns if column.part})
        names = ["all", *(one.name for one in sets), *parts]
        raise ConfigError(f"input '{recipe_input}' has no part '{part}': there are {', '.join(names)}")
    return chosen
