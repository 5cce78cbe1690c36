"""The figures of a finished model on labelled recordings, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.evaluation.diagram import diagram_name
from heartbeat_core.evaluation.figures import Judgement
from heartbeat_core.evaluation.finished import RULE_FOLDS, ModelEvaluation, Overlap
from heartbeat_core.evaluation.markdown import NOTHING, interval_cell, markdown_table
from heartbeat_core.evaluation.metrics import COVERAGES_PERCENT, N_BINS
from heartbeat_core.evaluation.rank_figures import LabelRanks, ReliabilityBin
from heartbeat_core.evaluation.rank_report import RANK_NOTE, rank_tables
from heartbeat_core.evaluation.report import confusion_table
from heartbeat_core.evaluation.row_report import calls_section, shares_rows, unsure_table
from heartbeat_core.wording import counted

REPORT_NAME = "REPORT.md"


_WARNINGS: dict[Overlap, str] = {
    "all": "The model was trained on these very recordings: its figures here are too good.",
    "some": "The model was trained on some of these recordings: its figures here are too good.",
    "none": "None of these files is one of those that the model was trained on. A copy in another format, or a part of "
    "a recording, is not recognised.",
    "likely": "The recording that the model is aligned with is among these, so it was probably trained on others of "
    "them, too: then its figures here are too good.",
    "unknown": "The bundle does not tell whether the model was trained on some of these recordings: then its figures "
    "would be too good.",
}


def warning_of(evaluation: ModelEvaluation) -> str:
    """Return what to know about the training data before one reads the figures."""
    warning = _WARNINGS[evaluation.overlap]
    if evaluation.overlap == "some" and evaluation.n_trained_on:
        warning = (
            f"The model was trained on {evaluation.n_trained_on} of these recordings: its figures here are too good."
        )
    if evaluation.training_data is None:
        return warning
    return f"{warning} Its training data: {evaluation.training_data.rstrip('.')}."


def model_report(evaluation: ModelEvaluation) -> str:
    """Return all figures as Markdown; the diagrams lie beside it."""
    failed = ", ".join(f"{count} {error_type}" for error_type, count in evaluation.failures.items())
    paragraphs = [
        f"# {evaluation.model_id.partition('@')[0]} on labelled recordings",
        f"Model `{evaluation.model_id}`, as it is; nothing was trained. Judged on "
        f"{counted(evaluation.n_rows, 'recording')} of {counted(evaluation.n_patients, 'patient')}; "
        f"{evaluation.n_failed} more could not be processed"
        f"{f': {failed}' if failed else ''}. Not a medical device.",
        f"**{warning_of(evaluation)}**",
    ]
    if evaluation.judgement is not None:
        paragraphs += _known_labels(evaluation, evaluation.judgement)
    paragraphs += [
        "## Marked as unsure",
        "How many right and how many wrong predictions the model marks as unsure. Right is a prediction that the label "
        "allows.",
        unsure_table(evaluation.unsure, evaluation.unsure_pooled),
        "## Each label against the rest",
        RANK_NOTE,
    ]
    for ranks in evaluation.against_rest:
        paragraphs += [
            rank_tables([ranks]).rstrip(),
            f"![Reliability of {ranks.label}]({diagram_name(ranks.label)})",
            f"Reliability of {ranks.label}, in bins of its probability:",
            _reliability_table(ranks),
        ]
    return "\n\n".join(paragraphs) + "\n"


def unsure_rows(evaluation: ModelEvaluation) -> list[tuple[str, str, str]]:
    """Return ``row_report.shares_rows`` of an evaluation: how many right and wrong predictions are marked, as text."""
    return shares_rows(evaluation.unsure, evaluation.unsure_pooled)


def rules_note(evaluation: ModelEvaluation) -> str:
    """Return how the model compares with the trivial rules, or why it cannot be compared."""
    if not evaluation.rules:
        return (
            f"No rules stand beside the model: they need two labels, {RULE_FOLDS} patients and {RULE_FOLDS} recordings "
            "of one label."
        )
    if evaluation.no_better_than:
        return (
            f"No better than the {' and the '.join(evaluation.no_better_than)}, whose balanced accuracy reaches the "
            "interval of the model."
        )
    return "The balanced accuracy of each rule lies below the interval of the model."


def _known_labels(evaluation: ModelEvaluation, judgement: Judgement) -> list[str]:
    by_device = evaluation.calls_by_device
    beside = [judgement, *evaluation.rules.values()]
    within = [
        ("database", [one.within_databases for one in beside]),
        ("device", [one.within_devices for one in beside]),
    ]
    rules = (
        f" The rules do not use the sound: the most common label, and the label by the device, each learned from the "
        f"labels of the other patients here, in {RULE_FOLDS} folds."
        if evaluation.rules
        else ""
    )
    note = rules_note(evaluation)
    without = [NOTHING] * len(evaluation.rules)  # They have no probabilities.
    return [
        "## Recordings with one known label",
        f"{counted(judgement.n_rows, 'recording')} of {counted(judgement.n_patients, 'patient')}. In brackets: the "
        f"95 % interval over patients (bootstrap).{rules} {f'**{note}**' if evaluation.no_better_than else note}",
        markdown_table(
            ("figure", "model", *evaluation.rules),
            [
                ("accuracy", *(interval_cell(one.accuracy) for one in beside)),
                ("balanced accuracy", *(interval_cell(one.balanced_accuracy) for one in beside)),
                ("macro-F1", *(interval_cell(one.macro_f1) for one in beside)),
                *(
                    (
                        f"balanced accuracy within {kind} {name} ({one.n_rows} rows: {', '.join(one.labels)})",
                        *(f"{of_places[name].balanced_accuracy:.3f}" for of_places in places),
                    )
                    for kind, places in within
                    for name, one in places[0].items()
                ),
                ("calibration error of the predicted label", f"{judgement.ece:.3f}", *without),
                ("Brier score (0 to 2)", f"{judgement.brier:.3f}", *without),
                ("area under the risk-coverage curve", f"{judgement.aurc:.3f}", *without),
            ],
        ),
        markdown_table(
            ("label", "rows", "recall", "precision"),
            [
                (label, str(one.n_rows), _share(one.recall), _share(one.precision))
                for label, one in judgement.by_label.items()
            ],
        ),
        "Confusion matrix (rows: label; columns: prediction):",
        confusion_table(judgement),
        *calls_section(evaluation.calls, judgement.labels, 1),
        *(calls_section(by_device, judgement.labels, 1, "device") if len(by_device) > 1 else []),
        "Error rate among the most confident rows, by the share of rows that is kept:",
        markdown_table(
            ("rows kept", *(f"{percent} %" for percent in COVERAGES_PERCENT)),
            [("error rate", *(f"{risk:.3f}" for risk in judgement.risk_coverage))],
        ),
    ]


def _reliability_table(ranks: LabelRanks) -> str:
    tables = dict(ranks.reliability)
    if len(tables) > 1:
        tables["all databases"] = ranks.reliability_pooled
    rows = [(name, *_bin_cells(one)) for name, bins in tables.items() for one in bins]
    return markdown_table(("database", "probability", "rows", "mean probability", f"share {ranks.label}"), rows)


def _bin_cells(one: ReliabilityBin) -> Sequence[str]:
    edges = f"{one.number / N_BINS:.2f} to {(one.number + 1) / N_BINS:.2f}"
    return edges, str(one.n), f"{one.mean_probability:.3f}", f"{one.share_positive:.3f}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"
