"""Bytes of an audio file -> ``Waveform``, within limits.

libsndfile decodes, through ``soundfile``. This module adds what a job over foreign files needs:

* nothing is allocated on a header's word: samples are read in blocks, and decoding stops as soon as
  the recording is longer than the limit;
* each way to fail has a named error, and no other exception leaves this module for any bytes;
* a file that is shorter than its header says is decoded and marked ``truncated``.

How a missing end is noticed:

* WAV, RF64, W64, AIFF, AU, CAF: the data chunk reaches past the end of the bytes. A size that says
  "unknown", as programs write that stream to a pipe, is no claim. libsndfile decodes the half block at the
  end of a cut IMA ADPCM file as if it were whole: up to one block of noise (505 samples at 8 kHz).
* FLAC: fewer samples decode than STREAMINFO claims, or the stream breaks inside a frame.
* MP3: fewer samples decode than the Xing/Info/VBRI tag claims, by more than a frame and the decoder's
  delay. Without that tag there is no claim, and a cut file is not noticed; but libsndfile then guesses the
  length from the first frames' bit rate and stops there, which is marked where more than 2 kB are left.
* Ogg: there is no length in its header, but the last page of a stream carries an end-of-stream flag; the
  file is cut where the last page lacks the flag or is incomplete.

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
"""The containers that are taken, by libsndfile's names; WAVEX is WAV with the extensible header."""

_SAMPLE_BYTES = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4,
    "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1,
}  # fmt: skip

SUBTYPES = frozenset(_SAMPLE_BYTES) | {
    "IMA_ADPCM", "MS_ADPCM", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III",
    "ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32",
}  # fmt: skip
"""The encodings that are taken, by libsndfile's names."""

_DEFAULT_LIMITS = Limits()
_BLOCK_VALUES = 2**20
"""Values (samples times channels) decoded at once: 4 MiB."""

_UNKNOWN_FRAMES = 2**63 - 1
"""libsndfile's count for a FLAC stream that does not know its length."""

_MP3_SLACK_SAMPLES = 1152 + 529
"""One frame and the decoder's delay (ISO 11172-3): what a whole MP3 may lack of its tag's count."""

_MP3_LEFT_OVER_BYTES = 2048
"""More than the longest frame (1441) and an ID3v1 tag (128): so many bytes undecoded hold audio."""


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """A decoded recording.

    Attributes
    ----------
    samples : ndarray, [n_samples] float32
        The mean of the channels, full scale ±1, always finite.
    sample_rate_hz : int
        Native sample rate.
    channels : int
        Their count in the file.
    format, subtype : str
        Container and encoding by libsndfile's names (``WAV``, ``PCM_16``).
    header_n_samples : int | None
        Samples a channel that the header claims; None where it claims nothing that can be relied on.
    truncated : bool
        The file holds less than it claims, or broke off while decoding.

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
        """Return the length of what was decoded, in seconds."""
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class Header:
    """What a recording's header says: ``n_samples`` is per channel, None where nothing is claimed."""

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
        What a recording may ask of the machine.

    Returns
    -------
    Waveform
        The waveform; its samples equal ``librosa.load(BytesIO(data), sr=None, mono=True)`` where that can read the
        file, ``samples[t] = mean over channels of x[t, channel]``.

    Raises
    ------
    ObjectTooLarge
        More bytes than the limit.
    RecordingTooLarge
        More channels, a higher sample rate or a longer duration than the limit.
    EmptyRecording
        No bytes, or a header that rightly claims no sample.
    NotAudio
        Not a file of ``FORMATS`` and ``SUBTYPES``, or damaged beyond opening.
    TruncatedRecording
        The file breaks off before its first sample.
    UnsupportedSampleRate
        A sample rate below the limit.
    NonFiniteSamples
        NaN or infinity among the samples.

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
    """Read what a file's header says, without decoding.

    The bytes are the whole file, as for ``decode``, and the errors are the same, save those that only
    decoding can show: a compressed recording's true length and end, and values that are not finite.
    """
    with _opened(data, limits) as opened:
        reader = opened.reader
        if not reader.frames:
            raise opened.without_samples()
        return Header(sample_rate_hz=reader.samplerate, channels=reader.channels, n_samples=opened.claimed)


