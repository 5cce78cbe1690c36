"""The sections about the recordings: their lengths, formats and devices, quality, hearts, and alignment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.bundles.predictions import Sureness
from heartbeat_core.reporting.counting import count_values, histogram_figure, numbers_of, percent, sampled, whole
from heartbeat_core.reporting.facts import ReportFacts
from heartbeat_core.reporting.page import Bars, Figure, Numbers, Section
from heartbeat_core.results.sample import Sample

_MOST_ROWS = 12
_FEWEST_SEARCHED_S = 0.05
MIN_RATE_CONFIDENCE = 0.3
"""A heart rate of less confidence counts as not found: of such rates of CirCor, half lie more than 5 bpm off the truth.
Of those above, 97 in 100 lie nearer."""


def recordings_section(facts: ReportFacts) -> Section:
    """Return the section: durations, sample rates, formats and devices."""
    sample = facts.recordings
    if sample is None or not sample.n_rows:
        return Section("recordings", "Recordings", ["There are no features yet."])
    note = sampled(sample, facts.done)
    durations = numbers_of(sample, "duration_s")
    figures = [
        histogram_figure(
            "durations",
            "Durations",
            f"How long the recordings are; the longest has {durations.max():.4g} s. The last bin is open.",
            "s",
            durations,
            note,
            low=0.0,
        ),
        *_counted(
            sample, ("sample_rate_hz",), "sample-rates", "Sample rates", "Samples a second, as the files say.", " Hz"
        ),
        *_counted(
            sample,
            ("format", "subtype", "channels"),
            "formats",
            "Formats",
            "Container, coding and channels of the files: recordings of one device usually have the same.",
        ),
    ]
    named = [one for name in ("database", "device", "site") for one in _named(sample, name)]
    lead = (
        []
        if named
        else ["No column says which device made a recording; its sample rate and its format are what is known."]
    )
    return Section("recordings", "Recordings and devices", lead, [*figures, *named])


def quality_section(facts: ReportFacts) -> Section:
    """Return the section: how loud the recordings are, and how many are of poor quality."""
    sample = facts.recordings
    if sample is None or not len(numbers_of(sample, "rms_amplitude")):
        return Section("quality", "Quality", ["There are no features yet."])
    note = sampled(sample, facts.done)
    levels = 20.0 * np.log10(np.maximum(numbers_of(sample, "rms_amplitude"), 1e-6))
    limits = Sureness() if facts.manifest is None else facts.manifest.sureness
    counts = {
        f"clipped: more than {limits.max_clipped_fraction:.0%} of the samples": _over(
            sample, "clipped_fraction", limits.max_clipped_fraction
        ),
        f"silent: more than {limits.max_silent_fraction:.0%} of the time": _over(
            sample, "silent_fraction", limits.max_silent_fraction
        ),
        f"shorter than {limits.min_duration_s:g} s": int(
            (numbers_of(sample, "duration_s") < limits.min_duration_s).sum()
        ),
        "cut off: less audio than the header says": int((numbers_of(sample, "truncated") > 0).sum()),
        "off-centre: offset above 5 % of full scale": int((np.abs(numbers_of(sample, "dc_offset")) > 0.05).sum()),
    }
    numbers: Numbers = {
        "what": list(counts),
        "recordings": list(counts.values()),
        "share": [round(count / sample.n_rows, 5) for count in counts.values()],
    }
    return Section(
        "quality",
        "Quality",
        ["How the recordings were made. The first four make a prediction unsure (poor_quality)."],
        [
            Figure("quality", "Poor quality", "How many recordings have each flaw.", numbers, note=note),
            histogram_figure(
                "levels",
                "Level",
                "Root mean square of the samples, in dB of full scale. Two hills are often two devices.",
                "dBFS",
                levels,
                note,
            ),
        ],
    )


def heart_section(facts: ReportFacts) -> Section:
    """Return the section: heart rates, from the features that are written."""
    sample = facts.recordings
    title = "Heart rates"
    note = sampled(sample, facts.done)
    rates = numbers_of(sample, "heart_rate_bpm")
    if len(rates):
        found = _confident_rates(sample)
        told = "Beats a minute, from the S1 sounds that were found (feature set 'beats')."
        lead = [
            f"No heart rate was found in {whole(len(rates) - len(found))} of {whole(len(rates))} recordings. One whose "
            f"heart_rate_confidence is below {MIN_RATE_CONFIDENCE} counts as not found: it is as often wrong as right."
        ]
        return Section("heart", title, lead, [_rates(found, told, note)] if len(found) else [])
    periods = numbers_of(sample, "rhythm_low_period_s")
    periods = periods[periods > _FEWEST_SEARCHED_S]
    if len(periods):
        lead = [
            "A rough estimate: 60 over the period of the envelope from 25 to 150 Hz, which may be half or twice the "
            "true one. With '--features …,beats', the heart rate of the S1 sounds is written and shown instead."
        ]
        told = "Beats a minute, from the period of the envelope (feature set 'statistics')."
        return Section("heart", title, lead, [_rates(60.0 / periods, told, note)])
    return Section(
        "heart",
        title,
        ["The features that were written have no heart rate: '--features …,beats' writes one for each recording."],
    )


def alignment_section(facts: ReportFacts) -> Section:
    """Return the section: where the frames lie along the reference, and how near."""
    sample = facts.recordings
    offsets, distances = numbers_of(sample, "offset_frames"), numbers_of(sample, "alignment_distance")
    if not len(offsets):
        return Section("alignment", "Alignment", ["The feature set 'aligned' was not written."])
    note = sampled(sample, facts.done)
    n_cut, n = int((numbers_of(sample, "n_frames_cut") > 0).sum()), len(offsets)
    lead = [
        f"{whole(n_cut)} of {whole(n)} recordings ({percent(n_cut, n)}) are longer than the reference and were cut.",
    ]
    return Section(
        "alignment",
        "Alignment",
        lead,
        [
            histogram_figure(
                "offsets",
                "Offsets",
                "Where a recording's first frame lies along the reference.",
                "frames",
                offsets,
                note,
                low=0.0,
            ),
            histogram_figure(
                "distances",
                "Distances",
                "Euclidean distance to the reference at that place, over Hz and magnitude; it grows with the length.",
                "distance",
                distances,
                note,
                low=0.0,
            ),
        ],
    )


def _confident_rates(sample: Sample | None) -> NDArray[np.float64]:
    rates, confidences = numbers_of(sample, "heart_rate_bpm"), numbers_of(sample, "heart_rate_confidence")
    if len(confidences) == len(rates):  # One feature set has both.
        rates = rates[confidences >= MIN_RATE_CONFIDENCE]
    return rates[rates > 0]


def _rates(rates: NDArray[np.float64], told: str, note: str | None) -> Figure:
    return histogram_figure("heart-rates", "Heart rates", told, "beats a minute", rates, note)


def _over(sample: Sample, name: str, limit: float) -> int:
    return int((numbers_of(sample, name) > limit).sum())


def _named(sample: Sample, name: str) -> list[Figure]:
    return _counted(sample, (name,), name, f"{name.capitalize()}s", f"The column '{name}' of the inputs.")


def _counted(sample: Sample, names: Sequence[str], name: str, title: str, told: str, unit: str = "") -> list[Figure]:
    """Return bars of the commonest values; the others share the last bar. None where no row has a value."""
    counts = {f"{value}{unit}": count for value, count in count_values(sample, *names).items()}
    if not counts:
        return []
    shown = dict(list(counts.items())[:_MOST_ROWS])
    if rest := sum(counts.values()) - sum(shown.values()):
        shown[f"{len(counts) - len(shown)} others"] = rest
    titles, values = list(shown), list(shown.values())
    alt = "Bars: " + ", ".join(f"{value} {whole(count)}" for value, count in shown.items())
    chart = Bars("recordings", titles, {"recordings": values})
    note = None if sample.is_complete else f"From a sample of {whole(sample.n_rows)} rows."
    return [Figure(name, title, told, {"value": titles, "recordings": values}, chart, alt, note)]
