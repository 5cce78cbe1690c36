"""Every error that the project raises on purpose.

Three families, told apart by what has to happen next:

* ``UsageError``: the person has to change the command, a file or a setting. Exit code 2.
* ``JobError``: the work began and could not be finished. Exit code 1, or 3 if no recording succeeded.
* ``RecordingError``: one recording is at fault. It becomes a failure row (``stage``,
  ``error_type``, ``message``) and the job goes on.

Any other exception is a defect of the program and stays loud.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class HeartbeatError(Exception):
    """Base of all errors raised on purpose; its text is one line that a user can act on."""


class UsageError(HeartbeatError):
    """The command, a setting or a named file is wrong, and no work has begun."""


class ConfigError(UsageError):
    """A settings file or recipe holds an unknown key or a value out of range."""


class InputError(UsageError):
    """An input, manifest or label file is missing, unreadable or empty."""


class InputNotFound(InputError):
    """There is no such file, folder or object."""


class OutputError(UsageError):
    """The output folder cannot be used: it holds something else or another job, or it cannot be written."""


class DeviceError(UsageError):
    """The requested device is not available."""


class BundleError(UsageError):
    """A model bundle is missing, damaged, or of a version that this program does not read."""


class DatasetError(UsageError):
    """An aligned dataset is missing or not finished, or its rows cannot be trained on."""


class JobError(HeartbeatError):
    """A job that had begun could not be finished."""


class NothingSucceeded(JobError):
    """All recordings failed. Exit code 3."""


class StorageError(JobError):
    """A store refused or lost a request, and the job cannot continue without its answer."""


class StoreUnavailable(StorageError):
    """A store does not answer, or only with errors that may pass; the same command may succeed later."""


class TrainingDiverged(JobError):
    """The outputs of a trained model are infinite or NaN."""


class RecordingError(HeartbeatError):
    """One recording cannot be processed.

    ``stage`` is the step that failed (``read``, ``decode``, ``frames``, ``features``, or ``process`` where the
    process that worked on the recording ended) and ``error_type`` the stable snake_case name that is written to the
    failures table. One ``error_type`` may come from several stages.
    """

    stage: ClassVar[str]
    error_type: ClassVar[str]


class RecordingUnreadable(RecordingError):
    """The store has no such object, or does not let us read it."""

    stage = "read"
    error_type = "unreadable"


class RecordingNotFound(RecordingUnreadable):
    """The object was listed or named, but does not exist."""

    error_type = "not_found"


class ChangedSinceListed(RecordingError):
    """The object has changed since it was listed: its ETag, or its size or time, is different."""

    stage = "read"
    error_type = "changed_since_listed"


class ReadTimeout(RecordingError):
    """The object was not read before the deadline, but its store answers other requests."""

    stage = "read"
    error_type = "timeout"


class RecordingTooLarge(RecordingError):
    """The recording is over a limit on bytes, channels, sample rate or duration."""

    stage = "decode"
    error_type = "too_large"


class ObjectTooLarge(RecordingTooLarge):
    """The object has more bytes than the limit; it was not read."""

    stage = "read"


class NotAudio(RecordingError):
    """The bytes are not audio in a format that heartbeat reads."""

    stage = "decode"
    error_type = "not_audio"


class EmptyRecording(RecordingError):
    """There are no bytes, or no samples follow the header."""

    stage = "decode"
    error_type = "empty"


class TruncatedRecording(RecordingError):
    """The data breaks off before anything usable was decoded."""

    stage = "decode"
    error_type = "truncated"


class UnsupportedSampleRate(RecordingError):
    """The sample rate lies below the limit."""

    stage = "decode"
    error_type = "unsupported_sample_rate"


class SampleRateTooLowForFrames(UnsupportedSampleRate):
    """The recipe's time step is shorter than one sample at this rate."""

    stage = "frames"


class NonFiniteSamples(RecordingError):
    """A floating-point recording holds NaN or infinity."""

    stage = "decode"
    error_type = "non_finite"


class SpectrumOverflow(NonFiniteSamples):
    """The samples are finite, but so large that the frames computed from them are not."""

    stage = "frames"


class SignalOverflow(NonFiniteSamples):
    """The samples are finite, but so large that the resampled signal is not."""

    stage = "features"


class FeaturesFailed(RecordingError):
    """A feature set gave values that are not finite, or the function of one of another package raised an error."""

    stage = "features"
    error_type = "features_failed"


class TooShort(RecordingError):
    """The recording has fewer samples than one analysis frame."""

    stage = "frames"
    error_type = "too_short"


class ProcessTimeout(RecordingError):
    """Processing took longer than the deadline and was ended."""

    stage = "process"
    error_type = "timeout"


class WorkerCrash(RecordingError):
    """The process that worked on the recording, and on nothing else, died."""

    stage = "process"
    error_type = "worker_crash"


class OutOfMemory(RecordingError):
    """The process that worked on the recording, and on nothing else, asked for more memory than the limit."""

    stage = "process"
    error_type = "out_of_memory"


def error_types() -> list[str]:
    """Return every ``error_type`` that a failure row may have, in alphabetical order."""
    return sorted({one.error_type for one in _below(RecordingError) if hasattr(one, "error_type")})


def _below(error: type[RecordingError]) -> Iterator[type[RecordingError]]:
    for one in error.__subclasses__():
        yield one
        yield from _below(one)
