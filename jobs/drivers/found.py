"""The recordings that ``classify`` finds: listed, with their patients, and under pseudonyms if these are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from heartbeat_core.errors import ConfigError, UsageError
from heartbeat_core.recordings.recording import Recording
from jobs.cluster.connection import Connection
from jobs.drivers.run import report_listing
from jobs.listing.kept import PATIENT_COLUMNS, ManifestColumns
from jobs.listing.listing import PATH_COLUMNS, Listing
from jobs.listing.patients import PatientPattern
from jobs.listing.pseudonyms import pseudonyms, worker_digest
from jobs.settings import JobSettings


class Found:
    """The recordings of all inputs, each once; iterating lists them anew.

    Parameters
    ----------
    inputs : Sequence[str]
    settings : JobSettings

    Attributes
    ----------
    kept_names : tuple[str, ...]
        The columns that the user keeps, and behind them those of the pattern's groups.

    Raises
    ------
    UsageError
        The pattern or the secret cannot be used. While iterating: InputError as of ``Listing`` and ``PatientPattern``.
    """

    def __init__(self, inputs: Sequence[str], settings: JobSettings) -> None:
        if settings.patient_column is not None and settings.patient_from is not None:
            raise UsageError("give --patient-column or --patient-from, not both")
        self._settings = settings
        self._pattern = None if settings.patient_from is None else PatientPattern.parse(settings.patient_from)
        self._names = None if settings.salt_env is None else pseudonyms(settings.salt_env)
        columns = ManifestColumns(settings.keep_columns, settings.patient_column)
        self._listing = Listing(inputs, settings.path_column, settings.selection, columns)
        self.kept_names = (*settings.keep_columns, *(self._pattern.names if self._pattern else ()))

    def __iter__(self) -> Iterator[Recording]:
        found: Iterable[Recording] = self._listing
        if self._pattern is not None:
            found = self._pattern.apply(found)
        if self._names is None:
            return iter(found)
        names, patients, paths = self._names, self._cells(PATIENT_COLUMNS, "patient"), self._cells(PATH_COLUMNS, "path")
        return (names.hide(one, patients, paths) for one in found)

    def identity_of(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Return a job's identity with the options for patients, and without what the names of inputs could tell.

        Parameters
        ----------
        identity : Mapping[str, Any]
            As ``job_identity`` returns it.
        """
        found = dict(identity)
        if self._pattern is not None:
            found["patient_from"] = self._settings.patient_from
        if (names := self._names) is None:
            return found
        selection = dict(found["selection"])
        for key in ("include", "exclude"):
            selection[key] = [names.name("pattern", one) for one in selection[key]]
        if self._pattern is not None:
            found["patient_from"] = names.name("pattern", self._pattern.expression.pattern)
        found["inputs"] = [names.name("input", one) for one in found["inputs"]]
        return {**found, "selection": selection, "salt": names.digest}

    def report(self, console: Console) -> None:
        """Print what was listed and what was left out."""
        report_listing(self._listing, console, with_names=self._names is None)

    def _cells(self, usual: Sequence[str], kind: str) -> list[int]:
        """Return which of the kept cells hold a patient, or a path."""
        named = getattr(self._settings, f"{kind}_column")
        wanted = {name.casefold() for name in (*usual, named) if name}
        return [number for number, name in enumerate(self.kept_names) if name.casefold() in wanted]


def check_secret(connection: Connection, variable: str | None) -> None:
    """Refuse workers that do not have the secret of this process; those of this machine have its environment.

    Parameters
    ----------
    connection : Connection
    variable : str | None
        The environment variable with the secret; None without pseudonyms.

    Raises
    ------
    ConfigError
        One of them lacks it, or has another.
    """
    if variable is None or connection.is_local:
        return
    ours = worker_digest(variable)
    answers: dict[str, Any] = connection.client.run(worker_digest, variable, on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, ConfigError):
            raise ConfigError(f"worker {worker}: {answer}")
        if answer != ours:
            raise ConfigError(f"worker {worker}: the environment variable {variable} has another secret than here")
