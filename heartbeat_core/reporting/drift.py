"""The section about drift: whether the recordings are like those that the model was trained on.

The limits below were measured with the bundle ``cycles``, which was trained on PASCAL alone, as the shift over all its
columns. All of PASCAL has 0.15, and its parts of one device 0.20 and 0.42. Databases that it was not trained on have
0.35 (CirCor) and 0.53 to 1.5 (the six of CinC 2016).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.bundles.drift import DISTANCE_EDGES, Drift
from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.bundles.reasons import OUT_OF_DISTRIBUTION, UNLIKE_TRAINING_DATA
from heartbeat_core.evaluation.calls import shares_called
from heartbeat_core.features.groups import GroupColumns, groups_read
from heartbeat_core.learning.limits import FAR_SHARE, UNLIKE_RIGHT_SHARE
from heartbeat_core.reporting.counting import percent
from heartbeat_core.reporting.facts import ReportFacts
from heartbeat_core.reporting.page import Bars, Figure, Finding, Line, Numbers, Ranges, Section

SOMEWHAT, UNLIKE = 0.4, 0.5
"""Shifts, in training deviations, from which recordings are somewhat unlike, and unlike, the training data."""
N_FARTHEST = 8
"""Shards that are named."""
_FEWEST = 8
"""Recordings of which a shift says something."""
_DIRECTED = 0.25
"""Mean of the directed columns from which recordings are said to be brighter, faster and so on."""
_OVERCALLED = 0.2
"""By how much a label's share of a run must exceed its share of the training rows to be a sign of false labels.

