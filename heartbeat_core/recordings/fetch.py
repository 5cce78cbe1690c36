"""Recordings' bytes: whole, within the limits, several at a time and ahead of the computing."""

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
)
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits
from heartbeat_core.storage import retry
from heartbeat_core.storage.stores import Store

READ_AHEAD = 16
"""Recordings that are read at the same time, ahead of the computing."""
READ_AHEAD_BYTES = 64 * 2**20
"""Bytes that a process reads ahead, at most; each task has one recording whatever its size."""
UNKNOWN_SIZE_BYTES = 2**20
PROBE_PATIENCE_S = 5.0


class _Budget:
    """The bytes that the threads of this process have read ahead, or are reading."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0

    def take(self, n_bytes: int, *, at_least_this: bool) -> bool:
        """Take bytes from the budget, if they are there or are needed to go on at all; tells whether they were."""
        with self._lock:
            if not at_least_this and self._held + n_bytes > READ_AHEAD_BYTES:
                return False
            self._held += n_bytes
            return True

    def give_back(self, n_bytes: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._held -= n_bytes


_budget = _Budget()


def read_recording(recording: Recording, limits: Limits) -> bytes:
    """Read one recording whole, asking again after errors that may pass until the deadline.

    Raises
    ------
    RecordingNotFound, RecordingUnreadable
        The store does not give it.
    ObjectTooLarge
        It has more bytes than the limit, and was not read.
    ChangedSinceListed
        It is no longer what was listed.
    ReadTimeout
        The deadline is over, though the store answers otherwise.
    StorageError
        The store itself is away, or does not know this process's credentials.
    """
    shown = storage.display(recording.public_uri)
    size = recording.size_bytes
    if size is not None and size > limits.max_object_bytes:
        raise ObjectTooLarge(f"{shown}: {size} bytes are over the limit of {limits.max_object_bytes}")
    try:
        store = storage.store_of(recording.uri)
        with retry.patience(limits.deadline_s):
            # A size that was listed need not be asked for again, unless the object may be another now.
            limit = None if size is not None and recording.version is None else limits.max_object_bytes
            blob = store.get(recording.uri, limit, versioned=recording.version is not None)
    except ObjectTooLarge as error:
        raise ObjectTooLarge(f"{shown}: {error}") from None
    except FileNotFoundError:
        raise RecordingNotFound(f"{shown}: not found") from None
    except InputError as error:
        raise RecordingUnreadable(str(error)) from None
    except storage.store_errors(ValueError) as error:  # ValueError: a name that the client does not take
        if store.refuses_us(error):
            raise StorageError(f"{shown}: {storage.reason(error)}") from None
        if not store.may_pass(error):
            raise RecordingUnreadable(f"{shown}: {storage.reason(error)}") from None
        _check_answers(store, recording, error)
        raise ReadTimeout(f"{shown}: not read within {limits.deadline_s:g} s: {storage.reason(error)}") from None
    if recording.version is not None and blob.version != recording.version:
        raise ChangedSinceListed(f"{shown}: changed after it was listed")
    return blob.data


def read_recordings(
    recordings: Iterable[Recording], limits: Limits
) -> Iterator[tuple[Recording, bytes | RecordingError]]:
    """Yield each recording, in order, with its bytes or the named error that stands for them.

    A few are read ahead of the computing, side by side, which hides a store's latency; a process holds no more than
    ``READ_AHEAD_BYTES`` of them, for all of its threads.

    Raises
    ------
    StorageError
        The store itself is away.
    """

    def attempt(recording: Recording) -> bytes | RecordingError:
        try:
            return read_recording(recording, limits)
        except RecordingError as error:
            return error

    pending = deque(recordings)
    queue: deque[tuple[Recording, Future[bytes | RecordingError]]] = deque()
    pool = ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="read-ahead")
    try:
        while queue or pending:
            while pending and len(queue) < READ_AHEAD and _budget.take(_size(pending[0]), at_least_this=not queue):
                recording = pending.popleft()
                queue.append((recording, retry.submit(pool, attempt, recording)))
            recording, future = queue.popleft()
            try:
                data = future.result()
            finally:
                _budget.give_back(_size(recording))
            yield recording, data
    finally:
        for recording, _ in queue:
            _budget.give_back(_size(recording))
        # Who stops in the middle does not wait for answers that nobody wants.
        pool.shutdown(wait=False, cancel_futures=True)


def _size(recording: Recording) -> int:
    return UNKNOWN_SIZE_BYTES if recording.size_bytes is None else recording.size_bytes


def _check_answers(store: Store, recording: Recording, error: BaseException) -> None:
    """Raise StorageError where not only this object but its whole store is away.

    Web addresses are each their own: one that does not answer says nothing of the others.
    """
    if recording.uri.startswith(("http://", "https://")):
        return
    try:
        with retry.patience(PROBE_PATIENCE_S):
            store.find(recording.uri)
    except storage.store_errors() as now:
        if store.may_pass(now):
            raise StorageError(
                f"{storage.display(recording.public_uri)}: the store is away: {storage.reason(error)}"
            ) from None
