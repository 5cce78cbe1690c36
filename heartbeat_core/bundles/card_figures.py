"""The figures on a model card: of the held-out rows, or of the evaluations, as Markdown and as diagrams."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.evaluation.diagram import diagram_name, reliability_panels
from heartbeat_core.evaluation.figures import Evaluation, HoldoutReport, RecipeFigures
from heartbeat_core.evaluation.markdown import NOTHING, interval_cell, markdown_table, one_line
from heartbeat_core.evaluation.protocols import Protocol, protocol_of
from heartbeat_core.evaluation.rank_figures import LabelRanks, RankFigures
from heartbeat_core.evaluation.report import confusion_table
from heartbeat_core.evaluation.row_report import calls_section, unsure_section

TITLES: dict[Protocol, str] = {
    "grouped-folds": "grouped folds",
    "leave-one-database-out": "one database left out",
    "leave-one-device-out": "one device left out",
}
_MEANINGS: dict[Protocol, str] = {
    "grouped-folds": "These figures are of other persons from the same databases, recorded with the same devices.",
    "leave-one-database-out": "These figures are of databases that the model was not trained on: they say the most "
    "about recordings from elsewhere.",
    "leave-one-device-out": "These figures are of devices that the model was not trained on.",
}
_RANK_NOTE = (
    "Each label against the rest: the AUROC of its probability, and the mean distance of the probability from the "
    "share of recordings with the label (calibration error, in 15 bins). +: recordings that are known to have the "
    "label, −: recordings that are known not to have it. By patient: the mean over a patient's recordings in one "
    "database. In brackets: the 95 % interval over patients (bootstrap), and for means over databases how many have "
    f"the figure. All are means over seeds. {NOTHING}: not judged."
)


def as_trained(evaluation: Evaluation, drop_labels: Sequence[str]) -> RecipeFigures:
    """Return the figures for the labels that the model was trained on; those of the first task if there are none.

    Parameters
    ----------
    evaluation : Evaluation
        With the figures of at least one task.
    drop_labels : Sequence[str]
        The labels that were left out of the training.
    """
    fitting = [one for one in evaluation.recipes if set(one.dropped_labels) == set(drop_labels)]
    return (*fitting, *evaluation.recipes)[0]


def card_diagrams(manifest: BundleManifest, drop_labels: Sequence[str]) -> dict[str, str]:
    """Return the reliability diagrams that a card shows.

    Parameters
    ----------
    manifest : BundleManifest
    drop_labels : Sequence[str]
        The labels that were left out of the training.

    Returns
    -------
    dict[str, str]
        By file name, the SVG of each label that was judged, with a panel for each protocol. Empty without evaluations.
    """
    panels: dict[str, dict[str, LabelRanks]] = {label: {} for label in manifest.labels}
    for evaluation in manifest.evaluations:
        for ranks in as_trained(evaluation, drop_labels).against_rest:
            if ranks.reliability:
                panels[ranks.label][TITLES[protocol_of(evaluation.protocol)]] = ranks
    return {
        diagram_name(label): reliability_panels(label, {title: one.reliability for title, one in judged.items()})
        for label, judged in panels.items()
        if judged
    }


def figures_sections(manifest: BundleManifest, drop_labels: Sequence[str]) -> list[str]:
    """Return the paragraphs with all figures, as Markdown; ``drop_labels`` are the labels left out of the training."""
    found = [] if manifest.holdout is None else _holdout_section(manifest.holdout)
    for evaluation in manifest.evaluations:
        found += _evaluation_section(evaluation, drop_labels)
    if diagrams := card_diagrams(manifest, drop_labels):
        found += [
            "## Reliability",
            "How often recordings have a label, over the label's probability. A model is calibrated where the line is "
            "the diagonal.",
            " ".join(f"![{name.removesuffix('.svg')}]({name})" for name in diagrams),
        ]
    return found


def figure_rows(report: HoldoutReport) -> list[tuple[str, str, str]]:
    """Return the figures of a hold-out for a table: ``(figure, model, majority rule)``, as text."""
    model, rule = report.model, report.majority_rule
    return [
        ("accuracy", f"{model.accuracy:.3f}", f"{rule.accuracy:.3f}"),
        ("balanced accuracy", f"{model.balanced_accuracy:.3f}", f"{rule.balanced_accuracy:.3f}"),
        ("macro-F1", f"{model.macro_f1:.3f}", f"{rule.macro_f1:.3f}"),
    ]


def _holdout_section(report: HoldoutReport) -> list[str]:
    return [
        "## Figures on held-out rows",
        f"{report.n_holdout_rows} rows of {report.n_holdout_patients} patients that no training row shares (a "
        "recording without a known patient counts as one of its own). The rule beside the model always says "
        f"`{report.majority_label}`. One fold is a small sample, and others can differ by a lot.",
        markdown_table(("figure", "model", "majority rule"), figure_rows(report)),
        "Confusion matrix of the model (rows: label; columns: prediction):",
        confusion_table(report.model),
        f"Protocol: {report.protocol}.",
    ]


def _evaluation_section(evaluation: Evaluation, drop_labels: Sequence[str]) -> list[str]:
    """Return the overall figures of each task, and the others for the labels that the model was trained on."""
    protocol = protocol_of(evaluation.protocol)
    found = [
        f"## Figures by cross-validation: {TITLES[protocol]}",
        f"{_MEANINGS[protocol]} They are of the recipe, not of this very model, which was trained on all rows. "
        f"{evaluation.protocol} The recipe's own settings are not fitted there: where they were chosen by such "
        "figures, these are too good.",
    ]
    for one in evaluation.recipes:
        found += _overall(one, evaluation.rules_beside(one))
    entry = as_trained(evaluation, drop_labels)
    if len(evaluation.recipes) > 1:
        found.append(f"All that follows is for {one_line(entry.task)}.")
    found += [
        f"Confusion matrix (rows: label; columns: prediction), summed over seeds ({entry.judgement.n_seeds}):",
        confusion_table(entry.judgement),
        *calls_section(entry.calls, entry.judgement.labels, entry.judgement.n_seeds),
        *unsure_section(entry),
    ]
    if entry.against_rest:
        found.append(_RANK_NOTE)
    for ranks in entry.against_rest:
        found += [f"### {ranks.label} against the rest, {TITLES[protocol]}", *_rank_table(ranks)]
    return found


def _overall(entry: RecipeFigures, rules: Sequence[RecipeFigures]) -> list[str]:
    """Return the heading of a task and its overall figures beside those of the rules."""
    judgement = entry.judgement
    beside = [judgement, *(rule.judgement for rule in rules)]
    better = f" **No better than the {' and the '.join(entry.no_better_than)}.**" if entry.no_better_than else ""
    return [
        f"### {one_line(entry.name)}: {one_line(entry.task)}",
        f"{judgement.n_rows} rows of {judgement.n_patients} patients with one known label; seeds: {judgement.n_seeds}. "
        f"In brackets: the 95 % interval over patients (bootstrap). The calibration error of the predicted label is "
        f"{judgement.ece.value:.3f}.{better}",
        markdown_table(
            ("figure", entry.name, *(rule.name for rule in rules)),
            [
                ("accuracy", *(interval_cell(each.accuracy) for each in beside)),
                ("balanced accuracy", *(interval_cell(each.balanced_accuracy) for each in beside)),
                ("macro-F1", *(interval_cell(each.macro_f1) for each in beside)),
            ],
        ),
    ]


def _rank_table(ranks: LabelRanks) -> list[str]:
    """Return the table of one label, and a line that names what has no figure."""
    within = [("database", ranks.databases), ("device", ranks.devices), *ranks.groups.items()]
    rows: list[list[str]] = []
    without: dict[str, list[str]] = {}
    for kind, places in within:
        for name, figures in places.items():
            if figures.auroc is None:
                without.setdefault(kind, []).append(one_line(name))
                continue
            by_patient = interval_cell(ranks.databases_by_patient[name].auroc) if kind == "database" else ""
            rows.append(_rank_cells(f"{kind} {name}", figures, by_patient))
        if kind == "database" and len(places) > 1:
            means, by_patient_means = ranks.mean_over_databases, ranks.mean_over_databases_by_patient
            of_means = (means.auroc, means.calibration_error, by_patient_means.auroc)
            cells = [NOTHING if one is None else f"{one.value:.3f} (of {one.n_databases})" for one in of_means]
            rows.append(["mean over databases", "", "", *cells])
            rows.append(_rank_cells("all databases pooled", ranks.pooled, interval_cell(ranks.by_patient.auroc)))
    head = ("recordings of", "rows (+/−)", "patients", "AUROC", "calibration error", "AUROC by patient")
    told = [markdown_table(head, rows)] if rows else []
    if without:
        names = "; ".join(f"{kind} {', '.join(places)}" for kind, places in without.items())
        told.append(f"No figure, because there are too few + rows, − rows or patients: {names}.")
    return told


def _rank_cells(name: str, figures: RankFigures, by_patient: str) -> list[str]:
    rows, of_persons = f"{figures.n_positive}/{figures.n_negative}", str(figures.n_patients)
    return [name, rows, of_persons, interval_cell(figures.auroc), interval_cell(figures.calibration_error), by_patient]
