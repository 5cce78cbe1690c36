"""Bytes of an audio file -> ``Waveform``, within limits.

libsndfile decodes, through ``soundfile``. This module adds what a job over foreign files needs:

* nothing is allocated on a header's word: samples are read in blocks, and decoding stops as soon as
  the recording is longer than the limit;
* each way to fail has a named error, and no other exception leaves this module for any bytes;
* a file that is shorter than its header says is decoded and marked ``truncated``.

How a missing end is noticed:

* WAV, RF64, W64, AIFF, AU, CAF: the data chunk reaches past the end of the bytes. A size that says
  "unknown", as programs write that stream to a pipe, is no claim.
* FLAC: fewer samples decode than STREAMINFO claims, or the stream breaks inside a frame.
* MP3: fewer samples decode than the Xing/Info/VBRI tag claims, by more than a frame and the decoder's
  delay. Without that tag there is no claim, and a cut file is not noticed; but libsndfile then guesses the
  length from the first frames' bit rate and stops there, which is marked where bytes are left over.
* Ogg: there is no length in its header, but the last page of a stream carries an end-of-stream flag; the
  file is cut where the last page lacks the flag or is incomplete.

Formats and encodings of libsndfile: https://libsndfile.github.io/libsndfile/formats.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_SET, BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from heartbeat_core.config import Limits
from heartbeat_core.errors import (
    EmptyRecording,
    NonFiniteSamples,
    NotAudio,
    ObjectTooLarge,
    RecordingTooLarge,
    TruncatedRecording,
    UnsupportedSampleRate,
)

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

_MP3_LEFT_OVER_BYTES = 8192
"""More than the longest frame and an ID3v1 tag: bytes behind the decoder that must be audio."""

_MAX_CHUNKS = 4096
"""Chunks looked at before the data; bounds the time that a hostile file can take."""


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """A decoded recording.

    ``samples [n_samples] float32``: the mean of the channels, full scale ±1, always finite.
    ``channels``: count in the file. ``format`` and ``subtype``: libsndfile's names (``WAV``, ``PCM_16``).
    ``header_n_samples``: samples per channel that the header claims; None where it claims nothing that
    can be relied on. ``truncated``: the file holds less than it claims, or broke off while decoding.
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

    Returns:
        The waveform; its samples equal ``librosa.load(BytesIO(data), sr=None, mono=True)`` where that
        can read the file, ``samples[t] = mean over channels of x[t, channel]``.

    Raises:
        ObjectTooLarge: more bytes than the limit.
        RecordingTooLarge: more channels, a higher sample rate or a longer duration than the limit.
        EmptyRecording: no bytes, or a header that rightly claims no sample.
        NotAudio: not a file of ``FORMATS`` and ``SUBTYPES``, or damaged beyond opening.
        TruncatedRecording: the file breaks off before its first sample.
        UnsupportedSampleRate: a sample rate below the limit.
        NonFiniteSamples: NaN or infinity among the samples.
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
    layout = _layout(data)
    extent = None if layout is None else _find_data(data, layout)
    if extent is not None and not extent.holds(data):
        # libsndfile clips a size past the end in some formats, refuses it in CAF and overflows in AU.
        source = _Source(extent.repaired(data))
    else:
        source = _Source(data)
    try:
        reader = _ForwardReader(source)
    except soundfile.LibsndfileError as error:
        if (layout is not None and (extent is None or extent.cut(data))) or _header_is_cut(data):
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
    n_read, whole, ended = 0, True, False
    while not ended:
        if n_read > max_samples:
            raise _too_long(limits)
        n_wanted = min(_BLOCK_VALUES // reader.channels, reader.frames - n_read, max_samples + 1 - n_read)
        block = np.empty((n_wanted, reader.channels), np.float32)
        try:
            n_got = len(reader.read(out=block))
        except soundfile.LibsndfileError:
            # What was decoded before the error is in the block; only its count has to be asked for.
            n_got, whole = reader.tell() - n_read, False
        blocks.append(_mono(block[:n_got]))
        n_read += n_got
        ended = n_got < n_wanted or n_read == reader.frames
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks), whole


