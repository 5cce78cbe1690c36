"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from heartbeat_core.errors import UsageError, error_types
from jobs.cli.printing import log_as_json

if TYPE_CHECKING:
    from jobs.settings import JobSettings


class DeviceChoice(StrEnum):
    """Where workers compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class FormatChoice(StrEnum):
    """What a bundle is exported to."""

    onnx = "onnx"
    hdf5 = "hdf5"


class LabelSource(StrEnum):
    """Where labels come from when there is no label file."""

    parent_folder = "parent-folder"


class LayoutChoice(StrEnum):
    """How a dataset's frames are stored."""

    compact = "compact"
    padded = "padded"


class ProtocolChoice(StrEnum):
    """How an evaluation splits its rows; the values of ``evaluation.protocols.Protocol``."""

    grouped_folds = "grouped-folds"
    leave_one_database_out = "leave-one-database-out"
    leave_one_device_out = "leave-one-device-out"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Files, folders, globs, fsspec URLs (s3://bucket/prefix), manifests (.csv, .parquet, .jsonl with a "
        "column of paths), or an S3 Inventory's manifest.json. Of a folder, the audio files are taken; a file that "
        "you name is always taken.",
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="Folder or URL: new, empty, or begun by this same command.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME|URI", help="A shipped model, or where a bundle is. [default: cycle-spectrum]"
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="local|ADDRESS|FILE",
        help="Where to run: on this machine, at a scheduler (tcp://host:8786 or tls://…), by its scheduler file "
        "(.json), or as a cluster file says (.yaml). [default: local]",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="On this machine: how many worker processes [default: one per core, and fewer for little work]. "
        "Elsewhere: how many workers to wait for [default: 1].",
    ),
]
DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option(
        "--device", help="Where workers compute alignment and inference. [default: auto, a GPU if there is one]"
    ),
]
CompactOption = Annotated[
    bool,
    typer.Option(
        "--compact",
        help="At the end, rewrite the output as few large files with only the newest row of each recording, as "
        "'heartbeat compact' does.",
    ),
]
Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE.yaml", help="Settings of the job. Options override them.")
]
PathColumn = Annotated[
    str | None,
    typer.Option(
        "--path-column", metavar="NAME", help="The column of paths in a manifest. [default: found by its name]"
    ),
]
PatientColumn = Annotated[
    str | None,
    typer.Option(
        "--patient-column",
        metavar="NAME",
        help="The column of patients in a manifest or label file. [default: found by its name, or none]",
    ),
]
PatientFrom = Annotated[
    str | None,
    typer.Option(
        "--patient-from",
        metavar="REGEX",
        help="Find the patient in the path below the input: the first group of this expression. Further groups with a "
        "name become columns, as in `(\\d+)_(?P<site>\\w+)`.",
    ),
]
SaltEnv = Annotated[
    str | None,
    typer.Option(
        "--salt-env",
        metavar="NAME",
        help="Write pseudonyms in place of patients and paths, made with the secret in this environment variable.",
    ),
]
KeepColumns = Annotated[
    str | None,
    typer.Option(
        "--keep-columns",
        metavar="NAME,...",
        help="Columns of manifests, and of the label file, that go along into the tables.",
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        metavar="PORT",
        min=0,
        max=65535,
        help="Serve Prometheus metrics at this port of 127.0.0.1 while the shards are processed; 0 for any free one.",
    ),
]
MaxFailureRate = Annotated[
    float | None,
    typer.Option(
        "--max-failure-rate",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="End with exit code 3 if a larger share of the recordings fails. [default: 1.0]",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Take only recordings whose path below the input matches ('*' also matches '/'). May be repeated.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="PATTERN", help="Leave out recordings whose path matches. May be repeated."),
]
MinSize = Annotated[
    str | None,
    typer.Option("--min-size", metavar="SIZE", help="Leave out smaller files: '4kB', '1MiB', or a number of bytes."),
]
MaxSize = Annotated[str | None, typer.Option("--max-size", metavar="SIZE", help="Leave out larger files.")]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Take only what was modified then or later: '2026-11-01', or ISO 8601; UTC if it names no zone.",
    ),
]
Before = Annotated[str | None, typer.Option("--before", metavar="TIME", help="Take only what was modified before.")]
Folder = Annotated[str, typer.Argument(metavar="OUT", help="The output of a job: folder or URL.", show_default=False)]
StoreConfig = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.yaml", help="The settings of the job, if its store needs any (s3: …)."),
]

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON Lines for programs on standard output, and nothing else there.")
]

LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Log on standard error as JSON Lines, with the run, the shard and each recording that failed.",
    ),
]


RETRY_FAILED = "--retry-failed"
_NAMES = re.compile(r"\w[\w, -]*")


class RetryingCommand(TyperCommand):
    """A command whose option ``--retry-failed`` may stand without a value, which typer does not offer.

    The word behind the option is its value if it names error types, or might be meant to: if it consists of names and
    commas, and there is no such file or folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give the option an empty value where it has none."""
        following = [*args[1:], ""]
        return super().parse_args(
            ctx,
            [
                f"{one}=" if one == RETRY_FAILED and not _are_types(behind) else one
                for one, behind in zip(args, following, strict=True)
            ],
        )


def _are_types(word: str) -> bool:
    """Tell whether a word behind ``--retry-failed`` belongs to it."""
    return {name.strip() for name in word.split(",")} <= {*error_types()} or (
        _NAMES.fullmatch(word) is not None and not os.path.exists(word)
    )


def types_to_retry(text: str | None) -> list[str] | None:
    """Return the error types that ``--retry-failed`` names; none for all of them, None without the option.

    Raises
    ------
    UsageError
        There is no such type.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = error_types()
    for name in names:
        if name not in known:
            raise UsageError(f"{RETRY_FAILED} {name}: no such error type; there are {', '.join(known)}")
    return names


def job_settings(config: str | None, cluster: str | None, workers: int | None, **options: Any) -> JobSettings:
    """Return the settings of the file, of the options that were given, and of the cluster that was named."""
    from jobs.settings import load_cluster_settings, load_job_settings

    settings = load_job_settings(config, options)
    if settings.log_json:
        log_as_json()
    if cluster is not None:
        return settings.model_copy(update={"cluster": load_cluster_settings(cluster, workers)})
    if workers is not None:
        return settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"workers": workers})})
    return settings


def names_of(text: str | None) -> list[str] | None:
    """Return the names in an option that takes several, None where it was not given."""
    return None if text is None else [name.strip() for name in text.split(",")]


def selection_of(
    include: list[str] | None,
    exclude: list[str] | None,
    min_size: str | None,
    max_size: str | None,
    since: str | None,
    before: str | None,
) -> dict[str, Any] | None:
    """Return the options of the selection that were given, by their names in the settings; None for none."""
    given = {
        "include": include,
        "exclude": exclude,
        "min_size": min_size,
        "max_size": max_size,
        "since": since,
        "before": before,
    }
    return {key: value for key, value in given.items() if value} or None
