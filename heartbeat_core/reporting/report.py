"""Put a report together: the findings, the summary, and the sections in their order."""

from __future__ import annotations

import numpy as np

from heartbeat_core.reporting.counting import describe, numbers_of, percent, whole
from heartbeat_core.reporting.drift import drift_findings, drift_section, verdict
from heartbeat_core.reporting.facts import ReportFacts
from heartbeat_core.reporting.page import Finding, Report
from heartbeat_core.reporting.predictions import confidence_section, labels_section, unsure_section
from heartbeat_core.reporting.recordings import alignment_section, heart_section, quality_section, recordings_section
from heartbeat_core.reporting.run import failures_section, provenance_section, work_section

_MANY_FAILED = 0.05
_MANY_UNSURE = 0.25
_ORDER = {"bad": 0, "look": 1, "good": 2}


def build_report(facts: ReportFacts) -> Report:
    """Return the report of a run."""
    is_classified = facts.job == "classify"
    sections = [
        labels_section(facts),
        *([confidence_section(facts), unsure_section(facts), drift_section(facts)] if is_classified else []),
        failures_section(facts),
        recordings_section(facts),
        quality_section(facts),
        heart_section(facts),
        alignment_section(facts),
        work_section(facts),
        provenance_section(facts),
    ]
    findings = [*_state_findings(facts), *drift_findings(facts), *_unsure_findings(facts)]
    findings.sort(key=lambda one: _ORDER[one.level])
    return Report(f"heartbeat {facts.job}", f"{facts.folder}: {facts.state}", findings, _summary(facts), sections)


def _state_findings(facts: ReportFacts) -> list[Finding]:
    found = []
    if facts.left:
        found.append(
            Finding(
                "look",
                f"The run is not finished: {whole(facts.left)} of {whole(facts.listed)} recordings have no row yet.",
            )
        )
    if facts.failed:
        reason, commonest = next(iter(facts.failures.items()))
        many = facts.failed > _MANY_FAILED * facts.listed
        text = (
            f"{whole(facts.failed)} of {whole(facts.listed)} recordings failed ({percent(facts.failed, facts.listed)})"
        )
        most = commonest.count > facts.failed / 2
        why = f"most with '{reason}'" if most else f"for {len(facts.failures)} different reasons"
        found.append(Finding("bad" if many else "look", f"{text}, {why}."))
    elif not facts.left:
        found.append(Finding("good", f"All {whole(facts.listed)} recordings have their row."))
    return found


def _unsure_findings(facts: ReportFacts) -> list[Finding]:
    if facts.predictions is None or not facts.predictions.n_rows:
        return []
    n_unsure, n = int(numbers_of(facts.predictions, "unsure").sum()), facts.predictions.n_rows
    if n_unsure <= _MANY_UNSURE * n:
        return []
    return [Finding("look", f"The model marks {percent(n_unsure, n)} of its predictions as unsure.")]


def _summary(facts: ReportFacts) -> list[tuple[str, str]]:
    rows = [
        ("Recordings listed", whole(facts.listed)),
        ("Done", f"{whole(facts.done)} ({percent(facts.done, facts.listed)})"),
        ("Failed", f"{whole(facts.failed)} ({percent(facts.failed, facts.listed)})"),
    ]
    if facts.left:
        rows.append(("Left", whole(facts.left)))
    if facts.n_duplicates is not None:
        same = f"{whole(facts.n_duplicates)} ({percent(facts.n_duplicates, facts.done)})"
        rows.append(("Same audio as an earlier recording", same))
    if facts.labels:
        label, count = next(iter(facts.labels.items()))
        rows.append(("Commonest label", f"{label}, {percent(count, sum(facts.labels.values()))}"))
    if facts.predictions is not None and facts.predictions.n_rows:
        about = "" if facts.predictions.is_complete else "about "
        confidence = numbers_of(facts.predictions, "confidence")
        rows.append(("Median confidence", f"{about}{np.median(confidence):.2f}"))
        rows.append(
            ("Unsure", about + percent(numbers_of(facts.predictions, "unsure").sum(), facts.predictions.n_rows))
        )
    if facts.drift is not None:
        rows.append(("Against the training data", f"{verdict(facts)} (shift {facts.drift.shift():.2f})"))
    durations = numbers_of(facts.recordings, "duration_s")
    if len(durations):
        rows.append(("Duration", describe(durations, "s")))
    if facts.manifest is not None:
        rows.append(("Model", facts.manifest.name))
    return rows
