"""``dask heartbeat``: the same commands below Dask's own command.

Dask takes Click commands alone, and typer (from 0.26 on) has a Click of its own (typer#1774), so this one hands its
arguments on.
"""

from __future__ import annotations

import click


@click.command(
    "heartbeat",
    short_help="Features and predictions of heart-sound recordings.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def heartbeat(arguments: tuple[str, ...]) -> None:
    """Turn heart-sound recordings into features and predictions in Parquet."""
    # Imported here: Dask loads this module whatever its command is.
    from jobs.cli.__main__ import main

    main(arguments, "dask heartbeat")
