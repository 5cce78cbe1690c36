"""Decoding: equal to the reference reader, named errors, cut files, hostile headers."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
from collections.abc import Callable
from functools import cache

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core.audio.decode import FORMATS, SUBTYPES, Header, Waveform, decode, read_header
from heartbeat_core.errors import (
    EmptyRecording,
    NonFiniteSamples,
    NotAudio,
    ObjectTooLarge,
    RecordingError,
    RecordingTooLarge,
    TruncatedRecording,
    UnsupportedSampleRate,
)
from heartbeat_core.settings import Limits

RATE_HZ = 8_000
N_SAMPLES = 12_000


def signal(n_samples: int = N_SAMPLES, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    tone = 0.4 * np.sin(2 * np.pi * 60 / RATE_HZ * np.arange(n_samples))
    samples: NDArray[np.float32] = (tone[:, None] + 0.05 * rng.standard_normal((n_samples, channels))).astype(
        np.float32
    )
    return samples


def encode(
    samples: NDArray[np.float32], file_format: str, subtype: str, rate_hz: int = RATE_HZ, endian: str = "FILE"
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=file_format, subtype=subtype, endian=endian)
    return buffer.getvalue()


@cache
def recording(file_format: str, subtype: str, channels: int = 1) -> bytes:
    return encode(signal(channels=channels), file_format, subtype)


def reference(data: bytes) -> NDArray[np.float32]:
    """Read the file at once with soundfile alone: [n_samples, channels] float32."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        samples: NDArray[np.float32] = file.read(dtype="float32", always_2d=True)
    return samples


def writable(formats: frozenset[str], subtypes: frozenset[str]) -> list[tuple[str, str]]:
    """List what this libsndfile writes; it reads some encodings that it cannot write."""
    return [
        (file_format, subtype)
        for file_format in sorted(formats & soundfile.available_formats().keys())
        for subtype in soundfile.available_subtypes(file_format)
        if subtype in subtypes and subtype not in ("MPEG_LAYER_I", "MPEG_LAYER_II")
        if (file_format, subtype) != ("WAV", "MPEG_LAYER_III")
    ]


TAKEN = writable(FORMATS, SUBTYPES)
STEREO = [pair for pair in TAKEN if pair != ("AIFF", "IMA_ADPCM")]
CLAIMING = [pair for pair in TAKEN if pair[0] not in ("OGG", "MP3")]
PCM = [pair for pair in CLAIMING if "ADPCM" not in pair[1] and "ALAC" not in pair[1]]
SIZED = [pair for pair in PCM if pair[0] != "FLAC"]


def test_every_format_that_is_promised_is_tested() -> None:
    assert {file_format for file_format, _ in TAKEN} == FORMATS
    assert {subtype for _, subtype in TAKEN} == SUBTYPES - {"MPEG_LAYER_I", "MPEG_LAYER_II"}


@pytest.mark.parametrize(("file_format", "subtype"), TAKEN)
def test_mono_samples_are_the_reference_readers(file_format: str, subtype: str) -> None:
    data = recording(file_format, subtype)
    waveform = decode(data)
    expected = reference(data)[:, 0]
    assert len(expected) >= N_SAMPLES
    assert np.array_equal(waveform.samples, expected)
    assert waveform.samples.dtype == np.float32
    assert (waveform.sample_rate_hz, waveform.channels) == (RATE_HZ, 1)
    assert (waveform.format, waveform.subtype) == (file_format, subtype)
    assert (waveform.header_n_samples, waveform.truncated) == (len(expected), False)
    assert waveform.duration_s == len(expected) / RATE_HZ


@pytest.mark.parametrize(("file_format", "subtype"), STEREO)
def test_channels_are_averaged(file_format: str, subtype: str) -> None:
    data = recording(file_format, subtype, 2)
    waveform = decode(data)
    left, right = reference(data).T
    assert not np.array_equal(left, right)
    assert np.array_equal(waveform.samples, (left + right) / 2)
    assert waveform.channels == 2


@pytest.mark.parametrize("channels", range(1, 17))
def test_equal_to_librosa_for_any_number_of_channels(channels: int) -> None:
    data = recording("WAV", "FLOAT", channels)
    expected, rate_hz = librosa.load(io.BytesIO(data), sr=None, mono=True)
    waveform = decode(data)
    assert np.array_equal(waveform.samples, expected)
    assert (waveform.sample_rate_hz, waveform.channels) == (rate_hz, channels)


