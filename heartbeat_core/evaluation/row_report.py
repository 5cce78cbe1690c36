"""What the recordings of each database are called, and how many predictions are marked as unsure, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from heartbeat_core.evaluation.calls import shares_called
from heartbeat_core.evaluation.figures import RecipeFigures
from heartbeat_core.evaluation.markdown import NOTHING, markdown_table
from heartbeat_core.evaluation.unsure import UnsureShares


def calls_section(entry: RecipeFigures) -> list[str]:
    """Return a paragraph and a table: what the recordings of each label are called in each database, as shares."""
    if not entry.calls:
        return []
    labels, n_seeds = entry.judgement.labels, entry.judgement.n_seeds
    rows = []
    for label in labels:
        for database, of_labels in entry.calls.items():
            if label in of_labels:
                n, shares = shares_called(of_labels[label])
                cells = [f"{shares[said]:.3f}" if said in shares else NOTHING for said in labels]
                rows.append([f"{label} recordings of {database}", str(n // n_seeds), *cells])
    return [
        "Recordings with one known label, by database: the share that is called each label (all seeds together; "
        f"{NOTHING}: none):",
        markdown_table(("", "rows", *(f"called {label}" for label in labels)), rows),
    ]


def unsure_section(entry: RecipeFigures) -> list[str]:
    """Return a paragraph and a table: how many right and wrong predictions are marked as unsure."""
    if entry.unsure_pooled is None:
        return []
    return [
        "How many right and how many wrong predictions are marked as unsure, by confidence, distance and segmentation; "
        "the quality of the recording, by which a bundle marks predictions as well, is not judged here. Right is a "
        "prediction that the label allows; each row counts once for each seed.",
        unsure_table(entry.unsure, entry.unsure_pooled),
    ]


def unsure_table(of_databases: Mapping[str, UnsureShares], pooled: UnsureShares) -> str:
    """Return ``shares_rows`` as a table."""
    return markdown_table(("database", "right: marked", "wrong: marked"), shares_rows(of_databases, pooled))


def shares_rows(of_databases: Mapping[str, UnsureShares], pooled: UnsureShares) -> list[tuple[str, str, str]]:
    """Return for each database, and for all if there are several, the shares that are marked, as text."""
    rows = [(name, *_cells(shares)) for name, shares in of_databases.items()]
    if len(rows) > 1:
        rows.append(("all databases", *_cells(pooled)))
    return rows


def _cells(shares: UnsureShares) -> tuple[str, str]:
    return (
        NOTHING if shares.of_right is None else f"{shares.of_right:.3f} of {shares.n_right}",
        NOTHING if shares.of_wrong is None else f"{shares.of_wrong:.3f} of {shares.n_wrong}",
    )