Measured with ``cycles`` on training-e of CinC 2016, which is unlike its training data: it calls 68 % of the recordings
murmurs (22 % of its training rows are), and 89 % of those that are labelled normal.
"""
_MANY_UNLIKE = 0.25
"""Share of the recordings in shards that are unlike by themselves which is a finding; in PASCAL itself, 0.13 are."""
_MARKS = {"somewhat unlike": SOMEWHAT, "unlike": UNLIKE}
_PERCENTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_LAST_EDGE = 8.0
_MOST_POINTS = 120
_MANY_MARKED = 3.0
"""How many times the expected share must be marked as far before it is a finding."""


def verdict(facts: ReportFacts) -> str:
    """Return how like the training data the recordings are.

    Parameters
    ----------
    facts : ReportFacts

    Returns
    -------
    str
        ``unlike``, ``partly unlike`` (not together, but many shards by themselves), ``somewhat unlike``, ``like``, or
        ``unknown`` where nothing was measured or there are too few recordings.
    """
    if facts.drift is None or facts.drift.n < _FEWEST:
        return "unknown"
    together = _word(facts.drift.shift())
    return "partly unlike" if together != "unlike" and unlike_share(facts) >= _MANY_UNLIKE else together


def drift_findings(facts: ReportFacts) -> list[Finding]:
    """Return what the first screen must say about drift, and about predictions that are marked as far; may be none."""
    found = []
    told = verdict(facts)
    words = _directions(facts)
    sentence = f" They are {_joined(words)} than the training data." if words else ""
    shift = 0.0 if facts.drift is None else facts.drift.shift()
    if told == "unlike":
        text = (
            f"These recordings are unlike the training data of the model: they differ from it together, by "
            f"{shift:.2f} of its deviations (parts of the training data have up to {SOMEWHAT:g}).{sentence}"
            f"{_overcalled(facts)} Do not trust its labels or its confidence here before you have checked them on "
            "recordings whose truth you know."
        )
        found.append(Finding("bad", text))
    elif told == "partly unlike":
        text = (
            f"A part of these recordings is unlike the training data of the model: {percent(unlike_share(facts), 1.0)} "
            "of them lie in shards that are unlike it by themselves. Check the labels there on recordings whose truth "
            "you know. The section 'Drift' names these shards."
        )
        found.append(Finding("look", text))
    elif told == "somewhat unlike":
        text = (
            f"These recordings are somewhat unlike the training data of the model (shift {shift:.2f}; parts of those "
            f"data have up to {SOMEWHAT:g}).{sentence} Check its labels on recordings whose truth you know."
        )
        found.append(Finding("look", text))
    elif told == "like":
        found.append(Finding("good", f"These recordings are like the training data of the model (shift {shift:.2f})."))
    marked, n = _marked(facts), _n_predictions(facts)
    for reason, expected, whose in (
        (OUT_OF_DISTRIBUTION, FAR_SHARE, "its training rows"),
        (UNLIKE_TRAINING_DATA, UNLIKE_RIGHT_SHARE, "its right predictions for databases it had not seen"),
    ):
        if n and marked.get(reason, 0) > max(_MANY_MARKED * expected * n, 3):
            share, most = percent(marked[reason], n), f"{1 - expected:.1%} of {whose}"
            found.append(Finding("bad", f"{share} of the predictions lie farther from the training data than {most}."))
    return found


def drift_section(facts: ReportFacts) -> Section:
    """Return the section, which says why there is nothing if nothing was measured."""
    drift, manifest = facts.drift, facts.manifest
    if drift is None or manifest is None:
        return Section("drift", "Drift", [_why_not(facts)])
    told = verdict(facts)
    lead = [f"Taken together, these recordings are {_word(drift.shift())} the training data."]
    if told == "unknown":
        lead = [f"There are too few recordings to say whether they are like the training data: {_FEWEST} are needed."]
    elif told == "partly unlike":
        lead.append(f"But {percent(unlike_share(facts), 1.0)} of them lie in shards that are unlike it by themselves.")
    if words := _directions(facts):
        lead.append(f"They are {_joined(words)} than the training data.")
    lead.append(_experience(manifest))
    if facts.n_generations > 1:
        lead.append("Recordings that an update or a retry has replaced are counted, too.")
    rows = _rows(drift, groups_read(manifest.recipe.input))
    # One recording alone has no shift.
    shifts = [_shift_figure(rows)] if drift.n > 1 else []
    return Section("drift", "Drift", lead, [*shifts, _distance_figure(rows, drift.n), *_along(facts)])


@dataclass(frozen=True, slots=True)
class _Row:
    """A group: its title, its shift, and its histogram of distances."""

    title: str
    shift: float
    distances: NDArray[np.int64]


def _rows(drift: Drift, groups: Sequence[GroupColumns]) -> list[_Row]:
    """Return all features, and then the groups, those with the largest shift first."""
    found = [
        _Row(one.group.title, round(drift.shift(one.columns, place), 3), drift.distances[place])
        for place, one in enumerate(groups, start=1)
    ]
    found.sort(key=lambda row: -row.shift)
    return [_Row("all features", round(drift.shift(), 3), drift.distances[0]), *found]


def distance_percentiles(counts: NDArray[np.int64]) -> list[float]:
    """Return the 10th, 25th, 50th, 75th and 90th percentile of distances, from their counts by bin.

    Parameters
    ----------
    counts : ndarray, [n_bins] int64
        A row of ``Drift.distances``, of at least one recording.

    Returns
    -------
    list[float]
        Training deviations, interpolated in a bin; the open last bin is taken to end at 8.
    """
    edges = [0.0, *DISTANCE_EDGES, _LAST_EDGE]
    reached = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    found = []
    for share in _PERCENTILES:
        place = int(np.searchsorted(reached[1:], share - 1e-12))
        low, high = reached[place], reached[place + 1]
        part = (share - low) / (high - low) if high > low else 0.0
        found.append(round(float(edges[place] + part * (edges[place + 1] - edges[place])), 3))
    return found


def _shift_figure(rows: Sequence[_Row]) -> Figure:
    titles, shifts = [row.title for row in rows], [row.shift for row in rows]
    return Figure(
        "drift-shift",
        "Shift of each group of features",
        "How far the recordings together lie from the mean of the training rows, in deviations of those; 0 is no "
        "shift. The lines are limits for all features.",
        {"group": titles, "shift": shifts, "verdict": [_word(shift) for shift in shifts]},
        Bars("shift, training deviations", titles, {"shift": shifts}, _MARKS),
        "Bars of the shift: " + ", ".join(f"{row.title} {row.shift:.2f}" for row in rows),
    )


def _distance_figure(rows: Sequence[_Row], n: int) -> Figure:
    names = [row.title for row in rows]
    percentiles = [distance_percentiles(row.distances) for row in rows]
    columns = {f"p{share * 100:.0f}": [one[k] for one in percentiles] for k, share in enumerate(_PERCENTILES)}
    return Figure(
        "drift-distance",
        "Distance of single recordings",
        "How far each recording lies from the mean of the training rows, whose root mean square distance is 1.",
        {"group": names, **columns, "recordings": [n] * len(names)},
        Ranges("distance, training deviations", names, percentiles, {"training rows": 1.0}),
        "Ranges of the distance; medians: "
        + ", ".join(f"{row.title} {one[2]:.2f}" for row, one in zip(rows, percentiles, strict=True)),
    )


def _along(facts: ReportFacts) -> list[Figure]:
    """Return the shift along the listing, where there are enough shards to draw a line."""
    shards = [one for one in facts.shards if isfinite(one.shift)]
    if len(shards) < 3:
        return []
    pieces = np.array_split(np.arange(len(shards)), min(_MOST_POINTS, len(shards)))
    x = [float(np.mean([shards[k].shard for k in piece])) for piece in pieces]
    y = [round(float(np.mean([shards[k].shift for k in piece])), 3) for piece in pieces]
    told = "The shift of each shard, in the order of the listing. A step is often another device or database."
    chart = Line("shard", "shift", x, y, _MARKS)
    alt = f"Line of the shift over the shards: from {min(y):.2f} to {max(y):.2f}."
    return [
        Figure("drift-along", "Shift along the listing", told, {"shard": x, "shift": y}, chart, alt),
        *_farthest(facts),
    ]


def _farthest(facts: ReportFacts) -> list[Figure]:
    """Return the table of the shards with the largest shifts, if they are unlike the training data."""
    shards = sorted((one for one in facts.shards if one.shift >= UNLIKE), key=lambda one: -one.shift)[:N_FARTHEST]
    if not shards:
        return []
    numbers: Numbers = {
        "shard": [one.shard for one in shards],
        "shift": [round(one.shift, 3) for one in shards],
        "recordings": [one.n for one in shards],
        "first_recording": [one.first for one in shards],
    }
    told = "The shards that are most unlike the training data, and the first recording of each."
    return [Figure("drift-farthest", "Where the shift is largest", told, numbers)]


def unlike_share(facts: ReportFacts) -> float:
    """Return the share of the recordings whose shard, by itself, is unlike the training data; 0 without shards."""
    total = sum(one.n for one in facts.shards)
    return sum(one.n for one in facts.shards if one.shift >= UNLIKE) / total if total else 0.0


def _word(shift: float) -> str:
    return "unlike" if shift >= UNLIKE else "somewhat unlike" if shift >= SOMEWHAT else "like"


def _directions(facts: ReportFacts) -> list[str]:
    """Return in words where the groups with a direction lie, if they are shifted; the farthest first."""
    drift = facts.drift
    if drift is None or facts.manifest is None or drift.n < _FEWEST:
        return []
    found: dict[str, float] = {}
    for one in groups_read(facts.manifest.recipe.input):
        place = float(drift.sums[one.directed].mean() / drift.n) if len(one.directed) else 0.0
        if abs(place) >= _DIRECTED:
            word = one.group.more if place > 0 else one.group.less
            found[word] = max(found.get(word, 0.0), abs(place))
    return sorted(found, key=lambda word: -found[word])


def _overcalled(facts: ReportFacts) -> str:
    """Return a sentence about the label that is much commoner here than in the training data; empty if none is."""
    trained = {} if facts.manifest is None else facts.manifest.training_data.rows_by_label
    total, n_trained = sum(facts.labels.values()), sum(trained.values())
    for label, count in facts.labels.items():
        here, there = count / max(1, total), trained.get(label, 0) / max(1, n_trained)
        if here - there >= _OVERCALLED and label in trained:
            return (
                f" The model calls {percent(here, 1.0)} of them '{label}', a label that {percent(there, 1.0)} of its "
                "training rows have: expect false ones."
            )
    return ""


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _marked(facts: ReportFacts) -> dict[str, int]:
    return {} if facts.predictions is None else count_reasons(facts.predictions.columns.get("unsure_reason", ()))


def count_reasons(cells: Iterable[Any]) -> dict[str, int]:
    """Count the reasons in cells that hold several, joined by commas.

    Parameters
    ----------
    cells : Iterable[Any]
        Texts, as in the column ``unsure_reason``; None or an empty text holds none.

    Returns
    -------
    dict[str, int]
        The commonest first, then in alphabetical order.
    """
    counts: dict[str, int] = {}
    for cell in cells:
        for reason in cell.split(",") if cell else ():
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _n_predictions(facts: ReportFacts) -> int:
    return 0 if facts.predictions is None else facts.predictions.n_rows


def _experience(manifest: BundleManifest) -> str:
    """Return what is known of the model on databases that it was not trained on."""
    shares: dict[str, list[float]] = {}
    for evaluation in manifest.left_out:
        for by_label in evaluation.recipes[0].calls.values():
            for label, calls in by_label.items():
                shares.setdefault(label, []).append(1.0 - shares_called(calls)[1].get(label, 0.0))
    if not shares:
        return (
            "This model was never judged on a database that it was not trained on, so nobody knows how it does on "
            "recordings that are unlike its training data."
        )
    label = max(shares, key=lambda label: len(shares[label]))
    least, most = (percent(share, 1.0) for share in (min(shares[label]), max(shares[label])))
    return (
        f"What an unlike database can cost: of {len(shares[label])} databases that were left out of the training one "
        f"after the other, it called between {least} and {most} of the recordings labelled '{label}' something else."
    )


def _why_not(facts: ReportFacts) -> str:
    if facts.job != "classify":
        return "A dataset has no model, and so nothing to be unlike of."
    if facts.manifest is None:
        return "The model cannot be read any more, so drift is not shown."
    if not facts.tasks:
        return (
            "Drift is measured while the recordings are classified, and no shard of this folder has such measurements."
        )
    return (
        f"This model reads '{facts.manifest.recipe.input}'; drift is measured only for models of vectors of features."
    )
