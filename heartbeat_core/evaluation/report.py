"""The figures of all recipes, as Markdown and as plain cells: one table of all, and one section for each."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.evaluation.figures import Evaluation, Figures, Judgement, PooledJudgement, RecipeFigures
from heartbeat_core.evaluation.intervals import OverSeeds
from heartbeat_core.evaluation.markdown import NOTHING, interval_cell, markdown_table, one_line
from heartbeat_core.evaluation.metrics import COVERAGES_PERCENT
from heartbeat_core.evaluation.rank_report import rank_leaderboard, rank_section
from heartbeat_core.evaluation.row_report import calls_section, unsure_section

HEAD = (
    "task",
    "recipe",
    "balanced accuracy",
    "macro-F1",
    "accuracy",
    "within",
    "ECE",
    "no better than",
    "fit (s)",
    "weights (kB)",
)


def leaderboard_rows(entries: Sequence[RecipeFigures]) -> list[list[str]]:
    """Return one list of cells for each entry, to go under ``HEAD``.

    Parameters
    ----------
    entries : Sequence[RecipeFigures]
        Recipes and rules, for one task or several.

    Returns
    -------
    list[list[str]]
        Tasks in the order of the entries; in each, the best balanced accuracy first.
    """
    tasks = list(dict.fromkeys(entry.task for entry in entries))
    ranked = sorted(entries, key=lambda entry: (tasks.index(entry.task), -entry.judgement.balanced_accuracy.value))
    return [_cells(entry) for entry in ranked]


def leaderboard(entries: Sequence[RecipeFigures]) -> str:
    """Return the table of all entries as Markdown, with a line that explains its figures.

    Parameters
    ----------
    entries : Sequence[RecipeFigures]
        As in ``leaderboard_rows``.
    """
    note = (
        "Means over seeds; in brackets the 95 % interval over patients (bootstrap). Within: balanced accuracy among "
        "the rows of one database or, where all rows are of one database, of one device, over the labels that occur "
        "there. ECE: expected calibration error."
    )
    return f"{markdown_table(HEAD, leaderboard_rows(entries))}\n\n{note}\n"


def recipe_section(entry: RecipeFigures, rules: Sequence[RecipeFigures]) -> str:
    """Return all figures of one recipe for one task as a Markdown section.

    Parameters
    ----------
    entry : RecipeFigures
        Of a recipe, not of a rule.
    rules : Sequence[RecipeFigures]
        The rules for the same task, whose figures stand beside those of the recipe.
    """
    judgement = entry.judgement
    beside = [judgement, *(rule.judgement for rule in rules)]
    paragraphs = [
        f"## {one_line(entry.name)}: {one_line(entry.task)}",
        f"{judgement.n_rows} rows of {judgement.n_patients} patients, each row predicted by a model that was trained "
        f"without its patient. Seeds: {judgement.n_seeds}. {_verdict(entry)}",
        markdown_table(
            ("figure", entry.name, *(rule.name for rule in rules)),
            [
                ("accuracy", *(interval_cell(each.accuracy) for each in beside)),
                ("balanced accuracy", *(interval_cell(each.balanced_accuracy) for each in beside)),
                ("macro-F1", *(interval_cell(each.macro_f1) for each in beside)),
                *(
                    (
                        f"balanced accuracy within {device} ({figures.n_rows} rows: {', '.join(figures.labels)})",
                        *(_range(each.within_devices[device].balanced_accuracy) for each in beside),
                    )
                    for device, figures in judgement.within_devices.items()
                ),
                *(
                    (
                        f"balanced accuracy within {database} ({figures.n_rows} rows: {', '.join(figures.labels)})",
                        *(_range(each.within_databases[database].balanced_accuracy) for each in beside),
                    )
                    for database, figures in judgement.within_databases.items()
                ),
            ],
        ),
        "Means over seeds. In brackets: for the first three the 95 % interval over patients (bootstrap), for all "
        "others, here and below, the least and the most that a seed gave.",
        _label_table(judgement),
        f"Confusion matrix (rows: label; columns: prediction), summed over seeds ({judgement.n_seeds}):",
        confusion_table(judgement),
        f"Calibration: expected calibration error {_range(judgement.ece)}, Brier score {_range(judgement.brier)} "
        "(0 to 2).",
        "Error rate among the most confident rows, by the share of rows that is kept; the area under this curve "
        f"(AURC) is {_range(judgement.aurc)}:",
        markdown_table(
            ("rows kept", *(f"{percent} %" for percent in COVERAGES_PERCENT)),
            [("error rate", *(f"{risk.value:.3f}" for risk in judgement.risk_coverage))],
        ),
    ]
    paragraphs += [*calls_section(entry.calls, judgement.labels, judgement.n_seeds), *unsure_section(entry)]
    if entry.against_rest:
        paragraphs.append(rank_section(entry.against_rest).rstrip())
    return "\n\n".join(paragraphs) + "\n"


def _cells(entry: RecipeFigures) -> list[str]:
    judgement = entry.judgement
    within = (judgement.within_databases or judgement.within_devices).items()
    return [
        entry.task,
        entry.name,
        interval_cell(judgement.balanced_accuracy),
        interval_cell(judgement.macro_f1),
        interval_cell(judgement.accuracy),
        ", ".join(f"{name} {figures.balanced_accuracy.value:.3f}" for name, figures in within),
        NOTHING if entry.is_rule else f"{judgement.ece.value:.3f}",
        ", ".join(entry.no_better_than) or NOTHING,
        NOTHING if entry.fit_s is None else f"{entry.fit_s:.1f}",
        NOTHING if entry.weights_bytes is None else f"{entry.weights_bytes / 1e3:.1f}",
    ]


def _verdict(entry: RecipeFigures) -> str:
    if entry.no_better_than:
        return (
            f"**No better than the {' and the '.join(entry.no_better_than)}**, whose balanced accuracy reaches the "
            "interval of this recipe."
        )
    return "The balanced accuracy of each rule beside it lies below the interval of this recipe."


def _label_table(judgement: PooledJudgement) -> str:
    rows = []
    for label in judgement.labels:
        figures = judgement.by_label[label]
        rows.append((label, str(figures.n_rows), _range(figures.recall), _range(figures.precision)))
    return markdown_table(("label", "rows", "recall", "precision"), rows)


def confusion_table(judgement: Figures | Judgement | PooledJudgement) -> str:
    """Return a confusion matrix as Markdown; rows are labels, columns predictions."""
    rows = zip(judgement.labels, judgement.confusion_matrix, strict=True)
    return markdown_table(("", *judgement.labels), [(label, *map(str, counts)) for label, counts in rows])


def _range(figure: OverSeeds | None) -> str:
    if figure is None:
        return NOTHING
    return f"{figure.value:.3f} ({figure.least:.3f} to {figure.most:.3f})"


LEADERBOARD_NAME = "LEADERBOARD.md"


def as_markdown(evaluation: Evaluation) -> str:
    """Return the leaderboard, the figures within databases if there are several, and a section for each recipe."""
    sections = [recipe_section(one, evaluation.rules_beside(one)) for one in evaluation.recipes]
    head = f"# Leaderboard\n\n{evaluation.protocol} Not a medical device.\n"
    return "\n".join(
        [head, leaderboard((*evaluation.recipes, *evaluation.rules)), *_within_databases(evaluation), *sections]
    )


def _within_databases(evaluation: Evaluation) -> list[str]:
    """Return a section for each task."""
    found = []
    for task in dict.fromkeys(one.task for one in evaluation.recipes):
        here = {one.name: one.against_rest for one in evaluation.recipes if one.task == task}
        if any(len(ranks.databases) > 1 for of_recipe in here.values() for ranks in of_recipe):
            found.append(f"## Within each database: {one_line(task)}\n\n{rank_leaderboard(here)}")
    return found
