"""The bytes of recordings, whole and within the limits; from a store, several at a time ahead of the computation."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from heartbeat_core import storage
from heartbeat_core.errors import (
    ChangedSinceListed,
    InputError,
    ObjectTooLarge,
    ReadTimeout,
    RecordingError,
    RecordingNotFound,
    RecordingUnreadable,
    StorageError,
    StoreUnavailable,
)
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits
from heartbeat_core.storage import retry
from heartbeat_core.storage.stores import Store

READ_AHEAD = 16
"""Recordings that a task reads from a store at the same time, ahead of the computation."""
READ_AHEAD_BYTES = 64 * 2**20
"""Most bytes that the tasks of a process read ahead together. Each task may hold one recording of any size."""
PROBE_PATIENCE_S = 5.0
"""How long a store that did not give a recording is asked whether it answers at all."""


class _Budget:
    """Counts the bytes that the threads of this process have read ahead, or are reading."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0

    def take(self, n_bytes: int, *, is_needed_now: bool) -> bool:
        """Take bytes from the budget, even too many where they are needed now; tells whether they were taken."""
        with self._lock:
            if not is_needed_now and self._held + n_bytes > READ_AHEAD_BYTES:
                return False
            self._held += n_bytes
            return True

    def give_back(self, n_bytes: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._held -= n_bytes


_budget = _Budget()


def read_recording(recording: Recording, limits: Limits) -> bytes:
    """Read one whole recording. Transient errors are followed by another attempt, until the deadline.

    Parameters
    ----------
    recording : Recording
    limits : Limits
        Its limit on bytes, and its deadline.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    RecordingNotFound, RecordingUnreadable
        The store has no such object, or refuses to give it.
    ObjectTooLarge
        It has more bytes than the limit, and was not read.
    ChangedSinceListed
        It has changed since it was listed.
    ReadTimeout
        It was not read before the deadline, though the store answers other requests.
    StoreUnavailable
        The store does not answer at all.
    StorageError
        It refuses the credentials of this process.
    """
    shown = storage.display(recording.public_uri)
    size = recording.size_bytes
    if size is not None and size > limits.max_object_bytes:
        raise ObjectTooLarge(f"{shown}: {size} bytes are over the limit of {limits.max_object_bytes}")
    try:
        store = storage.store_of(recording.opens)
        with retry.patience(limits.deadline_s):
            # A listed size is not asked for again. With a version the store is asked anyway: the object may have grown.
            limit = None if size is not None and recording.version is None else limits.max_object_bytes
            blob = store.get(recording.opens, limit, versioned=recording.version is not None)
    except ObjectTooLarge as error:
        raise ObjectTooLarge(f"{shown}: {error}") from None
    except FileNotFoundError:
        raise RecordingNotFound(f"{shown}: not found") from None
    except InputError as error:
        told = str(error) if recording.location is None else f"{shown}: {shown_reason(recording, error)}"
        raise RecordingUnreadable(told) from None
    except StorageError as error:  # The store cannot be made, and the message names the place.
        if recording.location is None:
            raise
        raise type(error)(f"{shown}: {shown_reason(recording, error)}") from None
    except storage.store_errors(ValueError) as error:  # ValueError: the client refuses the name
        if store.is_about_credentials(error):
            raise StorageError(f"{shown}: {shown_reason(recording, error)}") from None
        if not store.is_transient(error):
            raise RecordingUnreadable(f"{shown}: {shown_reason(recording, error)}") from None
        _check_answers(store, recording, error)
        raise ReadTimeout(
            f"{shown}: not read within {limits.deadline_s:g} s: {shown_reason(recording, error)}"
        ) from None
    if recording.version is not None and blob.version != recording.version:
        raise ChangedSinceListed(f"{shown}: changed after it was listed")
    return blob.data


def read_recordings(
    recordings: Iterable[Recording], limits: Limits
) -> Iterator[tuple[Recording, bytes | RecordingError]]:
    """Yield each recording, in order, with its bytes or with the error that kept them from being read.

    From a store, a few recordings are read at the same time, ahead of the computation, which hides its latency. All
    threads of a process together hold no more than ``READ_AHEAD_BYTES`` of them. Local files are read one by one: to
    hand them over from another thread takes five times as long as to read them.

    Parameters
    ----------
    recordings : Iterable[Recording]
    limits : Limits
        As for ``read_recording``.

    Raises
    ------
    StorageError
        The store does not answer at all, or refuses the credentials of this process.
    """

    def attempt(recording: Recording) -> bytes | RecordingError:
        try:
            return read_recording(recording, limits)
        except RecordingError as error:
            return error

    pending = deque(recordings)
    if all(storage.is_local(one.opens) for one in pending):
        for one in pending:
            yield one, attempt(one)
        return
    queue: deque[tuple[Recording, Future[bytes | RecordingError]]] = deque()
    pool = ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="read-ahead")
    try:
        while queue or pending:
            while (
                pending and len(queue) < READ_AHEAD and _budget.take(pending[0].reserved_bytes, is_needed_now=not queue)
            ):
                recording = pending.popleft()
                queue.append((recording, retry.submit(pool, attempt, recording)))
            recording, future = queue.popleft()
            try:
                data = future.result()
            finally:
                _budget.give_back(recording.reserved_bytes)
            yield recording, data
    finally:
        for recording, _ in queue:
            _budget.give_back(recording.reserved_bytes)
        # A caller that stops early does not wait for answers that it will not use.
        pool.shutdown(wait=False, cancel_futures=True)


def _check_answers(store: Store, recording: Recording, error: BaseException) -> None:
    """Raise StorageError where the store answers no request, and not only the one for this object.

    Web addresses are left out: a server that does not answer says nothing about other servers.
    """
    if recording.opens.startswith(("http://", "https://")):
        return
    try:
        with retry.patience(PROBE_PATIENCE_S):
            store.find(recording.opens)
    except storage.store_errors() as now:
        if store.is_transient(now):
            raise StoreUnavailable(
                f"{storage.display(recording.public_uri)}: the store does not answer: {shown_reason(recording, error)}"
            ) from None


def shown_reason(recording: Recording, error: BaseException) -> str:
    """Return why a store refuses; of a recording with a salted name, the kind alone, since stores repeat the path."""
    return storage.reason(error) if recording.location is None else type(error).__name__
