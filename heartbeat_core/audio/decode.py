"""Decode the bytes of an audio file into a ``Waveform``, within limits.

libsndfile decodes the file, through ``soundfile``. This module adds what is needed for files from unknown sources:

* the header does not decide how much memory is allocated: samples are read in blocks, and decoding stops as soon as
  the recording is longer than the limit;
* each kind of failure has a named error, and no bytes can cause any other exception;
* a file that is shorter than its header says is decoded and marked ``truncated``.

How a missing end is detected:

* WAV, RF64, W64, AIFF, AU, CAF: the data chunk reaches past the end of the bytes. Programs that stream to a pipe
  write a size that means "unknown", which claims nothing. libsndfile decodes the incomplete block at the end of a cut
  IMA ADPCM file as if it were whole: up to one block of noise (505 samples at 8 kHz).
* FLAC: fewer samples decode than STREAMINFO claims, or the stream breaks inside a frame.
* MP3: fewer samples decode than the Xing/Info/VBRI tag claims, by more than a frame and the delay of the decoder.
  Without this tag there is no claim, and a cut file is not detected. In that case libsndfile guesses the length from
  the bit rate of the first frames and stops there; if more than 2 kB remain, the recording is marked.
* Ogg: the header holds no length, but the last page of a stream has an end-of-stream flag. The file is cut if the last
  page lacks the flag or is incomplete.

Formats and encodings of libsndfile: https://libsndfile.github.io/libsndfile/formats.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_SET, BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from heartbeat_core.audio.containers import (
    Extent,
    find_data,
    find_layout,
    header_is_cut,
    mp3_has_length,
    ogg_is_finished,
)
from heartbeat_core.errors import (
    EmptyRecording,
    NonFiniteSamples,
    NotAudio,
    ObjectTooLarge,
    RecordingTooLarge,
    TruncatedRecording,
    UnsupportedSampleRate,
)
from heartbeat_core.settings import Limits

FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF"})
"""The supported containers, by their names in libsndfile; WAVEX is WAV with the extensible header."""

_SAMPLE_BYTES = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4,
    "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1,
}  # fmt: skip

SUBTYPES = frozenset(_SAMPLE_BYTES) | {
    "IMA_ADPCM", "MS_ADPCM", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III",
    "ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32",
}  # fmt: skip
"""The supported encodings, by their names in libsndfile."""

_DEFAULT_LIMITS = Limits()
_BLOCK_VALUES = 2**20
"""Number of values (samples times channels) that are decoded at once: 4 MiB."""

_UNKNOWN_FRAMES = 2**63 - 1
"""The count that libsndfile gives for a FLAC stream of unknown length."""

_MP3_SLACK_SAMPLES = 1152 + 529
"""One frame and the delay of the decoder (ISO 11172-3): a complete MP3 may be this much shorter than its tag says."""

_MP3_LEFT_OVER_BYTES = 2048
"""More than the longest frame (1441) and an ID3v1 tag (128): this many undecoded bytes must contain audio."""


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """A decoded recording.

    Attributes
    ----------
    samples : ndarray, [n_samples] float32
        The mean of the channels, with a full scale of ±1; always finite.
    sample_rate_hz : int
        Native sample rate.
    channels : int
        Number of channels in the file.
    format, subtype : str
        Container and encoding, by their names in libsndfile (``WAV``, ``PCM_16``).
    header_n_samples : int | None
        Number of samples per channel that the header claims; None if it makes no reliable claim.
    truncated : bool
        The file holds less than it claims, or decoding broke off.

    Examples
    --------
    >>> import numpy as np
    >>> Waveform(np.zeros(8_000, np.float32), 4_000, 1, "WAV", "PCM_16", 8_000, False).duration_s
    2.0
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    channels: int
    format: str
    subtype: str
    header_n_samples: int | None
    truncated: bool

    @property
    def duration_s(self) -> float:
        """Return the length of the decoded recording, in seconds."""
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class Header:
    """The facts in a recording's header; ``n_samples`` is per channel, None if the header claims nothing."""

    sample_rate_hz: int
    channels: int
    n_samples: int | None