@pytest.mark.parametrize(("file_format", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
def test_blocks_join_without_a_seam(file_format: str, subtype: str) -> None:
    data = encode(signal(1_100_000), file_format, subtype)  # more than one block of 2**20
    waveform = decode(data)
    assert np.array_equal(waveform.samples, librosa.load(io.BytesIO(data), sr=None)[0])
    assert not waveform.truncated


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
@pytest.mark.parametrize("file_format", ["WAV", "AIFF", "AU", "CAF"])
def test_both_byte_orders(file_format: str, endian: str) -> None:
    data = encode(signal(), file_format, "PCM_16", endian=endian)
    waveform = decode(data)
    assert np.array_equal(waveform.samples, reference(data)[:, 0])
    assert decode(data[:10_000]).truncated
    assert (waveform.header_n_samples, decode(data[:10_000]).header_n_samples) == (N_SAMPLES, N_SAMPLES)


@pytest.mark.parametrize("pair", [("MAT5", "PCM_16"), ("MAT4", "FLOAT"), ("NIST", "PCM_16"), ("SVX", "PCM_16")])
def test_other_formats_are_not_taken(pair: tuple[str, str]) -> None:
    data = recording(*pair)
    assert len(reference(data)) == N_SAMPLES  # libsndfile would
    with pytest.raises(NotAudio, match=pair[0]):
        decode(data)


@pytest.mark.parametrize("pair", [("WAV", "GSM610"), ("AU", "G721_32"), ("AIFF", "DWVW_16")])
def test_other_encodings_are_not_taken(pair: tuple[str, str]) -> None:
    with pytest.raises(NotAudio, match=pair[1]):
        decode(recording(*pair))


# The header alone.


@pytest.mark.parametrize(("file_format", "subtype"), TAKEN)
def test_header_tells_what_decoding_finds(file_format: str, subtype: str) -> None:
    data = recording(file_format, subtype)
    assert read_header(data) == Header(RATE_HZ, 1, len(reference(data)))


def test_header_tells_what_a_cut_file_claims() -> None:
    assert read_header(recording("WAV", "PCM_16")[:1_000]).n_samples == N_SAMPLES


READERS: list[Callable[[bytes, Limits], object]] = [decode, read_header]


# Limits and named errors, the same from both functions.


@pytest.mark.parametrize("read", READERS)
def test_no_bytes(read: Callable[[bytes, Limits], object]) -> None:
    with pytest.raises(EmptyRecording):
        read(b"", Limits())


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("file_format", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "OGG"])
def test_a_header_that_claims_no_sample(read: Callable[[bytes, Limits], object], file_format: str) -> None:
    subtype = "VORBIS" if file_format == "OGG" else "PCM_16"
    with pytest.raises(EmptyRecording):
        read(encode(signal(0), file_format, subtype), Limits())


def test_an_empty_data_chunk_with_metadata_behind_it_is_empty() -> None:
    data = encode(signal(0), "WAV", "PCM_16") + b"LIST" + struct.pack("<I", 4) + b"INFO"
    with pytest.raises(EmptyRecording):
        decode(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"hello, this is no audio\n" * 40,
        bytes(5_000),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"RIFF1234AVI " * 9,
    ],
    ids=["byte", "text", "zeros", "png", "avi"],
)
def test_not_audio(read: Callable[[bytes, Limits], object], data: bytes) -> None:
    with pytest.raises(NotAudio):
        read(data, Limits())


@pytest.mark.parametrize("read", READERS)
def test_object_over_the_limit(read: Callable[[bytes, Limits], object]) -> None:
    data = recording("WAV", "PCM_16")
    read(data, Limits(max_object_bytes=len(data)))
    with pytest.raises(ObjectTooLarge):
        read(data, Limits(max_object_bytes=len(data) - 1))


@pytest.mark.parametrize("read", READERS)
def test_channels_over_the_limit(read: Callable[[bytes, Limits], object]) -> None:
    data = recording("WAV", "PCM_16", 3)
    read(data, Limits(max_channels=3))
    with pytest.raises(RecordingTooLarge, match="3 channels"):
        read(data, Limits(max_channels=2))


