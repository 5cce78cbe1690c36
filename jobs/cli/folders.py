"""Commands over folders: status, metrics, report, inspect, compact, certs."""

from __future__ import annotations

import json
import shlex
from typing import Annotated

import typer

from jobs.cli.app import EXIT_FAILED, GOES_ON, app, exit_codes, show
from jobs.cli.options import (
    AsJson,
    Folder,
    StoreConfig,
    job_settings,
)
from jobs.cli.printing import (
    log,
    out,
    print_compacted,
    print_facts,
    print_status,
    status_screen,
)
from jobs.cli.records import print_json, status_record, watch

WATCH_EVERY_S = 2.0


@app.command(
    epilog="Exit codes: 0 the state was printed (with --watch: it is finished), 1 the store failed (or, with --watch, "
    "nobody works on it any more), 2 wrong usage, 130 interrupted."
)
def status(
    output: Folder,
    watching: Annotated[
        bool,
        typer.Option("--watch", help="Look again every few seconds, until it is finished or nobody works on it."),
    ] = False,
    as_json: AsJson = False,
    config: StoreConfig = None,
) -> None:
    """Show what is done, running, failed and left in the output of a job, also while the job runs.

    Example: **heartbeat status results/ --watch**
    """
    with exit_codes("interrupted"):
        from jobs.drivers.reach import reaching
        from jobs.output.status import read_status

        with reaching(job_settings(config, None, None)):
            if not watching:
                show(as_json, read_status(output), print_status, status_record)
                return
            with status_screen() as print_again:
                found = watch(
                    lambda: read_status(output),
                    lambda one: show(as_json, one, print_again, status_record),
                    WATCH_EVERY_S,
                )
        if not found.finished:
            raise typer.Exit(EXIT_FAILED)


@app.command(epilog="Exit codes: 0 explained, 1 the store failed, 2 wrong usage, 130 interrupted.")
def inspect(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="The output of a job, a bundle, a dataset, one of their .parquet files, or the name of a shipped "
            "model.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
    config: StoreConfig = None,
) -> None:
    """Explain what something is and where it comes from: command, configuration, code, model, inputs, cluster, times.

    Example: **heartbeat inspect results/predictions/part-000000.parquet**
    """
    with exit_codes("interrupted"):
        from jobs.drivers.reach import reaching
        from jobs.output.explain import explain

        with reaching(job_settings(config, None, None)):
            found = explain(place)
        show(as_json, found, print_facts)


@app.command(epilog="Exit codes: 0 the metrics were printed, 1 the store failed, 2 wrong usage, 130 interrupted.")
def metrics(output: Folder, config: StoreConfig = None) -> None:
    """Print the metrics of a job in Prometheus's text format, also while the job runs.

    They come from the commit records: recordings, failures by reason, bytes, seconds by stage, shards left.

    Example: **heartbeat metrics results/**
    """
    with exit_codes("interrupted"):
        from jobs.drivers.metrics import read_metrics
        from jobs.drivers.reach import reaching

        with reaching(job_settings(config, None, None)):
            typer.echo(read_metrics(output), nl=False)


@app.command(epilog="Exit codes: 0 written, 1 the store failed, 2 wrong usage, 130 interrupted.")
def report(output: Folder, as_json: AsJson = False, config: StoreConfig = None) -> None:
    """Write OUT/report.html: what came out, what failed, what is doubtful, and whether the model may be believed here.

    A finished job has written it already. This writes it again, or for a job that is not finished. The page loads
    nothing; it holds no rows, but the first names of failed recordings.

    Example: **heartbeat report results/**
    """
    with exit_codes("interrupted"):
        from heartbeat_core import storage
        from jobs.drivers.reach import reaching
        from jobs.drivers.report import write_report

        with reaching(job_settings(config, None, None)):
            place = storage.display(write_report(output))
        show(as_json, place, out.print, lambda page: {"report": page})


@app.command(epilog=f"Exit codes: 0 done, 1 the store failed, 2 wrong usage, {GOES_ON}")
def compact(output: Folder, as_json: AsJson = False, config: StoreConfig = None) -> None:
    """Rewrite a finished output in place: only the newest row of each recording, in few parts.

    While it runs, the folder has no _SUCCESS, queries may see a row twice, and no job can begin there.

    Example: **heartbeat compact results/**
    """
    with exit_codes():
        from jobs.drivers.compact import compact as run_job
        from jobs.drivers.reach import reaching

        with reaching(job_settings(config, None, None)):
            done = run_job(output, log)
        show(as_json, done, print_compacted)


@app.command(epilog="Exit codes: 0 made, 2 wrong usage, 130 interrupted.")
def certs(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="New folder. Every machine must find the files under this path.", show_default=False
        ),
    ],
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=3650, help="How many days they are valid.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Make the certificates of one encrypted cluster: ca.pem, cert.pem, key.pem and a dask.yaml that names them.

    Whoever has these files can run code on the cluster: copy them to its machines only, and make new ones for the
    next cluster. The key of the authority itself is not written, so nobody can add a certificate later.

    Example: **heartbeat certs certs/ --days 7**
    """
    with exit_codes("interrupted"):
        from socket import gethostname

        from jobs.cluster.certificates import make_certs
        from jobs.settings import THREADS_A_WORKER

        made = make_certs(folder, (gethostname(), "localhost", "127.0.0.1"), days)
        if as_json:
            print_json(made)
            return
        for path in (made.ca_file, made.cert_file, made.key_file, made.config):
            out.print(f"  {path}")
        config = f"DASK_CONFIG={shlex.quote(str(made.config))}"
        out.print(
            f"valid until {made.not_after:%Y-%m-%d %H:%M} UTC; whoever has them can run code on the cluster"
            "\n\nStart the scheduler (HOST is its machine's address), then workers on each machine, then the job:\n"
            f"\n  {config} dask scheduler --host HOST --port 8786 --dashboard-address 127.0.0.1:8787"
            f"\n  {config} dask worker tls://HOST:8786 --nworkers 8 --nthreads {THREADS_A_WORKER} \\"
            "\n      --memory-limit 3GiB --dashboard-address 127.0.0.1:0 \\"
            "\n      --lifetime 6h --lifetime-stagger 30m --lifetime-restart"
            f"\n  {config} heartbeat classify INPUT -o OUT --cluster tls://HOST:8786"
            "\n\nWithout DASK_CONFIG, the job takes --cluster cluster.yaml, a file that holds\n"
            "\n  kind: address"
            "\n  address: tls://HOST:8786"
            "\n  tls:"
            f"\n    ca_file: {json.dumps(str(made.ca_file), ensure_ascii=False)}"
            f"\n    cert_file: {json.dumps(str(made.cert_file), ensure_ascii=False)}"
            f"\n    key_file: {json.dumps(str(made.key_file), ensure_ascii=False)}"
        )
