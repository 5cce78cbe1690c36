"""What the drivers' tests share: recordings that are made, files that are broken, tables that are read back."""

from __future__ import annotations

import csv
import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
import soundfile
from numpy.typing import NDArray

from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.features.extract import compute_features, join_vectors
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.recordings.recording import Recording

COUNTS = {"normal": 8, "extrahls": 6, "murmur": 6, "artifact": 5, "extrastole": 6}
"""Recordings of each label in the library."""

RATES_HZ = (4_000, 2_000, 8_000)

LIMITS = {"max_object_bytes": 200_000, "max_duration_s": 30.0}
"""Limits under which two of the broken files are too large."""


def audio_bytes(
    samples: NDArray[Any], sample_rate_hz: int = 4_000, file_format: str = "WAV", subtype: str | None = None
) -> bytes:
    """Encode samples as a file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate_hz, format=file_format, subtype=subtype)
    return buffer.getvalue()


def heart_bytes(label: str, seed: int, duration_s: float = 1.5, sample_rate_hz: int = 4_000) -> bytes:
    """Return one synthetic recording as a WAV file."""
    rng = np.random.default_rng((ORIGINAL_LABELS.index(label), seed))
    return audio_bytes(synthesise(label, sample_rate_hz, duration_s, rng), sample_rate_hz)


def write_library(folder: Path) -> Path:
    """Write ``<label>/<label>_NN.wav`` and ``labels.csv`` like PASCAL's; two recordings a patient, some unknown.

    Every other recording names its device.
    """
    rows = []
    for label, count in COUNTS.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            name = f"{label}/{label}_{number:02d}.wav"
            rate = RATES_HZ[number % len(RATES_HZ)]
            duration_s = 1.0 + 0.15 * number + 0.05 * ORIGINAL_LABELS.index(label)
            (folder / name).write_bytes(heart_bytes(label, number, duration_s, rate))
            patient = "" if number == count - 1 else f"{label[:4]}-{number // 2:03d}"
            rows.append((name, label, "", patient, "phone" if number % 2 else ""))
    write_csv(folder / "labels.csv", ("path", "label", "sublabel", "patient_id", "device"), rows)
    return folder


WARD_ROWS = 60
"""Recordings of the ward, as many of each label."""


def write_ward(folder: Path) -> Path:
    """Write ``NN.wav`` and ``labels.csv``: three recordings a patient, some of no known one; a device for most."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(WARD_ROWS):
        label, nth = ORIGINAL_LABELS[number % len(ORIGINAL_LABELS)], number // len(ORIGINAL_LABELS)
        rate = RATES_HZ[nth % 2]
        (folder / f"{number:02d}.wav").write_bytes(heart_bytes(label, 100 + nth, 1.2 + 0.02 * nth, rate))
        patient = "" if nth >= 10 else f"{label}-{nth // 3}"
        device = "" if nth == 4 else ("phone", "stethoscope")[(nth + number % len(ORIGINAL_LABELS)) % 3 == 0]
        rows.append((f"{number:02d}.wav", label, patient, device))
    write_csv(folder / "labels.csv", ("path", "label", "patient_id", "device"), rows)
    return folder