@pytest.mark.parametrize("read", READERS)
def test_sample_rate_out_of_range(read: Callable[[bytes, Limits], object]) -> None:
    data = recording("FLAC", "PCM_16")
    read(data, Limits(min_sample_rate_hz=RATE_HZ, max_sample_rate_hz=RATE_HZ))
    with pytest.raises(UnsupportedSampleRate, match="8000 Hz"):
        read(data, Limits(min_sample_rate_hz=RATE_HZ + 1))
    with pytest.raises(RecordingTooLarge, match="8000 Hz"):
        read(data, Limits(max_sample_rate_hz=RATE_HZ - 1))


@pytest.mark.parametrize(("file_format", "subtype"), TAKEN)
def test_duration_over_the_limit(file_format: str, subtype: str) -> None:
    data = recording(file_format, subtype)
    n_samples = len(reference(data))
    decode(data, Limits(max_duration_s=n_samples / RATE_HZ))
    with pytest.raises(RecordingTooLarge, match="longer"):
        decode(data, Limits(max_duration_s=(n_samples - 1) / RATE_HZ))


def test_header_of_a_sized_file_is_judged_on_its_duration() -> None:
    with pytest.raises(RecordingTooLarge, match="longer"):
        read_header(recording("WAV", "PCM_16"), Limits(max_duration_s=1))


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_finite(subtype: str, value: float, channels: int) -> None:
    samples = signal(channels=channels)
    samples[-1, -1] = value
    with pytest.raises(NonFiniteSamples):
        decode(encode(samples, "WAV", subtype))


def test_a_mean_that_overflows_is_not_finite() -> None:
    with pytest.raises(NonFiniteSamples):
        decode(encode(np.full((10, 2), 3e38, np.float32), "WAV", "FLOAT"))


# Files that are shorter than they claim.


@pytest.mark.parametrize(("file_format", "subtype"), TAKEN)
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_a_cut_file_keeps_its_beginning_and_is_marked(file_format: str, subtype: str, share: float) -> None:
    n_samples = 90_000  # several pages of Ogg, which are lost whole
    data = encode(signal(n_samples), file_format, subtype)
    waveform = decode(data[: int(share * len(data))])
    n_kept = len(waveform.samples)
    assert waveform.truncated
    assert 0.5 * share * n_samples < n_kept < n_samples
    whole = decode(data).samples
    # The last frame of MP3 and the last block of IMA ADPCM lean on bits that were cut.
    n_kept -= {"MPEG_LAYER_III": 2_304, "IMA_ADPCM": 1_017}.get(subtype, 0)
    assert np.array_equal(waveform.samples[:n_kept], whole[:n_kept])


