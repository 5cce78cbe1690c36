"""The columns of the spectrum of the heart cycle (``pcg-cycle-spectrum-v3``), in order, and what each value is."""

from __future__ import annotations

from heartbeat_core.features.feature_set import Column, FeatureSet

VERSION = "pcg-cycle-spectrum-v3"
N_SYSTOLE, N_DIASTOLE = 12, 20
N_BANDS = 16
BANDS_HZ = (25.0, 900.0)

N_S1 = 3
"""S1 sounds in the first phases after it begins."""

_PHASES = {
    **{
        f"s{i:02d}": (f"phase {i} of {N_SYSTOLE} from S1 to S2", "s1" if i < N_S1 else "systole")
        for i in range(N_SYSTOLE)
    },
    **{f"d{i:02d}": (f"phase {i} of {N_DIASTOLE} from S2 to S1", "diastole") for i in range(N_DIASTOLE)},
}
_SUMMARIES = {
    "level": "median over cycles of the log power, less the band's in diastole; over all levels' root mean square",
    "spread": "median distance of the log power from its median over cycles, as of many cycles",
}
COLUMNS = tuple(
    Column(f"cycle_{summary}_{phase}_b{band:02d}", f"mel band {band}, {when}: {text}", part=part)
    for summary, text in _SUMMARIES.items()
    for phase, (when, part) in _PHASES.items()
    for band in range(N_BANDS)
)

_INTRODUCTION = """\
The spectrum of the heart cycle, phase by phase: its median over the cycles of a recording and how far the cycles spread
around that; `heartbeat_core/features/cycle_spectrum.py` computes it.

The recording is resampled, band-passed and scaled as for `pcg-stats-v1`, and its heart sounds are found as for
`pcg-beats-v1`. Log power is the natural logarithm of the power in 16 mel bands from 25 to 900 Hz, in frames of 40 ms
every 10 ms, interpolated to the middle of each phase: 12 from S1 to S2, and 20 from S2 to the next S1. A systole or a
diastole counts even where the rest of its cycle lies outside of the recording. From the levels of each band the median
of its levels in phases 4 to 17 of the diastole is taken away, which leaves neither the gain nor the response of the
device. All 512 levels are divided by their root mean square plus 0.05, because how far the heart sounds stand out of
the noise depends on the room and the device. The spread is in units of log power. The median distance of a few values
is smaller than that of many, so it is multiplied by the factors of Croux and Rousseeuw (1992); that of a single value
is 0. Where no systole or no diastole is found, all values are 0.
"""

CYCLE_SPECTRUM = FeatureSet(
    name="cycle-spectrum",
    version=VERSION,
    shape="vector",
    columns=COLUMNS,
    needs=("signal", "segmentation"),
    function="heartbeat_core.features.cycle_spectrum:compute_cycle_spectrum",
    introduction=_INTRODUCTION,
)
