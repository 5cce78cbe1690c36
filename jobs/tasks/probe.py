"""What a worker tries before the first task: the model, an object in the output, and a few of the inputs.

It does what a task will do, with the credentials and the mounts of its own machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.errors import BundleError, RecordingError
from heartbeat_core.recordings.fetch import read_recordings
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits
from jobs.listing.listing import reveal
from jobs.settings import PROBE_PATIENCE_S

N_INPUTS = 3
"""One input may be missing or forbidden, which is a failure row and no reason to refuse the job."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What is to be tried.

    Attributes
    ----------
    out : str
        URI of the output folder.
    model, digest : str
        Name or URI of the bundle, and the digest that it has at the driver.
    inputs : tuple[Recording, ...]
        A few recordings of the job; none where it reads none.
    access, limits, path_column, driver
        As those of ``RunFacts``.
    """

    out: str
    model: str
    digest: str
    inputs: tuple[Recording, ...]
    access: storage.Access
    limits: Limits
    path_column: str | None
    driver: str


def choose_inputs(recordings: Sequence[Recording]) -> tuple[Recording, ...]:
    """Return the first, the middle and the last of the recordings whose audio is read; fewer if there are fewer."""
    read = [one for one in recordings if one.stored_in is None]
    places = sorted({i * (len(read) - 1) // (N_INPUTS - 1) for i in range(N_INPUTS)}) if read else []
    return tuple(read[i] for i in places)


def try_job(probe: Probe) -> list[RecordingError | None]:
    """Try all of it; return the error of each input, None where it was read.

    Raises
    ------
    BundleError
        The model is missing, damaged, or another one than the driver's.
    StorageError
        The output cannot be written to, or the store of an input refuses the credentials or does not answer.
    """
    with storage.using(probe.access, PROBE_PATIENCE_S):
        found = read_manifest(probe.model).digest
        if found != probe.digest:
            raise BundleError(
                f"the model {storage.display(probe.model)} there is {found[:12]}, not {probe.digest[:12]}"
            )
        uri = storage.join(probe.out, f"{storage.PROBE_PREFIX}{secrets.token_hex(8)}")
        storage.create(uri, b"")
        storage.remove(uri)
        return try_inputs(probe)


def try_inputs(probe: Probe) -> list[RecordingError | None]:
    """Read the inputs as a task does.

    Parameters
    ----------
    probe : Probe
        Only ``inputs``, ``limits``, ``path_column`` and ``driver`` are used.

    Returns
    -------
    list[RecordingError | None]
        The error of each input; None where it was read.

    Raises
    ------
    StorageError
        The store of an input refuses the credentials or does not answer, or a manifest no longer contains the address.
    """
    limits = probe.limits.model_copy(update={"deadline_s": min(PROBE_PATIENCE_S, probe.limits.deadline_s)})
    whole = [reveal(one, probe.path_column, probe.driver) for one in probe.inputs]
    return [data if isinstance(data, RecordingError) else None for _, data in read_recordings(whole, limits)]
