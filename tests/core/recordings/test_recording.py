"""The walk of one recording, and what of its address may be stored."""

from __future__ import annotations

import hashlib
import io
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.errors import NotAudio, RecordingError, SpectrumOverflow, TooShort
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.recipe import FramesSettings, Recipe
from heartbeat_core.recordings.process import process
from heartbeat_core.recordings.recording import UNKNOWN_SIZE_BYTES, USUAL_SIZE_BYTES, Failure, Recording, failure
from heartbeat_core.settings import Limits
from heartbeat_core.storage.uris import encode_uri, public_uri, query_digest
from tests import naive


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("https://user:pw@host/a.wav", "https://host/a.wav"),
        ("https://user@host:8443/a.wav?X-Signature=secret", "https://host:8443/a.wav"),
        ("http://host/a%20b.wav#t=3", "http://host/a%20b.wav"),
        ("http://host/a.wav#x?y", "http://host/a.wav"),
        ("http://host?token=secret/x", "http://host"),
        ("https://us:p@w@host/a@b.wav", "https://host/a@b.wav"),
        ("HTTPS://user:pw@host/a.wav?x", "HTTPS://host/a.wav"),
        ("http://[::1]:80/a.wav?token=x", "http://[::1]:80/a.wav"),
        ("ftp://user:pw@host/a?b#c.wav", "ftp://host/a?b#c.wav"),
        ("sftp://user:pw@host:22/a.wav", "sftp://host:22/a.wav"),
        ("s3://bucket/what?.wav", "s3://bucket/what?.wav"),
        ("s3://bucket/a#1@2:3.wav", "s3://bucket/a#1@2:3.wav"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("file:///a/b?c#d@e:f.wav", "file:///a/b?c#d@e:f.wav"),
        ("file:///a::b.wav", "file:///a::b.wav"),
        ("memory://x", "memory://x"),
        ("zip://a.wav::https://u:pw@host/a.zip?sig=x", "zip://a.wav::https://host/a.zip"),
        ("simplecache::https://host/a.wav?sig=x", "simplecache::https://host/a.wav"),
        ("simplecache::s3://bucket/a?b", "simplecache::s3://bucket/a?b"),
    ],
)
def test_public_uri(uri: str, public: str) -> None:
    assert public_uri(uri) == public
    assert public_uri(public) == public
    assert Recording(uri, "x").public_uri == public


AWS = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260110T120000Z&X-Amz-Expires=600&X-Amz-Signature="
AZURE = "sv=2024-11-04&st=2026-01-01&se=2026-01-02&sr=b&sp=r&skoid=1&sig="


@pytest.mark.parametrize(
    "query",
    [
        *("", "?", "?&", "#page=2", f"?{AWS}hunter2", f"?{AZURE}hunter2", "?X-Goog-Credential=a&X-Goog-Signature=b"),
        "?AWSAccessKeyId=AKIA&Signature=hunter2&Expires=1700000000",
        "?Policy=p&Signature=hunter2&Key-Pair-Id=K1#x",
    ],
)
def test_a_signature_does_not_change_the_id(query: str) -> None:
    assert (
        Recording(f"https://host/a.wav{query}", "x").recording_id == Recording("https://host/a.wav", "x").recording_id
    )
    assert query_digest(f"https://host/a.wav{query}") is None


def test_a_query_that_names_the_recording_is_part_of_its_id() -> None:
    addresses = [
        *("https://host/get", "https://host/get?id=1", "https://host/get?id=2", "https://host/get?1"),
        *("https://host/get?st=1", "https://host/get?id=1&part=2"),
        *("simplecache::https://host/get?id=1", "simplecache::https://host/get?id=2"),
    ]
    assert len({Recording(address, "x").recording_id for address in addresses}) == len(addresses)
    first = Recording("https://host/get?id=1", "x")
    for same in (f"https://u:pw@host/get?id=1&{AWS}2", f"https://host/get?{AZURE}3&id=1", "https://host/get?id=1#x"):
        assert Recording(same, "x").recording_id == first.recording_id
    # What is stored of an address in a manifest gives the same id as the whole address.
    stored = Recording("https://host/get", "x", query_digest=query_digest("https://host/get?id=1"))
    assert stored.recording_id == first.recording_id
    assert len(stored.query_digest or "") == 16


@pytest.mark.parametrize("uri", ["s3://bucket/a?id=1", "file:///a?id=1", "ftp://host/a?id=1", "a?id=1"])
def test_other_uris_have_no_query(uri: str) -> None:
    assert query_digest(uri) is None


def test_a_size_that_is_unknown_is_expected_to_be_usual_and_may_be_large() -> None:
    known, unknown = Recording("file:///a", "a", 0), Recording("file:///a", "a")
    assert known.expected_bytes == known.reserved_bytes == 0
    assert unknown.expected_bytes == USUAL_SIZE_BYTES == 2**16
    assert unknown.reserved_bytes == UNKNOWN_SIZE_BYTES == 2**20


