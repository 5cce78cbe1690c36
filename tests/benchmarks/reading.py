"""Time what an analyst asks of result folders, in DuckDB: few large files beside many small ones.

    python -m tests.benchmarks.reading RESULTS [RESULTS …] [--runs 5] [--json FILE]

RESULTS are folders that ``heartbeat classify`` has written from the same recordings, for example with other ``shards``
in its settings, or compacted. The queries are those of ``jobs/README.md`` and one over a list column; each folder is
asked in turn, on one thread, with the files in the page cache.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.benchmarks import common

TABLES = ("predictions", "features", "failures")
QUERIES = {
    "labels": """SELECT predicted_label, count(*) AS n, avg(confidence) AS confidence
        FROM '{out}/predictions/*.parquet' GROUP BY ALL ORDER BY n DESC, predicted_label""",
    "quality": """SELECT p.uri, p.predicted_label, f.duration_s, f.clipped_fraction
        FROM '{out}/predictions/*.parquet' p JOIN '{out}/features/*.parquet' f USING (recording_id)
        WHERE f.truncated OR f.silent_fraction > 0.5 ORDER BY p.uri""",
    "failures": "SELECT stage, error_type, count(*) AS n FROM '{out}/failures/*.parquet' GROUP BY ALL ORDER BY ALL",
    "frames": "SELECT count(*), max(list_max(amplitude)) FROM '{out}/features/*.parquet'",
}


def main() -> None:
    """Ask each folder in turn, and print a table."""
    parser = argparse.ArgumentParser(description="Time queries over result folders in DuckDB.")
    parser.add_argument("results", nargs="+", help="folders that heartbeat classify has written")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn [default: 5]")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON [default: build/benchmarks/NAME.json]")
    options = parser.parse_args()
    # Imported here: it is among the packages for analysis, which --help does without.
    import duckdb

    connection = duckdb.connect(config={"threads": 1})

    def asking(query: str, out: str) -> Callable[[], float]:
        text = query.format(out=out)
        return partial(common.timed, lambda: connection.sql(text).fetchall())

    figures: dict[str, dict[str, Any]] = {out: _files(Path(out)) for out in options.results}
    for name, query in QUERIES.items():
        answers = {out: connection.sql(query.format(out=out)).fetchall() for out in options.results}
        if len({len(rows) for rows in answers.values()}) > 1:
            raise SystemExit(f"{name}: the folders do not hold the same recordings")
        taken = common.in_turn(options.runs, {out: asking(query, out) for out in options.results})
        for out, seconds in taken.items():
            figures[out][f"{name}_ms"] = 1e3 * statistics.median(seconds)
    headings = [name.replace("_", ", ") for name in next(iter(figures.values()))]
    table = Table("results", *headings, title="DuckDB, one thread")
    for out, values in figures.items():
        table.add_row(
            out, *(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in values.values())
        )
    common.report("reading", [table], {"results": figures}, options.json)


def _files(out: Path) -> dict[str, Any]:
    """Return how many files the tables have, and how many MB."""
    sizes = [path.stat().st_size for table in TABLES for path in (out / table).glob("*.parquet")]
    return {"files": len(sizes), "mb": sum(sizes) / 1e6}


if __name__ == "__main__":
    main()
