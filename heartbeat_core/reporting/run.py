"""The sections about the run itself: failures, rate, workers, stages, and where all this comes from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heartbeat_core.reporting.counting import percent, whole
from heartbeat_core.reporting.facts import ReportFacts, Task
from heartbeat_core.reporting.page import Bars, Figure, Line, Numbers, Section

STAGES = {
    "read": "waiting for recordings",
    "core": "waiting for the worker's core",
    "features": "decoding and features",
    "model": "model and tables",
    "store": "storing the parts",
}
"""The stages of a task, in order."""
_MOST_WORKERS = 20
_MOST_INTERVALS = 60
_PAUSE_S = 120.0
"""Longer gaps between commits are pauses, when the job was stopped."""


def failures_section(facts: ReportFacts) -> Section:
    """Return the section: failures by reason, with the first names of each."""
    if not facts.failures:
        return Section("failures", "Failures", ["No recording has failed."])
    counts = {kind: one.count for kind, one in facts.failures.items()}
    lead = [
        f"{whole(facts.failed)} of {whole(facts.listed)} recordings ({percent(facts.failed, facts.listed)}) could not "
        "be processed. The table 'failures' names each of them; 'heartbeat classify --retry-failed' takes them again."
    ]
    figure = Figure(
        "failures",
        "Failures by reason",
        "How many recordings failed for each reason.",
        {"reason": list(counts), "recordings": list(counts.values())},
        Bars("recordings", list(counts), {"recordings": list(counts.values())}),
        "Bars: " + ", ".join(f"{kind} {whole(count)}" for kind, count in counts.items()),
    )
    rows = [(kind, path, message) for kind, one in facts.failures.items() for path, message in one.first]
    named = {
        "reason": [row[0] for row in rows],
        "recording": [row[1] for row in rows],
        "message": [row[2] for row in rows],
    }
    table = Figure("failures-first", "The first of each reason", "Where they lie, and what was wrong.", named)
    return Section("failures", "Failures", lead, [figure, *([table] if rows else [])])


def work_section(facts: ReportFacts) -> Section:
    """Return the section: recordings a second over time, workers, and the time of each stage."""
    tasks = sorted(facts.tasks, key=lambda task: task.ended_at)
    if not tasks:
        return Section("work", "Rate and workers", ["The commit records of this folder hold no times."])
    n_workers = len({task.worker for task in tasks})
    busy = working_seconds(tasks)
    n = sum(task.listed for task in tasks)
    lead = [
        f"{whole(n)} recordings in {_duration(busy)} of work, pauses left out: {n / max(busy, 1e-9):.3g} recordings a "
        f"second on {whole(n_workers)} worker process{'es' * (n_workers != 1)}."
    ]
    return Section("work", "Rate and workers", lead, [_rate(tasks), _workers(tasks), _stages(tasks)])


def provenance_section(facts: ReportFacts) -> Section:
    """Return the last section."""
    numbers = {"what": list(facts.provenance), "value": list(facts.provenance.values())}
    figure = Figure("provenance", "Provenance", "What this folder was made from, and with what.", numbers)
    return Section("provenance", "Provenance", [], [figure])


def working_seconds(tasks: Sequence[Task]) -> float:
    """Return how long at least one task was under way, from the earliest start on.

    Parameters
    ----------
    tasks : Sequence[Task]
        In any order.

    Returns
    -------
    float
        Seconds.
    """
    total, reached = 0.0, -np.inf
    for task in sorted(tasks, key=lambda one: one.started_at):
        total += max(0.0, task.ended_at - max(task.started_at, reached))
        reached = max(reached, task.ended_at)
    return total


def rate_over_time(tasks: Sequence[Task]) -> tuple[list[float], list[float]]:
    """Return how many recordings a second were done in intervals of the run.

    Time in which no task was under way for longer than two minutes is left out.

    Parameters
    ----------
    tasks : Sequence[Task]
        At least one, by their end, ascending.

    Returns
    -------
    tuple[list[float], list[float]]
        The ends of the intervals, in minutes of work from the start, and the recordings a second in each.
    """
    moments: list[float] = []
    now, reached = 0.0, min(task.started_at for task in tasks)
    for task in tasks:
        step = task.ended_at - reached
        # What was under way before the pause had begun before it; what began later counts from its own start.
        now += min(step, task.ended_at - task.started_at) if step > _PAUSE_S else step
        reached = task.ended_at
        moments.append(now)
    n_intervals = max(1, min(_MOST_INTERVALS, len(tasks) // 4))
    edges = np.linspace(0.0, max(now, 1e-3), n_intervals + 1)
    done, _ = np.histogram(moments, edges, weights=[task.listed for task in tasks])
    rates = done / np.diff(edges)
    return [round(float(edge) / 60.0, 3) for edge in edges[1:]], [round(float(rate), 3) for rate in rates]


def _rate(tasks: Sequence[Task]) -> Figure:
    minutes, rates = rate_over_time(tasks)
    alt = f"Line of the rate over time: from {min(rates):.3g} to {max(rates):.3g} recordings a second."
    told = "Recordings that were committed a second. A fall is often a slow store, lost workers, or longer recordings."
    numbers = {"minutes": minutes, "recordings_per_second": rates}
    return Figure(
        "rate", "Rate over time", told, numbers, Line("minutes of work", "recordings / s", minutes, rates), alt
    )


def _workers(tasks: Sequence[Task]) -> Figure:
    names = list(dict.fromkeys(task.worker for task in tasks))
    rows = []
    for name in names:
        own = [task for task in tasks if task.worker == name]
        computed = sum(task.seconds.get(stage, 0.0) for task in own for stage in ("features", "model"))
        rows.append((name, sum(task.listed for task in own), len(own), round(computed, 1)))
    rows.sort(key=lambda row: -row[1])
    shown, rest = rows[:_MOST_WORKERS], rows[_MOST_WORKERS:]
    if rest:
        listed, shards, computed = (sum(values) for values in list(zip(*rest, strict=True))[1:])
        shown.append((f"{len(rest)} others", listed, shards, round(computed, 1)))
    heads = ("worker", "recordings", "shards", "computing_s")
    numbers = {head: [row[k] for row in shown] for k, head in enumerate(heads)}
    told = "What each worker process has done: host and process, and the processor time for features and model."
    return Figure("workers", "Workers", told, numbers)


def _stages(tasks: Sequence[Task]) -> Figure:
    n = max(1, sum(task.listed for task in tasks))
    spent = {title: sum(task.seconds.get(stage, 0.0) for task in tasks) for stage, title in STAGES.items()}
    titles, per = list(spent), [round(1000 * seconds / n, 3) for seconds in spent.values()]
    told = (
        "Where the tasks spent their time, for each recording. Features and model are processor time; tasks of one "
        "worker wait for its core while another computes."
    )
    alt = "Bars: " + ", ".join(f"{title} {value:.3g} ms" for title, value in zip(titles, per, strict=True))
    numbers: Numbers = {
        "stage": titles,
        "seconds": [round(seconds, 3) for seconds in spent.values()],
        "ms_per_recording": per,
    }
    return Figure("stages", "Time by stage", told, numbers, Bars("ms a recording", titles, {"ms": per}), alt)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