def test_recording_id_is_of_the_public_uri() -> None:
    digest = hashlib.sha256("https://host/ü.wav".encode()).hexdigest()
    assert Recording("https://user:pw@host/ü.wav?signature=1", "ü.wav").recording_id == digest[:16]
    assert Recording("https://host/ü.wav?signature=2", "elsewhere", 3, "v", "normal", "p").recording_id == digest[:16]
    assert Recording("s3://b/k?1", "").recording_id != Recording("s3://b/k?2", "").recording_id


def tone(n_samples: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (0.3 * np.sin(0.2 * np.arange(n_samples)) + 0.05 * rng.standard_normal(n_samples)).astype(np.float32)


def wav(samples: NDArray[np.float32], sample_rate_hz: int = 4_000, subtype: str = "FLOAT") -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, sample_rate_hz, format="WAV", subtype=subtype)
    return sink.getvalue()


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"name": "x", "frames": {"delta_time_s": 0.01}} | changes)


RECORDING = Recording("file:///r/a.wav", "a.wav", label="normal", patient_id="7")


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(compute_frames(tone(8_000, seed=1), 4_000, FramesSettings(delta_time_s=0.01)))


@pytest.mark.parametrize("pad_mode", ["both", "front", "back"])
@pytest.mark.parametrize("n_samples", [32, 3_000, 8_000])
def test_the_walk_is_its_parts_one_after_the_other(reference: Reference, n_samples: int, pad_mode: str) -> None:
    samples, data = tone(n_samples), wav(tone(n_samples))
    found = process(RECORDING, data, recipe(alignment={"pad_mode": pad_mode}), reference, Limits())
    frames = naive.frames(samples, 4_000, 0.01, "dominant").astype(np.float32)
    assert np.array_equal(found.frames, frames)
    placement = found.placement
    assert (placement.offset_frames, placement.n_frames, placement.distance) == naive.place(
        frames, reference.frames, pad_mode
    )
    assert found.n_frames_cut == 0
    assert found.recording is RECORDING
    assert found.audio_sha256 == hashlib.sha256(data).hexdigest()
    assert found.size_bytes == len(data)
    assert (found.format, found.subtype) == ("WAV", "FLOAT")
    assert (found.sample_rate_hz, found.channels, found.n_samples) == (4_000, 1, n_samples)
    assert found.header_n_samples == n_samples
    assert found.duration_s == n_samples / 4_000
    assert not found.truncated
    assert found.quality.peak_amplitude == float(np.abs(samples).max())


def test_a_longer_recording_is_cut_to_the_reference(reference: Reference) -> None:
    found = process(RECORDING, wav(tone(12_000)), recipe(), reference, Limits())
    frames = naive.frames(tone(12_000), 4_000, 0.01, "dominant").astype(np.float32)
    assert np.array_equal(found.frames, frames[: len(reference)])
    assert found.n_frames_cut == len(frames) - len(reference) > 0
    assert found.placement.offset_frames == 0
    assert found.n_samples == 12_000


def test_the_reference_itself_lies_on_itself(reference: Reference) -> None:
    found = process(RECORDING, wav(tone(8_000, seed=1)), recipe(), reference, Limits())
    assert (found.placement.offset_frames, found.placement.distance) == (0, 0.0)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"this is text and no audio at all", NotAudio),
        (wav(tone(31)), TooShort),
        (wav(np.full(4_000, 3e38, np.float32)), SpectrumOverflow),
    ],
)
def test_what_cannot_be_processed_is_a_named_error(
    reference: Reference, data: bytes, error: type[RecordingError]
) -> None:
    with pytest.raises(error) as caught:
        process(RECORDING, data, recipe(), reference, Limits())
    row = failure(RECORDING, caught.value)
    assert (row.recording, row.stage, row.error_type) == (RECORDING, error.stage, error.error_type)
    assert row.message


def test_a_failures_message_is_one_line() -> None:
    assert failure(RECORDING, TooShort("two\n  lines ")) == Failure(RECORDING, "frames", "too_short", "two lines")


@pytest.mark.parametrize(
    ("uri", "encoded"),
    [
        ("file:///a/b-1_2.~wav", "file:///a/b-1_2.~wav"),
        ("file:///a b/50%/ü#1?.wav", "file:///a%20b/50%25/%C3%BC%231%3F.wav"),
        ('s3://bucket/a%20b/[x]"<y>.wav', "s3://bucket/a%2520b/%5Bx%5D%22%3Cy%3E.wav"),
        ("https://host:81/a%20b/c d,e;f=g.wav", "https://host:81/a%20b/c%20d,e;f=g.wav"),
        ("simplecache::s3://bucket/a b.wav", "simplecache::s3://bucket/a%20b.wav"),
        ("salted:0a1b.wav", "salted:0a1b.wav"),
    ],
)
def test_encode_uri(uri: str, encoded: str) -> None:
    assert encode_uri(uri) == encoded
    if not uri.startswith("https:"):
        assert unquote(encoded) == uri
