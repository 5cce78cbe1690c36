"""Settings of a job and of a cluster, their YAML files, and the shipped recipes.

Options of the command line override the file; the file overrides the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ByteSize, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from heartbeat_core import storage
from heartbeat_core.errors import ConfigError, InputError
from heartbeat_core.formats.kept import check_names
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import (
    DEFAULT_MODEL,
    Device,
    Limits,
    PositiveFloat,
    PositiveInt,
    S3Settings,
    Settings,
    parse_mapping,
    parse_settings,
    parse_yaml,
    text_like,
)


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


AwareTime = Annotated[datetime, AfterValidator(_as_utc)]
"""A moment; UTC where it names no zone."""


PROBE_PATIENCE_S = 5.0
"""How long a store is asked again by a worker that is only tried: what cannot work is reported within ten seconds."""
ANSWER_PATIENCE_S = 4.0
"""How long all workers may take to answer at all before the first task, until it is asked which of them hang."""
TRIAL_PATIENCE_S = 60.0
"""How long they may then take to load this package and to try what their tasks will do, until the same is asked."""
THREADS_A_WORKER = 4
"""Tasks that a worker runs at once where the output is in a bucket, to hide its latency; one of them computes."""
THREADS_ON_DISK = 2
"""The same where the output is on this machine's disk."""


def threads_a_worker(*, on_disk: bool) -> int:
    """Return how many tasks a worker of this machine runs at once.

    Parameters
    ----------
    on_disk : bool
        Whether the output is on this machine's disk, and not in a bucket.
    """
    return THREADS_ON_DISK if on_disk else THREADS_A_WORKER


class TlsSettings(Settings):
    """Certificate files (PEM) of this machine, with which the driver reaches a scheduler; never sent anywhere."""

    ca_file: str
    """Who signs what scheduler and workers show."""
    cert_file: str
    key_file: str


_MEMORY = text_like(r"auto|\d+(\.\d+)? ?([kMGTP]i?)?B?", "'auto', or a size such as '4GiB'")


class ClusterSettings(Settings):
    """Where the tasks run: on this machine, at an address, or at a scheduler file's address."""

    kind: Literal["local", "address", "scheduler-file"] = "local"
    workers: PositiveInt | None = None
    """Local: worker processes, one a core where not given. Elsewhere: how many to wait for, 1 if not given."""
    memory_limit: Annotated[str, _MEMORY] = "auto"
    """Local: bytes a worker, as Dask writes them ('4GiB')."""
    dashboard: str = "127.0.0.1:8787"
    """Local: where the dashboard listens; the next free port where this one is taken."""
    address: str | None = None
    scheduler_file: str | None = None
    tls: TlsSettings | None = None
    """Elsewhere: encrypt with these; where not given, as Dask's own configuration (DASK_CONFIG) says."""
    wait_s: PositiveFloat = 60.0
    """Elsewhere: how long to wait for the scheduler and its workers."""

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        needed = {"address": "address", "scheduler-file": "scheduler_file"}.get(self.kind)
        if needed is not None and not getattr(self, needed):
            raise PydanticCustomError("missing", f"kind '{self.kind}' needs the key '{needed}'")
        # A scheduler file's address is seen when it is read.
        place = {"local": "kind 'local'", "address": self.address}.get(self.kind)
        if self.tls and place and not place.startswith("tls://"):
            raise PydanticCustomError("tls", f"'tls' goes with a scheduler at tls://host:port, not with {place}")
        host, _, port = self.dashboard.rpartition(":")
        if not host or not port.isdecimal() or int(port) >= 2**16:
            raise PydanticCustomError("address", f"dashboard: '{self.dashboard}' is not host:port")
        return self


class ShardSettings(Settings):
    """How recordings are grouped into tasks; part of a job's fingerprint, since parts are named by shard."""

    recordings: PositiveInt = 4096
    bytes: PositiveInt = 256 * 2**20


class Selection(Settings):
    """Which of the listed recordings are taken; part of a job's fingerprint."""

    include: tuple[str, ...] = ()
    """Patterns of the path below the input, of which one must match; '*' matches '/' as well."""
    exclude: tuple[str, ...] = ()
    """Patterns of which none may match."""
    min_size: ByteSize | None = None
    max_size: ByteSize | None = None
    """As in '4kB' or '10MiB'; a plain number is bytes."""
    since: AwareTime | None = None
    """Modified then or later."""
    before: AwareTime | None = None


