"""The figures of a finished model on labelled recordings, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.evaluation.diagram import diagram_name
from heartbeat_core.evaluation.figures import Judgement
from heartbeat_core.evaluation.finished import ModelEvaluation, Overlap
from heartbeat_core.evaluation.intervals import Interval
from heartbeat_core.evaluation.markdown import NOTHING, markdown_table
from heartbeat_core.evaluation.metrics import COVERAGES_PERCENT, N_BINS
from heartbeat_core.evaluation.rank_figures import LabelRanks, ReliabilityBin
from heartbeat_core.evaluation.rank_report import RANK_NOTE, rank_tables
from heartbeat_core.evaluation.report import confusion_table
from heartbeat_core.evaluation.row_report import shares_rows, unsure_table

REPORT_NAME = "REPORT.md"


_WARNINGS: dict[Overlap, str] = {
    "all": "The model was trained on these very recordings: its figures here are too good.",
    "some": "The model was trained on the recordings of one of these datasets: its figures here are too good.",
    "likely": "The recording that the model is aligned with is among these, so it was probably trained on others of "
    "them, too: then its figures here are too good.",
    "unknown": "The bundle does not tell whether the model was trained on some of these recordings: then its figures "
    "would be too good.",
}


def warning_of(evaluation: ModelEvaluation) -> str:
    """Return what to know about the training data before one reads the figures."""
    return _WARNINGS[evaluation.overlap]


def model_report(evaluation: ModelEvaluation) -> str:
    """Return all figures as Markdown; the diagrams lie beside it."""
    failed = ", ".join(f"{count} {error_type}" for error_type, count in evaluation.failures.items())
    paragraphs = [
        f"# {evaluation.model_id.partition('@')[0]} on labelled recordings",
        f"Model `{evaluation.model_id}`, as it is; nothing was trained. Judged on {evaluation.n_rows} recordings of "
        f"{evaluation.n_patients} patients; {evaluation.n_failed} more could not be processed"
        f"{f': {failed}' if failed else ''}. Not a medical device.",
        f"**{warning_of(evaluation)}**",
    ]
    if evaluation.judgement is not None:
        paragraphs += _known_labels(evaluation.judgement)
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
    """Return for each database how many right and wrong predictions are marked, as text for a table."""
    return shares_rows(evaluation.unsure, evaluation.unsure_pooled)


def _known_labels(judgement: Judgement) -> list[str]:
    within = [("database", judgement.within_databases), ("device", judgement.within_devices)]
    return [
        "## Recordings with one known label",
        f"{judgement.n_rows} recordings of {judgement.n_patients} patients. In brackets: the 95 % interval over "
        "patients (bootstrap).",
        markdown_table(
            ("figure", "value"),
            [
                ("accuracy", _interval(judgement.accuracy)),
                ("balanced accuracy", _interval(judgement.balanced_accuracy)),
                ("macro-F1", _interval(judgement.macro_f1)),
                *(
                    (
                        f"balanced accuracy within {kind} {name} ({one.n_rows} rows: {', '.join(one.labels)})",
                        f"{one.balanced_accuracy:.3f}",
                    )
                    for kind, places in within
                    for name, one in places.items()
                ),
                ("calibration error of the predicted label", f"{judgement.ece:.3f}"),
                ("Brier score (0 to 2)", f"{judgement.brier:.3f}"),
                ("area under the risk-coverage curve", f"{judgement.aurc:.3f}"),
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


def _interval(figure: Interval) -> str:
    return f"{figure.value:.3f} ({figure.low:.2f} to {figure.high:.2f})"