def decode(data: bytes, limits: Limits = _DEFAULT_LIMITS) -> Waveform:
    """Decode one audio file at its native sample rate.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits
        The limits of a recording.

    Returns
    -------
    Waveform
        The waveform, with ``samples[t] = mean over channels of x[t, channel]``. The samples equal those of
        ``librosa.load(BytesIO(data), sr=None, mono=True)`` if librosa can read the file.

    Raises
    ------
    ObjectTooLarge
        The file has more bytes than the limit.
    RecordingTooLarge
        The number of channels, the sample rate or the duration is over the limit.
    EmptyRecording
        There are no bytes, or the header rightly claims no samples.
    NotAudio
        The file is not one of ``FORMATS`` and ``SUBTYPES``, or is too damaged to be opened.
    TruncatedRecording
        The file breaks off before its first sample.
    UnsupportedSampleRate
        The sample rate is below the limit.
    NonFiniteSamples
        There is NaN or infinity among the samples.

    Examples
    --------
    >>> import io, numpy as np, soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros((4_000, 2)), 4_000, format="WAV")
    >>> waveform = decode(file.getvalue())
    >>> waveform.samples.shape, waveform.channels, waveform.subtype
    ((4000,), 2, 'PCM_16')
    """
    with _opened(data, limits) as opened:
        reader = opened.reader
        samples, whole = _read_mono(reader, limits)
        if not len(samples):
            raise opened.without_samples()
        if not np.isfinite(samples).all():
            raise NonFiniteSamples(f"NaN or infinity among the {len(samples)} samples")
        return Waveform(
            samples=samples,
            sample_rate_hz=reader.samplerate,
            channels=reader.channels,
            format=reader.format,
            subtype=reader.subtype,
            header_n_samples=opened.claimed,
            truncated=not whole or opened.lacks(len(samples)),
        )


def read_header(data: bytes, limits: Limits = _DEFAULT_LIMITS) -> Header:
    """Read the header of a file without decoding the samples.

    Parameters
    ----------
    data : bytes
        The whole file, as for ``decode``.
    limits : Limits

    Raises
    ------
    RecordingError
        As ``decode``, except what only decoding can find: the true length and end of a compressed recording, and values
        that are not finite.
    """
    with _opened(data, limits) as opened:
        reader = opened.reader
        if not reader.frames:
            raise opened.without_samples()
        return Header(sample_rate_hz=reader.samplerate, channels=reader.channels, n_samples=opened.claimed)