class JobSettings(Settings):
    """What a job may be told beside its inputs and its output."""

    model: str = DEFAULT_MODEL
    features: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Feature sets to write; None for ``aligned``, ``statistics``, ``signal-quality``, ``beats`` and what the model
    reads."""
    path_column: str | None = None
    patient_column: str | None = None
    patient_from: str | None = None
    """A regular expression that finds the patient in a recording's path."""
    salt_env: str | None = None
    """The environment variable with the secret for pseudonyms of patients and paths; its name, never the secret."""
    keep_columns: tuple[str, ...] = ()
    """Columns of manifests, and of a label file, that go along into the tables."""
    selection: Selection = Selection()
    s3: S3Settings = S3Settings()
    cluster: ClusterSettings = ClusterSettings()
    shards: ShardSettings = ShardSettings()
    device: Device = "auto"
    """Of the workers, for alignment and inference; changes no offset, and logits by rounding only."""
    limits: Limits = Limits()
    task_retries: Annotated[int, Field(ge=0)] = 2
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    log_json: bool = False
    """Log lines as JSON, with the run, the shard and the recording."""
    metrics_port: Annotated[int, Field(ge=0, lt=2**16)] | None = None
    """Port of loopback at which the driver serves Prometheus metrics while it works; 0 for any free one."""

    @field_validator("features")
    @classmethod
    def _check_features(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        # Imported here: it loads numpy, and most commands do without.
        from heartbeat_core.features.catalogue import sets_written

        try:
            sets_written(names or ())
        except ConfigError as error:
            raise PydanticCustomError("feature_set", "{told}", {"told": str(error)}) from None
        return names

    @field_validator("keep_columns")
    @classmethod
    def _check_keep_columns(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        stripped = tuple(name.strip() for name in names)
        try:
            check_names(stripped)
        except InputError as error:
            raise PydanticCustomError("keep_columns", "{told}", {"told": str(error)}) from None
        return stripped


def load_job_settings(config: str | None, overrides: Mapping[str, Any]) -> JobSettings:
    """Read a job's YAML, if any, and put the options that were given over it.

    Parameters
    ----------
    config : str | None
        Path or URL of the YAML file. None takes the defaults.
    overrides : Mapping[str, Any]
        Values by key. None leaves what the file says; a mapping replaces only the keys that it has.

    Raises
    ------
    ConfigError
        A key is unknown, a value is out of range, or the file is not YAML.
    InputError
        The file is not there, or cannot be read.

    Examples
    --------
    >>> settings = load_job_settings(None, {"device": "cpu", "model": None, "limits": {"deadline_s": 60}})
    >>> settings.device, settings.model, settings.limits.deadline_s
    ('cpu', 'cycle-spectrum', 60.0)
    """
    content = {} if config is None else parse_mapping(read_text(config), config)
    for key, value in overrides.items():
        if isinstance(value, Mapping) and isinstance(content.get(key), Mapping):
            content[key] = {**content[key], **value}
        elif value is not None:
            content[key] = value
    return parse_settings(JobSettings, content, config or "options")


def load_cluster_settings(text: str, workers: int | None) -> ClusterSettings:
    """Turn ``local``, a scheduler's address, its JSON file or a YAML file into cluster settings.

    Parameters
    ----------
    text : str
        What the user gave for ``--cluster``. Files are told by their ending: ``.json``, ``.yaml`` or ``.yml``.
    workers : int | None
        How many workers; None leaves what the file says, or the default.

    Raises
    ------
    ConfigError
        The text is none of these, or a key or value is wrong.
    InputError
        The YAML file is not there, or cannot be read.

    Examples
    --------
    >>> found = load_cluster_settings("tcp://10.0.0.7:8786", 4)
    >>> found.kind, found.address, found.workers
    ('address', 'tcp://10.0.0.7:8786', 4)
    """
    if text == "local":
        content: dict[str, Any] = {"kind": "local"}
    elif text.endswith((".yaml", ".yml")):
        content = parse_mapping(read_text(text), text)
    elif text.endswith(".json"):
        content = {"kind": "scheduler-file", "scheduler_file": text}
    elif "://" in text:
        content = {"kind": "address", "address": text}
    else:
        raise ConfigError(
            f"--cluster {text}: expected 'local', an address such as tcp://host:8786, "
            "a scheduler file (.json) or a cluster file (.yaml)"
        )
    if workers is not None:
        content["workers"] = workers
    return parse_settings(ClusterSettings, content, text)


def load_recipe(text: str) -> Recipe:
    """Return a shipped recipe by its name, or read one from a YAML file.

    Parameters
    ----------
    text : str
        The name of a shipped recipe, or a path or URL that ends in ``.yaml`` or ``.yml``.

    Raises
    ------
    ConfigError
        There is no such recipe, a key or value of the file is wrong, or its parts do not go together.
    InputError
        The file is not there, or cannot be read.

    Examples
    --------
    >>> name = shipped_recipes()[0]
    >>> load_recipe(name).name == name
    True
    """
    # Imported here: it loads numpy, and most commands do without.
    from heartbeat_core.learning.kinds import check_recipe

    if text.endswith((".yaml", ".yml")):
        recipe = parse_yaml(Recipe, read_text(text), text)
    elif text in shipped_recipes():
        content = (_recipes_folder() / f"{text}.yaml").read_text(encoding="utf-8")
        recipe = parse_yaml(Recipe, content, f"{text}.yaml")
    else:
        shipped = ", ".join(shipped_recipes())
        raise ConfigError(f"unknown recipe '{text}': shipped ones are {shipped}, or give a .yaml file")
    check_recipe(recipe)
    return recipe


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that are part of the package, in alphabetical order."""
    names = (entry.name for entry in _recipes_folder().iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _recipes_folder() -> Traversable:
    return files("heartbeat_core.configs") / "recipes"


def read_text(path: str) -> str:
    """Return the text of a settings file, by its path or URL.

    Raises
    ------
    InputError
        The file is not there, or cannot be read.
    ConfigError
        It is not text.
    """
    try:
        with storage.refusals_as(InputError):
            return storage.read(storage.to_uri(path)).decode()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file") from None
