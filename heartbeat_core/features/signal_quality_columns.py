"""The columns of a signal's quality (``signal-quality-v1``), in order, and what each value is."""

from __future__ import annotations

from heartbeat_core.features.feature_set import FeatureSet, described

VERSION = "signal-quality-v1"
BANDS_HZ = ((20, 60), (60, 100), (100, 200), (200, 400), (400, 900))
HEART_MAX_HZ = 200
"""Heart sounds have little above it; speech and handling noise have much."""
ENTROPY_HZ, ENTROPY_SECONDS = 20, 60
MAX_CLIPPED, MAX_SILENT = 0.1, 0.5
"""At these shares of clipped samples and of silent windows the score is 0."""

DESCRIPTIONS = {
    **{
        f"energy_share_{low}_to_{high}_hz": f"share of the band-passed signal's energy from {low} to {high} Hz"
        for low, high in BANDS_HZ
    },
    "periodicity": "highest autocorrelation of the 25 to 150 Hz envelope at a lag of 0.35 to 1.5 s, at least 0",
    "sample_entropy": "sample entropy of that envelope at 20 Hz, of the first minute; low where it is regular",
    "quality": "score from 0, no usable heart sounds, to 1: see configs/signal-quality-v1.md",
}
"""A one-line description of each value, in order."""

NAMES: tuple[str, ...] = tuple(DESCRIPTIONS)

_INTRODUCTION = """\
Whether a recording holds usable heart sounds; `heartbeat_core/features/signal_quality.py` computes it.

The recording is resampled, band-passed and scaled as for `pcg-stats-v1`. Sample entropy (Richman and Moorman, Am. J.
Physiol. 2000) has windows of 2 values and a tolerance of 0.2 standard deviations.

    quality = (s p exp(-e))^(1/3) c q

with the share of energy below 200 Hz s, the periodicity p, the sample entropy e, c = 1 - clipped_fraction / 0.1 and
q = 1 - silent_fraction / 0.5, both at least 0. Silence has a quality of 0, as have all other values then. The score
is a formula and not trained. It orders recordings, and is no probability.

Measured on real recordings as the area under the ROC curve: 0.97 for telling the 84 other recordings of PASCAL's set A
from its 40 artifacts, and 0.80 for telling 150 recordings of CinC 2016 of good quality from 150 that its annotators
could not classify.
"""

SIGNAL_QUALITY = FeatureSet(
    name="signal-quality",
    version=VERSION,
    shape="vector",
    columns=described(DESCRIPTIONS, {"": "quality"}),
    needs=("quality", "signal", "rhythm_envelopes"),
    function="heartbeat_core.features.signal_quality:judge_signal",
    introduction=_INTRODUCTION,
)
