"""Recordings that were listed earlier, with what their stores say of them now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from heartbeat_core import storage
from heartbeat_core.errors import StoreUnavailable
from heartbeat_core.recordings.fetch import shown_reason
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage import retry

AT_ONCE = 16
"""Recordings that are looked up at the same time."""


def look_again(recordings: Iterable[Recording]) -> Iterator[Recording]:
    """Yield each recording, in order, with the size and version that its store gives it now.

    A remote recording that was listed without a version, as those of a manifest are, stays as it is. So does any that
    its store does not have or does not show: whoever reads it finds out why.

    Parameters
    ----------
    recordings : Iterable[Recording]
        Taken one by one; ``AT_ONCE`` of them are looked up at the same time.

    Raises
    ------
    StoreUnavailable
        While iterating: the store does not answer. Where a web server does not, the recording stays as it is.
    """
    return retry.in_order(_look_again, recordings, AT_ONCE)


def _look_again(recording: Recording) -> Recording:
    if recording.version is None and not storage.is_local(recording.opens):
        return recording
    store = storage.store_of(recording.opens)
    try:
        found = store.find(recording.opens)
    except storage.store_errors() as error:
        # A web server that does not answer says nothing about other servers.
        if store.is_transient(error) and not recording.opens.startswith(("http://", "https://")):
            shown = storage.display(recording.public_uri)
            raise StoreUnavailable(f"{shown}: the store does not answer: {shown_reason(recording, error)}") from None
        return recording
    if found is None:
        return recording
    return replace(recording, size_bytes=found.size_bytes, version=found.version, modified=found.modified)
