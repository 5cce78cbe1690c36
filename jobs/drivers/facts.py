"""What the tasks of a run need to know, and what the output says of its tables before the first of them."""

from __future__ import annotations

from collections.abc import Mapping

from heartbeat_core.results.listed import with_kept
from heartbeat_core.results.notes import Schema
from heartbeat_core.storage.uris import TABLES
from jobs.cluster.connection import HERE, Connection
from jobs.drivers.run import Run
from jobs.output.commits import begin_failures
from jobs.output.provenance import describe_origin, entries_of
from jobs.output.schemas import write_schema
from jobs.settings import JobSettings
from jobs.tasks.context import RunFacts
from jobs.tasks.parts import PartFacts, failures_part


def run_facts(
    run: Run, settings: JobSettings, provenance: Mapping[str, str], connection: Connection | None = None
) -> RunFacts:
    """Return what every task of the run needs to know, and what every part says of where it comes from.

    Parameters
    ----------
    run : Run
    settings : JobSettings
    provenance : Mapping[str, str]
        What the parts say of the recipe or the model.
    connection : Connection | None
        To the workers; None if the work is done in this process.
    """
    shape = HERE if connection is None else connection.shape
    entries = {"run_id": run.run_id, **entries_of(describe_origin(settings), run.generations, shape), **provenance}
    return RunFacts(
        run.ledger.out,
        run.run_id,
        settings.limits,
        tuple(sorted(entries.items())),
        run.access,
        settings.path_column,
        run.presence.id,
        settings.device,
        run.kept,
        settings.salt_env,
    )


def write_schemas(run: Run, schemas: Mapping[str, Schema]) -> None:
    """Write a Frictionless Table Schema of each table, with the kept columns, unless it is there.

    Parameters
    ----------
    run : Run
    schemas : Mapping[str, Schema]
        By name of the table, without the kept columns.
    """
    for name, schema in schemas.items():
        write_schema(run.ledger.out, name, with_kept(schema, run.kept) if name in TABLES else schema)


def begin_tables(facts: RunFacts) -> None:
    """Give the table ``failures`` a part without rows, so that it can be read though nothing fails."""
    no_failures = failures_part([], PartFacts(facts.run_id, 0, dict(facts.provenance), facts.kept))
    begin_failures(facts.out, no_failures)