def write_many(folder: Path, count: int) -> None:
    """Write short recordings, no two of them equal."""
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"{i:05d}.wav").write_bytes(heart_bytes(ORIGINAL_LABELS[i % 5], i, 0.6, 2_000))


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def broken_bytes() -> dict[str, tuple[bytes, str, str]]:
    """Return broken files of many kinds: name to ``(bytes, stage, error_type)`` under ``LIMITS``."""
    rng = np.random.default_rng(7)
    tone = np.sin(np.arange(4_000) * 0.1).astype(np.float32)
    whole = audio_bytes(tone)
    nan, infinite = tone.copy(), tone.copy()
    nan[2_000], infinite[17] = np.nan, np.inf
    many = np.zeros((400, 17), np.float32)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(13)
    matlab, archive = io.BytesIO(), io.BytesIO()
    scipy.io.savemat(matlab, {"pcg": tone[:100]})
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.wav", whole)
    return {
        "empty.wav": (b"", "decode", "empty"),
        "no_samples.wav": (audio_bytes(np.zeros(0)), "decode", "empty"),
        "text.wav": (b"ring the patient again on Monday\n", "decode", "not_audio"),
        "utf16.wav": ("kein Ton".encode("utf-16"), "decode", "not_audio"),
        "jpeg.wav": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + rng.bytes(3_000), "decode", "not_audio"),
        "png.flac": (png, "decode", "not_audio"),
        "pdf.mp3": (b"%PDF-1.7\n" + bytes(500), "decode", "not_audio"),
        "zip.wav": (archive.getvalue(), "decode", "not_audio"),
        "gzip.wav": (b"\x1f\x8b\x08\x00" + zlib.compress(whole), "decode", "not_audio"),
        "matlab.wav": (matlab.getvalue(), "decode", "not_audio"),
        "page.html.mp3": (b"<!doctype html><title>404</title>", "decode", "not_audio"),
        "answer.json.flac": (b'{"error": "AccessDenied"}', "decode", "not_audio"),
        "zeros.wav": (bytes(5_000), "decode", "not_audio"),
        "noise.ogg": (rng.bytes(5_000), "decode", "not_audio"),
        "noise.flac": (b"fLaC" + rng.bytes(64), "decode", "truncated"),
        "gsm.wav": (audio_bytes(tone, 8_000, "WAV", "GSM610"), "decode", "not_audio"),
        "riff_only.wav": (whole[:12], "decode", "truncated"),
        "half_header.wav": (whole[:36], "decode", "truncated"),
        "header_only.wav": (whole[:44], "decode", "truncated"),
        "half_header.aiff": (audio_bytes(tone, file_format="AIFF")[:30], "decode", "truncated"),
        "half_header.flac": (audio_bytes(tone, file_format="FLAC")[:20], "decode", "truncated"),
        "half_header.au": (audio_bytes(tone, file_format="AU")[:20], "decode", "truncated"),
        "nan.wav": (audio_bytes(nan, subtype="FLOAT"), "decode", "non_finite"),
        "infinite.wav": (audio_bytes(infinite, subtype="DOUBLE"), "decode", "non_finite"),
        "one_sample.wav": (audio_bytes(tone[:1]), "frames", "too_short"),
        "too_short.wav": (audio_bytes(tone[:200]), "frames", "too_short"),
        "many_channels.wav": (audio_bytes(many), "decode", "too_large"),
        "slow.wav": (audio_bytes(tone, 500), "decode", "unsupported_sample_rate"),
        "fast.wav": (audio_bytes(tone, 400_000), "decode", "too_large"),
        "long.wav": (audio_bytes(np.zeros(31_000), 1_000, subtype="PCM_U8"), "decode", "too_large"),
        "heavy.wav": (audio_bytes(rng.uniform(-1, 1, 110_000), 8_000), "read", "too_large"),
    }


def write_broken(folder: Path) -> dict[str, tuple[str, str]]:
    """Write the broken files and what only a file system can break; returns ``name -> (stage, error_type)``."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, (data, stage, error_type) in broken_bytes().items():
        (folder / name).write_bytes(data)
        expected[name] = (stage, error_type)
    (folder / "dangling.wav").symlink_to(folder / "gone.wav")
    expected["dangling.wav"] = ("read", "not_found")
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    expected["loop.wav"] = ("read", "unreadable")
    if os.geteuid() != 0:
        (folder / "forbidden.wav").write_bytes(audio_bytes(np.zeros(4_000)))
        (folder / "forbidden.wav").chmod(0)
        expected["forbidden.wav"] = ("read", "unreadable")
    # A folder is walked, whatever its name; a manifest's row that names one fails.
    (folder / "folder.wav").mkdir()
    return expected


def read_table(out: Path | str, name: str) -> pa.Table:
    """Read all parts of a table, in order; their schemas must be equal, metadata included but for the drivers' own."""
    parts = [pq.ParquetFile(path).read() for path in sorted(Path(out, name).glob("*.parquet"))]
    assert parts
    for part in parts[1:]:
        assert _of_all_drivers(part.schema).equals(_of_all_drivers(parts[0].schema), check_metadata=True)
    return pa.concat_tables(parts)