@pytest.mark.parametrize(("file_format", "subtype"), PCM)
def test_a_cut_file_tells_the_length_that_it_claims(file_format: str, subtype: str) -> None:
    data = recording(file_format, subtype, 2)
    assert decode(data[: len(data) * 2 // 3]).header_n_samples == N_SAMPLES


@pytest.mark.parametrize(("file_format", "subtype"), SIZED)
def test_one_missing_byte_is_noticed(file_format: str, subtype: str) -> None:
    data = recording(file_format, subtype)
    end = len(data) - len(trailing_chunks(data))
    waveform = decode(data[: end - 1])
    assert waveform.truncated
    assert len(waveform.samples) == N_SAMPLES - 1


def trailing_chunks(data: bytes) -> bytes:
    """Return the PEAK chunk that libsndfile writes behind the samples of an AIFF, if any, and padding."""
    start = data.find(b"SSND")
    if not data.startswith(b"FORM"):
        return b""
    return data[start + 8 + struct.unpack_from(">I", data, start + 4)[0] :]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("file_format", "subtype"), SIZED)
def test_a_header_without_its_samples(read: Callable[[bytes, Limits], object], file_format: str, subtype: str) -> None:
    data = recording(file_format, subtype)
    n_data = N_SAMPLES * {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(subtype, 1)
    header = data[: len(data) - len(trailing_chunks(data)) - n_data]
    with pytest.raises(TruncatedRecording):
        read(header, Limits())
    assert len(decode(data[: len(header) + n_data // N_SAMPLES]).samples) == 1


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("file_format", ["WAV", "RF64", "W64", "FLAC", "AIFF", "AU", "CAF", "OGG"])
def test_a_file_that_ends_inside_its_header(read: Callable[[bytes, Limits], object], file_format: str) -> None:
    data = recording(file_format, "VORBIS" if file_format == "OGG" else "PCM_16")
    # W64 is known by its first 40 bytes, AU's header has only 24.
    with pytest.raises(TruncatedRecording):
        read(data[: {"W64": 60, "AU": 20}.get(file_format, 36)], Limits())


def test_a_wav_that_ends_inside_the_size_of_its_data() -> None:
    # libsndfile opens it, and finds nothing.
    with pytest.raises(TruncatedRecording):
        decode(recording("WAV", "PCM_16")[:43])


def test_a_damaged_flac_header_that_is_all_there() -> None:
    with pytest.raises(NotAudio):
        decode(b"fLaC\x80\x00\x00\x22" + bytes(34) + bytes(1_000))


def test_no_seek_before_the_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    # An error inside libsndfile's callbacks cannot be raised: Python prints it instead.
    printed: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", printed.append)
    for file_format in ("WAV", "AIFF", "W64", "CAF"):
        for n_bytes in range(12, 80):
            with contextlib.suppress(RecordingError):
                decode(recording(file_format, "PCM_16")[:n_bytes])
    assert printed == []


def test_a_flac_header_without_a_frame() -> None:
    data = recording("FLAC", "PCM_16")
    for n_bytes in (42, data.index(b"\xff\xf8"), data.index(b"\xff\xf8") + 40):
        with pytest.raises(TruncatedRecording):
            decode(data[:n_bytes])


def test_a_damaged_frame_keeps_what_comes_before_it() -> None:
    data = bytearray(recording("FLAC", "PCM_16"))
    data[len(data) // 2 : len(data) // 2 + 8] = bytes(8)
    waveform = decode(bytes(data))
    n_kept = len(waveform.samples)
    assert n_kept == 4_096  # one frame of three
    assert np.array_equal(waveform.samples, decode(recording("FLAC", "PCM_16")).samples[:n_kept])
    assert (waveform.header_n_samples, waveform.truncated) == (N_SAMPLES, True)


def with_size(data: bytes, tag: bytes, size: bytes, after: int = 0) -> bytes:
    """Write another size behind the first ``tag`` (and ``after`` more bytes)."""
    at = data.index(tag) + len(tag) + after
    return data[:at] + size + data[at + len(size) :]


STREAMED_SIZES = [0xFFFF_FFFF, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000]


@pytest.mark.parametrize("file_size", [0, 36, 0xFFFF_FFFF])
@pytest.mark.parametrize("size", [0, *STREAMED_SIZES])
def test_a_streamed_wav_is_whole(size: int, file_size: int) -> None:
    data = with_size(recording("WAV", "PCM_16"), b"data", struct.pack("<I", size))
    data = with_size(data, b"RIFF", struct.pack("<I", file_size))
    waveform = decode(data)
    assert np.array_equal(waveform.samples, decode(recording("WAV", "PCM_16")).samples)
    assert (waveform.header_n_samples, waveform.truncated) == (None, False)
    assert read_header(data) == Header(RATE_HZ, 1, None)


@pytest.mark.parametrize(
    ("file_format", "tag", "size"),
    [
        ("AIFF", b"SSND", struct.pack(">I", 0)),
        ("AIFF", b"SSND", struct.pack(">I", 0xFFFF_FFFF)),
        ("AU", b".snd\x00\x00\x00\x18", struct.pack(">I", 0xFFFF_FFFF)),
        ("AU", b".snd\x00\x00\x00\x18", struct.pack(">I", 0)),
        ("CAF", b"data", struct.pack(">q", -1)),
        ("RF64", b"ds64", struct.pack("<IQQ", 28, 2**64 - 1, 2**64 - 1)),
        ("RF64", b"ds64", struct.pack("<IQQ", 28, 0, 0)),
    ],
)
def test_other_formats_that_were_streamed_are_whole(file_format: str, tag: bytes, size: bytes) -> None:
    whole = recording(file_format, "PCM_16")
    waveform = decode(with_size(whole, tag, size))
    assert np.array_equal(waveform.samples, decode(whole).samples)
    assert (waveform.header_n_samples, waveform.truncated) == (None, False)


def flac_with_total(total: int) -> bytes:
    """Return a FLAC file whose STREAMINFO claims another number of samples; 0 is unknown."""
    data = bytearray(recording("FLAC", "PCM_16"))
    data[21] = data[21] & 0xF0 | total >> 32
    data[22:26] = struct.pack(">I", total & 0xFFFF_FFFF)
    return bytes(data)


def test_a_streamed_flac_is_whole() -> None:
    waveform = decode(flac_with_total(0))
    assert np.array_equal(waveform.samples, decode(recording("FLAC", "PCM_16")).samples)
    assert (waveform.header_n_samples, waveform.truncated) == (None, False)
    assert decode(flac_with_total(0)[:-200]).truncated


def without_length_tag(data: bytes) -> bytes:
    """Drop an MP3's first frame, which holds the Xing or Info tag and no sound."""
    return data[data.index(data[:2], 10) :]


def test_an_mp3_without_a_length_tag_claims_nothing() -> None:
    waveform = decode(without_length_tag(recording("MP3", "MPEG_LAYER_III")))
    assert waveform.header_n_samples is None
    assert len(waveform.samples) > 0


def test_a_whole_mp3_without_a_length_tag_is_not_marked() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, signal(), 16_000, format="MP3", compression_level=0.5, bitrate_mode="CONSTANT")
    waveform = decode(without_length_tag(buffer.getvalue()))
    assert len(waveform.samples) >= N_SAMPLES
    assert (waveform.header_n_samples, waveform.truncated) == (None, False)


def test_an_ogg_file_cut_between_two_pages_is_marked() -> None:
    data = encode(signal(90_000), "OGG", "VORBIS")
    waveform = decode(data[: data.rindex(b"OggS")])
    assert 0 < len(waveform.samples) < 90_000
    assert (waveform.header_n_samples, waveform.truncated) == (None, True)


def test_an_mp3_that_is_decoded_in_part_only_is_marked() -> None:
    # Quiet first, loud later: the first frames' bit rate gives too short a length.
    samples = signal(20 * 44_100)
    samples[: 10 * 44_100] *= 1e-4
    data = without_length_tag(encode(samples, "MP3", "MPEG_LAYER_III", 44_100))
    waveform = decode(data)
    assert 0 < len(waveform.samples) < len(samples) - 44_100
    assert waveform.truncated


def test_metadata_behind_the_samples_may_be_cut() -> None:
    data = recording("WAV", "PCM_16") + b"LIST" + struct.pack("<I", 1_000) + b"INFO"
    assert not decode(data).truncated


def test_chunks_before_the_samples_are_passed() -> None:
    whole = recording("WAV", "PCM_16")
    data = whole[:12] + b"junk" + struct.pack("<I", 13) + b"data\xff\xff\xff\x7f" + bytes(6) + whole[12:]
    waveform = decode(data)
    assert np.array_equal(waveform.samples, decode(whole).samples)
    assert (waveform.header_n_samples, waveform.truncated) == (N_SAMPLES, False)
    assert decode(data[:-1]).truncated


# Headers and streams that ask for memory.


def peak_bytes(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        flac_with_total(2**35),
        with_size(recording("RF64", "PCM_16"), b"ds64", struct.pack("<Q", 2**36), after=12),
        with_size(recording("W64", "PCM_16"), b"data", struct.pack("<Q", 2**36), after=12),
        with_size(recording("CAF", "PCM_16"), b"data", struct.pack(">q", 2**36)),
        with_size(recording("WAV", "PCM_16"), b"data", struct.pack("<I", 2**32 - 2)),
        with_size(recording("AU", "PCM_16"), b".snd\x00\x00\x00\x18", struct.pack(">I", 2**32 - 2)),
    ],
    ids=["FLAC", "RF64", "W64", "CAF", "WAV", "AU"],
)
def test_a_header_that_claims_gigabytes_costs_no_memory(data: bytes) -> None:
    results: list[Waveform] = []
    assert peak_bytes(lambda: results.append(decode(data))) < 6 * 2**20
    (waveform,) = results
    assert len(waveform.samples) == N_SAMPLES
    assert waveform.truncated
    assert waveform.header_n_samples is not None
    assert waveform.header_n_samples >= (2**32 - 2) // 2


def test_decoding_stops_at_the_limit() -> None:
    n_samples = 20 * 2**20
    data = encode(np.zeros((n_samples, 1), np.float32), "FLAC", "PCM_16")
    assert len(data) < n_samples // 100

    def decode_within_limit() -> None:
        with pytest.raises(RecordingTooLarge):
            decode(data, Limits(max_duration_s=2**20 / RATE_HZ))

    assert peak_bytes(decode_within_limit) < 10 * 2**20  # of 80 MiB


def test_millions_of_empty_chunks_end_in_a_named_error() -> None:
    data = recording("WAV", "PCM_16")[:36] + bytes(16 * 2**20)
    with pytest.raises(TruncatedRecording):
        decode(data)


# Whatever the bytes.

FUZZED = [
    encode(signal(3_000), *pair)
    for pair in [
        ("WAV", "PCM_16"), ("WAV", "MS_ADPCM"), ("WAVEX", "FLOAT"), ("RF64", "PCM_24"), ("W64", "PCM_16"),
        ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"), ("AU", "ULAW"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"),
    ]
]  # fmt: skip


def outcome(read: Callable[[bytes, Limits], object], data: bytes, limits: Limits) -> object:
    try:
        return read(data, limits)
    except RecordingError as error:
        return error


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(FUZZED)))
    for _ in range(draw(st.integers(1, 3))):
        # Headers decide most: half of the mutations fall into the first 64 bytes.
        end = draw(st.sampled_from([64, len(data)]))
        at = draw(st.integers(0, max(0, min(end, len(data)) - 1)))
        match draw(st.sampled_from(["flip", "cut", "swap", "fill"])):
            case "flip":
                data[at : at + 1] = bytes([data[at] ^ draw(st.integers(1, 255))]) if data else b""
            case "cut":
                del data[at:]
            case "swap":
                other = draw(st.integers(0, max(0, len(data) - 1)))
                data[at : at + 16], data[other : other + 16] = data[other : other + 16], data[at : at + 16]
            case "fill":
                data[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"]))
    return bytes(data)


@settings(max_examples=1_200, derandomize=True)
@given(mutated())
def test_damage_gives_finite_samples_or_a_named_error(data: bytes) -> None:
    limits = Limits(max_duration_s=60)
    header, waveform = outcome(read_header, data, limits), outcome(decode, data, limits)
    assert isinstance(header, Header | RecordingError)
    if isinstance(waveform, Waveform):
        assert waveform.samples.ndim == 1
        assert waveform.samples.dtype == np.float32
        assert 0 < len(waveform.samples) <= 60 * waveform.sample_rate_hz
        assert np.isfinite(waveform.samples).all()
        assert isinstance(header, Header)
    else:
        assert isinstance(waveform, RecordingError)
        assert waveform.stage == "decode"


MAGICS = (
    *(b"RIFF\xff\xff\xff\xffWAVE", b"RIFX\0\0\0\0WAVE", b"RF64\xff\xff\xff\xffWAVE", b"FORM\0\0\0\0AIFF"),
    *(b"caff\0\1\0\0", b".snd", b"dns.", bytes.fromhex("72696666 2e91cf11 a5d628db 04c10000") + bytes(8) + b"wave"),
)
TAGS = (b"ds64", b"data", b"fmt ", b"SSND", b"COMM", bytes.fromhex("64617461 f3acd311 8cd100c0 4f8edb8a"))
SIZES = (bytes(4), b"\xff" * 4, bytes(8), b"\xff" * 8, b"\x10\0\0\0", b"\0\0\0\x10")


@settings(max_examples=1_000, derandomize=True)
@given(
    st.sampled_from(MAGICS),
    st.lists(
        st.tuples(st.sampled_from(TAGS), st.sampled_from(SIZES), st.just(b"") | st.binary(max_size=24)), max_size=3
    ),
)
@example(MAGICS[2], [(b"ds64", bytes(4), b""), (b"data", b"\xff" * 4, b"")])
@example(MAGICS[2], [(b"data", bytes(4), b"xx")])
def test_few_chunks_are_refused_by_name(magic: bytes, chunks: list[tuple[bytes, bytes, bytes]]) -> None:
    """A file that ends where a field of its container should be: one such file had ended a whole job."""
    data = magic + b"".join(map(b"".join, chunks))
    for read in (read_header, decode):
        assert isinstance(outcome(read, data, Limits()), Header | Waveform | RecordingError)


@settings(max_examples=200, derandomize=True)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(RecordingError):
        decode(data)
