"""The figures of each label against the rest, as Markdown: all of one recipe, and one table of all recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heartbeat_core.evaluation.intervals import Interval
from heartbeat_core.evaluation.markdown import NOTHING, interval_cell, markdown_table
from heartbeat_core.evaluation.rank_figures import DatabaseMean, LabelRanks, RankFigures

RANK_HEAD = (
    "recordings of",
    "rows (+/−)",
    "patients",
    "AUROC",
    "AUPRC",
    "sensitivity at 0.9 specificity",
    "calibration error",
    "AUROC by patient",
)


RANK_NOTE = (
    "Each label against the rest: recordings that are known to have the label (+) against those that are known "
    "not to have it (−); all others are left out. By patient: the score is the mean over all of a patient's "
    "recordings in one database; the patient is + if one recording is +, and − if none is + and at least one is "
    "−. Devices, ages, sexes and sites are judged by recording only. In brackets: the 95 % interval over patients"
    " (bootstrap), and for the plain mean over databases the number of databases that have the figure. Random "
    "scores have an AUROC of 0.5, and an AUPRC equal to the share of + rows. The sensitivity is the largest of "
    "any threshold with a specificity of at least 0.9. The calibration error is the mean distance of the label's "
    f"probability from the share of + rows, in 15 bins. {NOTHING}: there are no + rows, no − rows, or only one "
    "patient; for an age, a sex or a site, fewer than five patients with the label or without it."
)
"""Explains ``rank_tables``."""


def rank_section(ranks: Sequence[LabelRanks]) -> str:
    """Return the figures of one recipe as Markdown: a note, and the tables of ``rank_tables``.

    Parameters
    ----------
    ranks : Sequence[LabelRanks]
        One for each label, as ``pool_ranks`` returns them.
    """
    more = (
        "All figures are means over seeds. A database or device that was left out of the training has 0/0 rows for a "
        "label that no other database or device has."
    )
    return f"{RANK_NOTE} {more}\n\n{rank_tables(ranks)}"


def rank_tables(ranks: Sequence[LabelRanks]) -> str:
    """Return one table a label as Markdown, with a row for each database, each device, and each age, sex and site.

    Parameters
    ----------
    ranks : Sequence[LabelRanks]
        One for each label.
    """
    return "\n\n".join(f"### {each.label} against the rest\n\n{_label_table(each)}" for each in ranks) + "\n"


def rank_leaderboard(of_recipes: Mapping[str, Sequence[LabelRanks]]) -> str:
    """Return the AUROC of all recipes in each database: one table a label, with a row a recipe.

    Parameters
    ----------
    of_recipes : Mapping[str, Sequence[LabelRanks]]
        The figures by the name of the recipe, all for the same rows.

    Returns
    -------
    str
        Markdown without a heading of its own; in each table the best mean comes first.
    """
    note = (
        "AUROC of each label against the rest, by recording: the mean over seeds within each database, and the plain "
        f"mean over the databases that have one, with their number. {NOTHING}: the database has no recording with the "
        "label, none without it, or only one patient; or it was left out of the training, and no other database has "
        "the label."
    )
    labels = list(dict.fromkeys(each.label for ranks in of_recipes.values() for each in ranks))
    return "\n\n".join([note, *(f"### {label}\n\n{_leaderboard_table(of_recipes, label)}" for label in labels)]) + "\n"


def _label_table(ranks: LabelRanks) -> str:
    rows = [
        _cells(f"database {name}", figures, interval_cell(ranks.databases_by_patient[name].auroc))
        for name, figures in ranks.databases.items()
    ]
    # With one database, both would only repeat its figures.
    if len(rows) > 1:
        means = ranks.mean_over_databases
        means_by_patient = ranks.mean_over_databases_by_patient
        of_recordings = [_mean(mean) for mean in (means.auroc, means.auprc, means.sensitivity, means.calibration_error)]
        rows.append(["mean over databases", "", "", *of_recordings, _mean(means_by_patient.auroc)])
        rows.append(_cells("all databases pooled", ranks.pooled, interval_cell(ranks.by_patient.auroc)))
    for kind, within in (("device", ranks.devices), *ranks.groups.items()):
        rows += [_cells(f"{kind} {name}", figures, "") for name, figures in within.items()]
    return markdown_table(RANK_HEAD, rows)


def _cells(name: str, figures: RankFigures, auroc_by_patient: str) -> list[str]:
    return [
        name,
        f"{figures.n_positive}/{figures.n_negative}",
        str(figures.n_patients),
        *(interval_cell(figure) for figure in _figures_of(figures)),
        auroc_by_patient,
    ]


def _figures_of(figures: RankFigures) -> list[Interval | None]:
    return [figures.auroc, figures.auprc, figures.sensitivity, figures.calibration_error]


def _leaderboard_table(of_recipes: Mapping[str, Sequence[LabelRanks]], label: str) -> str:
    judged = {name: each for name, ranks in of_recipes.items() for each in ranks if each.label == label}
    best_first = sorted(judged.items(), key=lambda item: -_value(item[1].mean_over_databases.auroc))
    databases = next(iter(judged.values())).databases
    return markdown_table(
        ("recipe", *databases, "mean over databases"),
        [
            (
                name,
                *(_number(each.databases[database].auroc) for database in databases),
                _mean(each.mean_over_databases.auroc),
            )
            for name, each in best_first
        ],
    )


def _value(mean: DatabaseMean | None) -> float:
    return 0.0 if mean is None else mean.value


def _mean(mean: DatabaseMean | None) -> str:
    return NOTHING if mean is None else f"{mean.value:.3f} (of {mean.n_databases})"


def _number(figure: Interval | None) -> str:
    return NOTHING if figure is None else f"{figure.value:.3f}"