class _Source(BytesIO):
    """The bytes for a reader that may seek anywhere: damaged headers make libsndfile seek before the start."""

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _ForwardReader(soundfile.SoundFile):  # type: ignore[misc]
    """A reader that only reads forward.

    After each read, ``soundfile`` seeks to its current position. In a FLAC stream of unknown length this fails at the
    end, and the samples are lost.
    """

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file, and what it says about its length."""

    reader: soundfile.SoundFile
    source: _Source
    n_bytes: int
    claimed: int | None
    cut: bool

    def lacks(self, n_samples: int) -> bool:
        """Return whether the file is shorter than it claims, after ``n_samples`` were decoded."""
        if self.cut:
            return True
        if self.reader.format != "MP3":
            return self.claimed is not None and n_samples < self.claimed
        if self.claimed is not None:
            return n_samples < self.claimed - _MP3_SLACK_SAMPLES
        left_over = self.n_bytes - self.source.tell()
        return n_samples == self.reader.frames and left_over > _MP3_LEFT_OVER_BYTES

    def without_samples(self) -> EmptyRecording | TruncatedRecording:
        """Return the error for a file from which no sample was decoded."""
        if self.cut or self.claimed:
            claim = "samples" if self.claimed is None else f"{self.claimed} samples"
            return TruncatedRecording(f"the header announces {claim}, but none can be decoded")
        return EmptyRecording("no samples follow the header")


@contextmanager
def _opened(data: bytes, limits: Limits) -> Iterator[_Opened]:
    if not data:
        raise EmptyRecording("no bytes")
    if len(data) > limits.max_object_bytes:
        raise ObjectTooLarge(f"{len(data)} bytes, over the limit of {limits.max_object_bytes}")
    layout = find_layout(data)
    extent = None if layout is None else find_data(data, layout)
    if extent is not None and not extent.holds(data):
        # For a size past the end, libsndfile clips it in some formats, refuses it in CAF and overflows in AU.
        source = _Source(extent.repaired(data))
    else:
        source = _Source(data)
    try:
        reader = _ForwardReader(source)
    except soundfile.LibsndfileError as error:
        if (layout is not None and (extent is None or extent.cut(data))) or header_is_cut(data):
            raise TruncatedRecording("the file breaks off inside its header") from None
        raise NotAudio(
            f"not audio in a format that heartbeat reads (libsndfile: {error.error_string}): "
            "if it is a recording, convert it to WAV or FLAC"
        ) from None
    with reader:
        _check(reader, limits)
        if extent is not None and reader.frames > _max_samples(reader, limits):
            raise _too_long(limits)
        claimed, cut = _claim(reader, data, extent)
        cut_in_header = layout is not None and extent is None and not reader.frames
        yield _Opened(reader, source, len(data), claimed, cut or cut_in_header)


def _check(reader: soundfile.SoundFile, limits: Limits) -> None:
    if reader.format not in FORMATS or reader.subtype not in SUBTYPES:
        raise NotAudio(
            f"format {reader.format} with encoding {reader.subtype} is not supported: convert it to WAV or FLAC"
        )
    check_limits(reader.channels, reader.samplerate, limits)


def check_limits(channels: int, sample_rate_hz: int, limits: Limits) -> None:
    """Check the channels and the sample rate, in Hz, of a recording.

    Raises
    ------
    RecordingTooLarge
        One of them is over its limit.
    UnsupportedSampleRate
        The sample rate is below the limit.
    """
    if channels > limits.max_channels:
        raise RecordingTooLarge(f"{channels} channels, over the limit of {limits.max_channels}")
    if sample_rate_hz > limits.max_sample_rate_hz:
        raise RecordingTooLarge(f"{sample_rate_hz} Hz, over the limit of {limits.max_sample_rate_hz} Hz")
    if sample_rate_hz < limits.min_sample_rate_hz:
        raise UnsupportedSampleRate(f"{sample_rate_hz} Hz, below the limit of {limits.min_sample_rate_hz} Hz")


def _max_samples(reader: soundfile.SoundFile, limits: Limits) -> int:
    return int(limits.max_duration_s * reader.samplerate)


def _too_long(limits: Limits) -> RecordingTooLarge:
    return RecordingTooLarge(f"longer than the limit of {limits.max_duration_s:g} s")


def _read_mono(reader: soundfile.SoundFile, limits: Limits) -> tuple[NDArray[np.float32], bool]:
    """Decode to the end; returns the samples and whether the decoder reached the end without an error."""
    max_samples = _max_samples(reader, limits)
    blocks: list[NDArray[np.float32]] = []
    n_read, whole = 0, True
    while True:
        n_wanted = min(_BLOCK_VALUES // reader.channels, reader.frames - n_read)
        block = np.empty((n_wanted, reader.channels), np.float32)
        try:
            n_got = len(reader.read(out=block))
        except soundfile.LibsndfileError:
            # The block holds the samples that were decoded before the error; only their number is still missing.
            n_got, whole = reader.tell() - n_read, False
        blocks.append(_mono(block[:n_got]))
        n_read += n_got
        if n_read > max_samples:
            raise _too_long(limits)
        if n_got < n_wanted or n_read == reader.frames:
            break
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks), whole


def _mono(block: NDArray[np.float32]) -> NDArray[np.float32]:
    if block.shape[1] == 1:
        return block[:, 0]
    # The sum of huge floats may overflow; the check for finite samples finds this.
    with np.errstate(over="ignore", invalid="ignore"):
        mean: NDArray[np.float32] = block.mean(axis=1)
    return mean


# What a file claims about its length.


def _claim(reader: soundfile.SoundFile, data: bytes, extent: Extent | None) -> tuple[int | None, bool]:
    """Return the number of samples per channel that the file claims, and whether its end is missing."""
    if reader.format == "OGG":
        finished = ogg_is_finished(data)
        return (reader.frames if finished else None), not finished
    if reader.format == "MP3":
        return (reader.frames if mp3_has_length(data) else None), False
    if extent is None:
        return (None if reader.frames == _UNKNOWN_FRAMES else reader.frames), False
    if extent.n_bytes is None:
        return None, False
    if not extent.cut(data):
        return reader.frames, False
    width = _SAMPLE_BYTES.get(reader.subtype)
    return (None if width is None else extent.n_bytes // (width * reader.channels)), True