class _Source(BytesIO):
    """The bytes, for a reader that may seek anywhere: damaged headers lead libsndfile before the start."""

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _ForwardReader(soundfile.SoundFile):  # type: ignore[misc]
    """Reads forward only.

    ``soundfile`` seeks to where it already stands after each read. In a FLAC stream of unknown length
    that fails at the end, and the samples are lost.
    """

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file, and what it says about its own length."""

    reader: soundfile.SoundFile
    source: _Source
    n_bytes: int
    claimed: int | None
    cut: bool

    def lacks(self, n_samples: int) -> bool:
        """Say whether the file is shorter than it claims, once ``n_samples`` were decoded."""
        if self.cut:
            return True
        if self.reader.format != "MP3":
            return self.claimed is not None and n_samples < self.claimed
        if self.claimed is not None:
            return n_samples < self.claimed - _MP3_SLACK_SAMPLES
        left_over = self.n_bytes - self.source.tell()
        return n_samples == self.reader.frames and left_over > _MP3_LEFT_OVER_BYTES

    def without_samples(self) -> EmptyRecording | TruncatedRecording:
        """Return the error for a file of which no sample was decoded."""
        if self.cut or self.claimed:
            claim = "samples" if self.claimed is None else f"{self.claimed} samples"
            return TruncatedRecording(f"the header announces {claim}, but none can be decoded")
        return EmptyRecording("a header without one sample behind it")


@contextmanager
def _opened(data: bytes, limits: Limits) -> Iterator[_Opened]:
    if not data:
        raise EmptyRecording("no bytes")
    if len(data) > limits.max_object_bytes:
        raise ObjectTooLarge(f"{len(data)} bytes, over the limit of {limits.max_object_bytes}")
    layout = find_layout(data)
    extent = None if layout is None else find_data(data, layout)
    if extent is not None and not extent.holds(data):
        # libsndfile clips a size past the end in some formats, refuses it in CAF and overflows in AU.
        source = _Source(extent.repaired(data))
    else:
        source = _Source(data)
    try:
        reader = _ForwardReader(source)
    except soundfile.LibsndfileError as error:
        if (layout is not None and (extent is None or extent.cut(data))) or header_is_cut(data):
            raise TruncatedRecording("the file breaks off inside its header") from None
        raise NotAudio(f"not audio in a format that is taken (libsndfile: {error.error_string})") from None
    with reader:
        _check(reader, limits)
        if extent is not None and reader.frames > _max_samples(reader, limits):
            raise _too_long(limits)
        claimed, cut = _claim(reader, data, extent)
        cut_in_header = layout is not None and extent is None and not reader.frames
        yield _Opened(reader, source, len(data), claimed, cut or cut_in_header)


def _check(reader: soundfile.SoundFile, limits: Limits) -> None:
    if reader.format not in FORMATS or reader.subtype not in SUBTYPES:
        raise NotAudio(f"format {reader.format} with encoding {reader.subtype} is not taken")
    if reader.channels > limits.max_channels:
        raise RecordingTooLarge(f"{reader.channels} channels, over the limit of {limits.max_channels}")
    rate = reader.samplerate
    if rate > limits.max_sample_rate_hz:
        raise RecordingTooLarge(f"{rate} Hz, over the limit of {limits.max_sample_rate_hz} Hz")
    if rate < limits.min_sample_rate_hz:
        raise UnsupportedSampleRate(f"{rate} Hz, below the limit of {limits.min_sample_rate_hz} Hz")


def _max_samples(reader: soundfile.SoundFile, limits: Limits) -> int:
    return int(limits.max_duration_s * reader.samplerate)


def _too_long(limits: Limits) -> RecordingTooLarge:
    return RecordingTooLarge(f"longer than the limit of {limits.max_duration_s:g} s")


def _read_mono(reader: soundfile.SoundFile, limits: Limits) -> tuple[NDArray[np.float32], bool]:
    """Decode to the end; returns the samples and whether the decoder got there without an error."""
    max_samples = _max_samples(reader, limits)
    blocks: list[NDArray[np.float32]] = []
    n_read, whole = 0, True
    while True:
        n_wanted = min(_BLOCK_VALUES // reader.channels, reader.frames - n_read)
        block = np.empty((n_wanted, reader.channels), np.float32)
        try:
            n_got = len(reader.read(out=block))
        except soundfile.LibsndfileError:
            # What was decoded before the error is in the block; only its count has to be asked for.
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
    # The sum of huge floats may overflow: the check for finite samples finds it.
    with np.errstate(over="ignore", invalid="ignore"):
        mean: NDArray[np.float32] = block.mean(axis=1)
    return mean


# What a file claims about its own length.


def _claim(reader: soundfile.SoundFile, data: bytes, extent: Extent | None) -> tuple[int | None, bool]:
    """Return the samples per channel that the file claims, and whether its end is missing."""
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