def _mono(block: NDArray[np.float32]) -> NDArray[np.float32]:
    if block.shape[1] == 1:
        return block[:, 0]
    # The sum of huge floats may overflow: the check for finite samples finds it.
    with np.errstate(over="ignore", invalid="ignore"):
        mean: NDArray[np.float32] = block.mean(axis=1)
    return mean


# What a file claims about its own length.


def _claim(reader: soundfile.SoundFile, data: bytes, extent: _Extent | None) -> tuple[int | None, bool]:
    """Return the samples per channel that the file claims, and whether its end is missing."""
    if reader.format == "OGG":
        finished = _ogg_is_finished(data)
        return (reader.frames if finished else None), not finished
    if reader.format == "MP3":
        return (reader.frames if _mp3_has_length(data) else None), False
    if extent is None:
        return (None if reader.frames == _UNKNOWN_FRAMES else reader.frames), False
    if extent.n_bytes is None:
        return None, False
    if not extent.cut(data):
        return reader.frames, False
    width = _SAMPLE_BYTES.get(reader.subtype)
    return (None if width is None else extent.n_bytes // (width * reader.channels)), True


def _ogg_is_finished(data: bytes) -> bool:
    """Say whether the last page is complete and flagged as the end of its stream (RFC 3533, section 6)."""
    page = data.rfind(b"OggS\0")
    if page < 0 or page + 27 > len(data):
        return False
    lacing = data[page + 27 : page + 27 + data[page + 26]]
    end = page + 27 + data[page + 26] + sum(lacing)
    return bool(data[page + 5] & 0x04) and end <= len(data)


def _mp3_has_length(data: bytes) -> bool:
    """Say whether the first frame is a tag with the number of frames."""
    first = 0
    if data.startswith(b"ID3") and len(data) >= 10:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        first = 10 + size
    # The tag stands behind the frame's header and side information: within 4 + 32 bytes.
    frame = data[first : first + 44]
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


def _header_is_cut(data: bytes) -> bool:
    """Say whether bytes that cannot be opened begin as FLAC or Ogg and lack the rest."""
    if data.startswith(b"OggS"):
        return not _ogg_is_finished(data)
    return data.startswith(b"fLaC") and _flac_metadata_is_cut(data)


def _flac_metadata_is_cut(data: bytes) -> bool:
    block, last = 4, False
    while not last and block + 4 <= len(data):
        last = bool(data[block] & 0x80)
        block += 4 + int.from_bytes(data[block + 1 : block + 4], "big")
    return not last or block > len(data)


# Containers made of chunks, each a tag, a size and a body.


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a container's chunks begin, and how its data chunk tells its size."""

    first: int
    tag: bytes
    size: struct.Struct
    align: int = 1
    counts_header: bool = False
    """The size includes the chunk's own tag and size."""
    preamble: int = 0
    """Bytes between the data chunk's size and its samples, which the size includes."""
    file_size: struct.Struct | None = None
    file_size_at: int = 0

    @property
    def header(self) -> int:
        return len(self.tag) + self.size.size


_U32_LE, _U32_BE = struct.Struct("<I"), struct.Struct(">I")
_U64_LE, _I64_BE = struct.Struct("<Q"), struct.Struct(">q")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")

_WAV = _Layout(12, b"data", _U32_LE, align=2, file_size=_U32_LE, file_size_at=4)
_RIFX = _Layout(12, b"data", _U32_BE, align=2, file_size=_U32_BE, file_size_at=4)
_RF64 = _Layout(12, b"data", _U32_LE, align=2, file_size=_U64_LE, file_size_at=20)
_W64 = _Layout(
    40, b"data" + _W64_TAIL, _U64_LE, align=8, counts_header=True, file_size=_U64_LE, file_size_at=16
)
_AIFF = _Layout(12, b"SSND", _U32_BE, align=2, preamble=8)
_CAF = _Layout(8, b"data", _I64_BE, preamble=4)
_AU_BE = _Layout(0, b".snd", _U32_BE)
_AU_LE = _Layout(0, b"dns.", _U32_LE)

_RF64_SIZE_AT = 28
"""Where the chunk ds64 holds the size of the data."""

_SIZE_UNKNOWN = frozenset({0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1})
"""Sizes that are written where the end is not known yet, by programs that stream or record."""


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where a file says that its samples lie: ``n_bytes`` from ``start``, None where it does not know."""

    start: int
    n_bytes: int | None
    size: struct.Struct
    size_at: int
    overhead: int
    """Bytes that the stored size counts beyond the samples."""

    def cut(self, data: bytes) -> bool:
        return self.n_bytes is not None and self.start + self.n_bytes > len(data)

    def holds(self, data: bytes) -> bool:
        return self.n_bytes is not None and not self.cut(data)

    def repaired(self, data: bytes) -> bytes:
        """Return the file with the size of what is really there."""
        there = max(0, len(data) - self.start) + self.overhead
        largest = 2 ** (8 * self.size.size - (self.size is _I64_BE)) - 1
        field = self.size.pack(min(there, largest))
        return data[: self.size_at] + field + data[self.size_at + len(field) :]


def _layout(data: bytes) -> _Layout | None:
    match data[:4], data[8:12]:
        case b"RIFF", b"WAVE":
            return _WAV
        case b"RIFX", b"WAVE":
            return _RIFX
        case b"RF64", b"WAVE":
            return _RF64
        case b"riff", _ if data[24:28] == b"wave":
            return _W64
        case b"FORM", b"AIFF" | b"AIFC":
            return _AIFF
        case b"caff", _:
            return _CAF
        case b".snd", _:
            return _AU_BE
        case b"dns.", _:
            return _AU_LE
    return None


def _find_data(data: bytes, layout: _Layout) -> _Extent | None:
    """Walk to the data chunk; None where the file ends before it."""
    if layout in (_AU_BE, _AU_LE):
        return _au_extent(data, layout)
    chunk = layout.first
    counted = layout.header if layout.counts_header else 0
    for _ in range(_MAX_CHUNKS):
        size_at = chunk + len(layout.tag)
        if chunk + layout.header > len(data):
            return None
        (size,) = layout.size.unpack_from(data, size_at)
        if data.startswith(layout.tag, chunk):
            return _data_extent(data, layout, chunk, size)
        if size < counted:
            return None
        end = chunk + layout.header + size - counted
        chunk = end + -end % layout.align
    return None


def _data_extent(data: bytes, layout: _Layout, chunk: int, size: int) -> _Extent:
    field, size_at = layout.size, chunk + len(layout.tag)
    if layout is _RF64 and size == 0xFFFF_FFFF and data[12:16] == b"ds64":
        field, size_at = _U64_LE, _RF64_SIZE_AT
        (size,) = field.unpack_from(data, size_at)
    start = chunk + layout.header + layout.preamble
    overhead = layout.preamble + (layout.header if layout.counts_header else 0)
    n_bytes: int | None = size - overhead
    if size in _SIZE_UNKNOWN or size < overhead or (size == overhead and _goes_on(data, layout, start)):
        n_bytes = None
    return _Extent(start, n_bytes, field, size_at, overhead)


def _goes_on(data: bytes, layout: _Layout, start: int) -> bool:
    """Say whether bytes follow an empty data chunk that the file's own size does not account for.

    A program that was stopped, or that cannot go back to its header, leaves both sizes as they were.
    """
    if layout.file_size is None or start >= len(data):
        return False
    (size,) = layout.file_size.unpack_from(data, layout.file_size_at)
    return size in _SIZE_UNKNOWN or size <= start


def _au_extent(data: bytes, layout: _Layout) -> _Extent | None:
    if len(data) < 24:
        return None
    start, size = (layout.size.unpack_from(data, at)[0] for at in (4, 8))
    # No chunk can follow: bytes behind a size of 0 are samples.
    unknown = size in _SIZE_UNKNOWN or (size == 0 and start < len(data))
    return _Extent(start, None if unknown else size, layout.size, 8, 0)
