"""What is printed of an evaluation: a table for each task, or the figures of a finished model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from heartbeat_core.wording import counted
from jobs.cli.printing import TERMINAL, out

if TYPE_CHECKING:
    from heartbeat_core.evaluation.calls import Calls
    from heartbeat_core.evaluation.figures import Evaluation, RecipeFigures
    from heartbeat_core.evaluation.finished import ModelEvaluation
    from heartbeat_core.evaluation.intervals import Interval
    from heartbeat_core.evaluation.leave_one_out import Place
    from heartbeat_core.evaluation.rank_figures import LabelRanks, RankFigures

MOST_DEVICES = 2
"""The columns of more devices do not fit a terminal; they get tables of their own."""
_MEAN_ROW = "mean over databases"


def print_leaderboard(found: Evaluation) -> None:
    """Print a table for each task, the best first; the Markdown has more."""
    for task in dict.fromkeys(one.task for one in found.recipes):
        here = [one for one in found.recipes if one.task == task]
        if any(one.judgement.within_databases for one in here):
            _print_ranks(here, "database")
        else:
            _print_task(found, task)
            if len(here[0].judgement.within_devices) > MOST_DEVICES:
                _print_ranks(here, "device")
    out.print(f"Means over seeds, 95 % intervals over patients. {found.protocol}")
    for one in found.recipes:
        if one.no_better_than:
            out.print(f"{one.name}, {one.task}: no better than the {' and the '.join(one.no_better_than)}")


def _print_task(found: Evaluation, task: str) -> None:
    entries = (one for one in (*found.recipes, *found.rules) if one.task == task)
    here = sorted(entries, key=lambda one: -one.judgement.balanced_accuracy.value)
    devices = list(here[0].judgement.within_devices)
    if len(devices) > MOST_DEVICES:
        devices = []
    table = Table(title=task, box=box.SIMPLE)
    table.add_column("recipe", no_wrap=True)
    for head in ("balanced accuracy", "macro-F1", "accuracy", *devices):
        table.add_column(head)
    for one in here:
        judged = one.judgement
        figure = judged.balanced_accuracy
        within = (f"{judged.within_devices[device].balanced_accuracy.value:.3f}" for device in devices)
        others = (f"{value.value:.3f}" for value in (judged.macro_f1, judged.accuracy))
        table.add_row(one.name, f"{figure.value:.3f} ({figure.low:.2f} to {figure.high:.2f})", *others, *within)
    out.print(table)


def _print_ranks(recipes: Sequence[RecipeFigures], place: Place) -> None:
    """Print each label against the rest within each database or device: a row a place, a column a recipe."""
    for label in dict.fromkeys(ranks.label for one in recipes for ranks in one.against_rest):
        of_recipes = {one.name: ranks for one in recipes for ranks in one.against_rest if ranks.label == label}
        for names in _side_by_side(of_recipes, place):
            title = f"{recipes[0].task}: AUROC of {label} against the rest"
            _print_rank_table(title, {name: of_recipes[name] for name in names}, place)


def _places(ranks: LabelRanks, place: Place) -> dict[str, RankFigures]:
    return ranks.databases if place == "database" else ranks.devices


def _side_by_side(of_recipes: Mapping[str, LabelRanks], place: Place) -> list[list[str]]:
    """Divide the names of recipes, in order, into tables that are not wider than the terminal."""
    first = max(len(name) for ranks in of_recipes.values() for name in (*_places(ranks, place), _MEAN_ROW))
    groups: list[list[str]] = []
    left = 0
    for name in of_recipes:
        width = max(len(name), len("0.000 (of 00)")) + 3
        if not groups or width > left:
            groups.append([])
            left = out.width - first - 5
        groups[-1].append(name)
        left -= width
    return groups


def _print_rank_table(title: str, of_recipes: Mapping[str, LabelRanks], place: Place) -> None:
    from heartbeat_core.evaluation.markdown import NOTHING

    table = Table(place, *of_recipes, title=title, box=box.SIMPLE)
    for name in dict.fromkeys(name for ranks in of_recipes.values() for name in _places(ranks, place)):
        aurocs = [_places(ranks, place)[name].auroc for ranks in of_recipes.values()]
        if any(aurocs):
            table.add_row(name, *(NOTHING if auroc is None else f"{auroc.value:.3f}" for auroc in aurocs))
    if place == "database":
        means = [ranks.mean_over_databases.auroc for ranks in of_recipes.values()]
        table.add_row(
            _MEAN_ROW, *(NOTHING if mean is None else f"{mean.value:.3f} (of {mean.n_databases})" for mean in means)
        )
    out.print(table)


def print_judged(found: ModelEvaluation) -> None:
    """Print the main figures of a finished model, in tables that are not wider than a terminal."""
    from heartbeat_core.evaluation.finished_report import rules_note, unsure_rows, warning_of

    recordings, patients = counted(found.n_rows, "recording"), counted(found.n_patients, "patient")
    out.print(f"{recordings} of {patients} predicted, {found.n_failed} failed")
    for error_type, count in found.failures.items():
        out.print(f"  {count:>8} failed: {error_type}")
    out.print(warning_of(found), soft_wrap=False)
    if (judged := found.judgement) is not None:
        out.print(f"accuracy: {_interval(judged.accuracy)}")
        out.print(f"balanced accuracy: {_interval(judged.balanced_accuracy)}")
        out.print(f"macro-F1: {_interval(judged.macro_f1)}")
        for name, rule in found.rules.items():
            out.print(f"balanced accuracy of the {name}: {_interval(rule.balanced_accuracy)}")
        out.print(rules_note(found), soft_wrap=False)
        _print_calls(found.calls, judged.labels, "database")
        if len(found.calls_by_device) > 1:
            _print_calls(found.calls_by_device, judged.labels, "device")
    for ranks in found.against_rest:
        table = Table(title=f"{ranks.label} against the rest", box=box.SIMPLE, show_edge=False, pad_edge=False)
        table.add_column("within", overflow="fold")
        for head in ("+/−", "AUROC", "AUROC by patient", "ECE"):
            table.add_column(head, no_wrap=True)
        places = [(name, one, ranks.databases_by_patient[name]) for name, one in ranks.databases.items()]
        if len(places) > 1:
            places.append(("all databases", ranks.pooled, ranks.by_patient))
        for name, figures, of_patients in places:
            cells = (_interval(figures.auroc), _interval(of_patients.auroc), _value(figures.calibration_error))
            table.add_row(name, f"{figures.n_positive}/{figures.n_negative}", *cells)
        devices = ranks.devices if len(ranks.devices) > 1 else {}
        for kind, group in (("device", devices), *ranks.groups.items()):
            table.add_section()
            for name, figures in group.items():
                if figures.auroc is not None:
                    rows = f"{figures.n_positive}/{figures.n_negative}"
                    table.add_row(
                        f"{kind} {name}", rows, _interval(figures.auroc), "", _value(figures.calibration_error)
                    )
        out.print(table, width=min(out.width, TERMINAL))
        out.print()
    table = Table("database", "right: marked", "wrong: marked", title="marked as unsure", box=box.SIMPLE)
    for row in unsure_rows(found):
        table.add_row(*row)
    out.print(table, width=min(out.width, TERMINAL))
    out.print("+/−: recordings with the label and without it. ECE: calibration error.")
    out.print("In brackets: 95 % intervals over patients. Not a medical device.")
    out.print(f"model {found.model_id}")


def _print_calls(calls: Calls, labels: Sequence[str], place: Place) -> None:
    """Print what the recordings of each label are called in each place."""
    from heartbeat_core.evaluation.row_report import calls_rows

    title = "called (share of the recordings with one known label)"
    table = Table(title=title, box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column("recordings", no_wrap=True)
    table.add_column(place, overflow="fold")
    for head in ("rows", *labels):
        table.add_column(head, justify="right")
    for row in calls_rows(calls, labels):
        table.add_row(*row)
    out.print(table, width=min(out.width, TERMINAL))
    out.print()


def _interval(figure: Interval | None) -> str:
    from heartbeat_core.evaluation.markdown import NOTHING

    return NOTHING if figure is None else f"{figure.value:.3f} ({figure.low:.2f} to {figure.high:.2f})"


def _value(figure: Interval | None) -> str:
    from heartbeat_core.evaluation.markdown import NOTHING

    return NOTHING if figure is None else f"{figure.value:.3f}"