OF_A_DRIVER = ("command", "configuration", "packages", "commit", "inputs", "cluster", "started_at")
"""Entries in the metadata of a part in which the drivers of a job may differ."""


def _of_all_drivers(schema: pa.Schema) -> pa.Schema:
    entries = schema.metadata or {}
    return schema.with_metadata(
        {key: value for key, value in entries.items() if key.decode().removeprefix("heartbeat.") not in OF_A_DRIVER}
    )


def read_rows(out: Path | str, name: str) -> list[dict[str, Any]]:
    """Return all rows of a table."""
    rows: list[dict[str, Any]] = read_table(out, name).to_pylist()
    return rows


def comparable(out: Path | str, name: str) -> dict[str, dict[str, Any]]:
    """Return a table's rows by URI, without what names the run and the moment."""
    rows = read_rows(out, name)
    for row in rows:
        for column in ("run_id", "processed_at", "failed_at"):
            row.pop(column, None)
    found = {row["uri"]: row for row in rows}
    assert len(found) == len(rows), "a recording has two rows"
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder with their bytes, but for the report and the history, which tell times."""
    told = ("_report/", "report.", "_history/")
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(told)}


def recording_of(path: Path) -> Recording:
    """Return a local file as it would be listed when named outright."""
    return Recording(f"file://{path}", path.name, path.stat().st_size)


@dataclass
class Gate:
    """Holds the answers for some files back until it is opened; ``asked`` says that one was wanted."""

    opened: threading.Event
    asked: threading.Event


@contextmanager
def web_server(folder: Path, is_gated: Callable[[str], bool] = lambda path: False) -> Iterator[tuple[str, Gate]]:
    """Serve a folder over HTTP; yields its address and the gate before the files that ``is_gated`` names."""
    gate = Gate(threading.Event(), threading.Event())

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if is_gated(self.path):
                gate.asked.set()
                gate.opened.wait(120)
            # A client that was killed meanwhile does not wait for its answer.
            try:
                super().do_GET()
            except ConnectionError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", gate
    finally:
        gate.opened.set()
        server.shutdown()
        server.server_close()
        thread.join()


def environment() -> dict[str, str]:
    """Return the environment of a process that imports this working tree, with as many threads as a user's."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return {**inherited, "PYTHONPATH": str(Path(__file__).parents[1])}


def start_command(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """Start ``heartbeat`` in a process group of its own, as a terminal's foreground job."""
    return subprocess.Popen(
        [sys.executable, "-c", "from jobs.cli.__main__ import main; main()", *map(str, arguments)],
        cwd=cwd,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[Any], timeout_s: float = 90) -> None:
    """Poll until something holds; a process that ends before, or time that runs out, is an error."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if process.poll() is not None:
            out, error = process.communicate()
            raise AssertionError(f"the command ended early: {out}\n{error}")
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise AssertionError("nothing happened in time")
        time.sleep(0.02)


def statistics_of(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Return [392] float32, the feature set ``statistics``."""
    return compute_features(samples, sample_rate_hz, ["statistics"])["statistics"]


def both_of(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Return [652] float32, the feature sets ``statistics`` and ``cycles`` side by side."""
    return join_vectors(compute_features(samples, sample_rate_hz, ["statistics", "cycles"]), "statistics+cycles")


EXTREME_SOUNDS = ("noise", "constant", "clipped", "tone", "click", "growing")


def extreme_sound(sound: str, n_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Return [n_samples] float64 of a sound of ``EXTREME_SOUNDS``, up to full scale."""
    rng, t = np.random.default_rng(n_samples), np.arange(n_samples) / sample_rate_hz
    return {
        "noise": lambda: rng.uniform(-1, 1, n_samples),
        "constant": lambda: np.ones(n_samples),
        "clipped": lambda: np.sign(rng.normal(size=n_samples)),
        "tone": lambda: np.sin(2 * np.pi * 100 * t),
        "click": lambda: (np.arange(n_samples) == n_samples // 2).astype(float),
        "growing": lambda: np.exp(60 * (t / max(t.max(initial=0), 1e-9) - 1)),
    }[sound]()
