"""What the recordings of each database are called, and how many predictions are marked as unsure, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heartbeat_core.evaluation.calls import Calls, shares_called
from heartbeat_core.evaluation.figures import RecipeFigures
from heartbeat_core.evaluation.markdown import NOTHING, markdown_table
from heartbeat_core.evaluation.unsure import UnsureShares


def calls_section(calls: Calls, labels: Sequence[str], n_seeds: int, place: str = "database") -> list[str]:
    """Return a paragraph and a table: what the recordings of each label are called in each place, as shares.

    Parameters
    ----------
    calls : Calls
        By database, or by what ``place`` names.
    labels : Sequence[str]
        The labels that occur or are predicted, in order.
    n_seeds : int
        How often each row counts.
    place : str
        What the places are, in the singular.

    Returns
    -------
    list[str]
        Two paragraphs of Markdown; none without calls.
    """
    if not calls:
        return []
    rows = [[f"{label} recordings of {name}", *cells] for label, name, *cells in calls_rows(calls, labels, n_seeds)]
    seeds = "all seeds together; " if n_seeds > 1 else ""
    return [
        f"Recordings with one known label, by {place}: the share that is called each label ({seeds}{NOTHING}: none):",
        markdown_table(("", "rows", *(f"called {label}" for label in labels)), rows),
    ]


def calls_rows(calls: Calls, labels: Sequence[str], n_seeds: int = 1) -> list[list[str]]:
    """Return a row of cells for each label in each place where recordings have it.

    Parameters
    ----------
    calls, labels, n_seeds
        As in ``calls_section``.

    Returns
    -------
    list[list[str]]
        The label, the place, the number of recordings, and the share that is called each of ``labels``.
    """
    rows = []
    for label in labels:
        for place, of_labels in calls.items():
            if label in of_labels:
                n, shares = shares_called(of_labels[label])
                cells = [f"{shares[said]:.3f}" if said in shares else NOTHING for said in labels]
                rows.append([label, place, str(n // n_seeds), *cells])
    return rows


def unsure_section(entry: RecipeFigures) -> list[str]:
    """Return how many right and wrong predictions are marked as unsure, as Markdown.

    Parameters
    ----------
    entry : RecipeFigures

    Returns
    -------
    list[str]
        A paragraph and a table; nothing for a rule, and for figures of earlier versions.
    """
    if entry.unsure_pooled is None:
        return []
    return [
        "How many right and how many wrong predictions are marked as unsure, by confidence, distance and segmentation; "
        "the quality of the recording, by which a bundle marks predictions as well, is not judged here. Right is a "
        "prediction that the label allows; each row counts once for each seed.",
        unsure_table(entry.unsure, entry.unsure_pooled),
    ]


def unsure_table(of_databases: Mapping[str, UnsureShares], pooled: UnsureShares) -> str:
    """Return ``shares_rows`` as a table in Markdown."""
    return markdown_table(("database", "right: marked", "wrong: marked"), shares_rows(of_databases, pooled))


def shares_rows(of_databases: Mapping[str, UnsureShares], pooled: UnsureShares) -> list[tuple[str, str, str]]:
    """Return for each database, and for all if there are several, the shares that are marked, as text.

    Parameters
    ----------
    of_databases : Mapping[str, UnsureShares]
        By database.
    pooled : UnsureShares
        Of all databases together.

    Returns
    -------
    list[tuple[str, str, str]]
        The database, the share of right predictions that is marked, and that of wrong ones.
    """
    rows = [(name, *_cells(shares)) for name, shares in of_databases.items()]
    if len(rows) > 1:
        rows.append(("all databases", *_cells(pooled)))
    return rows


def _cells(shares: UnsureShares) -> tuple[str, str]:
    return (
        NOTHING if shares.of_right is None else f"{shares.of_right:.3f} of {shares.n_right}",
        NOTHING if shares.of_wrong is None else f"{shares.of_wrong:.3f} of {shares.n_wrong}",
    )
