"""Reading an aligned dataset: the same rows from both layouts, and a named error for whatever is not one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from heartbeat_core import storage
from heartbeat_core.alignment.placement import Frames, Reference, place
from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.audio.quality import Quality
from heartbeat_core.datasets.dataset import (
    FACTS_NAME,
    REFERENCE_NAME,
    SCALER_NAME,
    Dataset,
    DatasetFacts,
    Layout,
    Rows,
)
from heartbeat_core.errors import DatasetError
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.schema import recordings_table
from heartbeat_core.storage.uris import ROWS_FOLDER, SUCCESS_NAME
from tests import naive

LENGTH = 12
LABELLING: list[tuple[str | None, str | None]] = [
    ("normal", "007"),
    ("murmur", "7"),
    (None, None),
    ("extrastole", None),
    (None, "007"),
    ("artifact", "7"),
    ("normal", None),
]
DEVICES: list[str | None] = ["phone", None, "2000 Hz", None, "phone", None, None]
PARTS = [[0, 1, 2], [], [3, 4], [5, 6]]


def make_frames(n_frames: int, rng: np.random.Generator) -> Frames:
    return (rng.random((n_frames, 2)) * [900, 0.1]).astype(np.float32)


def make_results() -> tuple[Reference, list[RecordingResult]]:
    """Seven aligned recordings, one as long as the reference, one with true zeros at its ends."""
    rng = np.random.default_rng(0)
    reference = Reference(make_frames(LENGTH, rng))
    results = []
    for number, (label, patient_id) in enumerate(LABELLING):
        frames = make_frames([5, 1, LENGTH, 7, 3, 2, 9][number], rng)
        if number == 3:
            frames[0] = frames[-1] = 0
        results.append(
            RecordingResult(
                recording=Recording(
                    f"file:///r/{number}.wav", f"{number}.wav", 1, None, label, patient_id, DEVICES[number]
                ),
                # The last two hold the same bytes.
                audio_sha256=f"{min(number, 5):064x}",
                size_bytes=1,
                format="WAV",
                subtype="PCM_16",
                sample_rate_hz=2_000 if number == 1 else 4_000,
                channels=1,
                n_samples=1,
                duration_s=1.0,
                header_n_samples=1,
                truncated=False,
                quality=Quality(0, 0, 0, 0, 0),
                frames=frames,
                n_frames_cut=0,
                placement=place(frames, reference, "both"),
            )
        )
    return reference, results


def write_dataset(root: str, layout: Layout) -> None:
    reference, results = make_results()
    fit = ScalerFit(LENGTH)
    for one in results:
        fit.add(one.frames, one.placement.offset_frames)
    scaler = fit.finish()
    for number, part in enumerate(PARTS):
        padded_length = LENGTH if layout == "padded" else None
        table = recordings_table([results[i] for i in part], padded_length, ORIGINAL_LABELS)
        storage.create(f"{root}/{ROWS_FOLDER}/part-{number:06d}.parquet", to_parquet(table))
    facts = DatasetFacts(
        recipe=Recipe(name="x"),
        layout=layout,
        length_frames=LENGTH,
        reference_recording_id=results[2].recording.recording_id,
        reference_audio_sha256=results[2].audio_sha256,
        reference_sample_rate_hz=4_000,
        n_rows=len(results),
        n_failures=0,
        rows_by_label={"normal": 2},
        run_id="run",
    )
    arrays = {"scaler.mean": scaler.mean, "scaler.scale": scaler.scale}
    storage.create(f"{root}/{REFERENCE_NAME}", safetensors.numpy.save({"reference.frames": reference.frames}))
    storage.create(f"{root}/{SCALER_NAME}", safetensors.numpy.save(arrays))
    storage.create(f"{root}/{FACTS_NAME}", json.dumps(facts.model_dump(mode="json")).encode())
    storage.create(f"{root}/{SUCCESS_NAME}", b"")


def change_n_rows(root: str, n_rows: int) -> None:
    """Make a dataset say that it has another number of rows."""
    facts = json.loads(storage.read(f"{root}/{FACTS_NAME}"))
    storage.put(f"{root}/{FACTS_NAME}", json.dumps(facts | {"n_rows": n_rows}).encode())


@pytest.fixture
def compact(tmp_path: Path) -> Path:
    """A compact dataset that a test may damage."""
    write_dataset(f"file://{tmp_path}/compact", "compact")
    return tmp_path / "compact"


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    """The same as padded layout."""
    write_dataset(f"file://{tmp_path}/padded", "padded")
    return tmp_path / "padded"


def assert_same_rows(a: Rows, b: Rows) -> None:
    assert a.recording_id == b.recording_id
    assert a.audio_sha256 == b.audio_sha256
    assert a.groups == b.groups
    assert a.devices == b.devices
    assert np.array_equal(a.offsets, b.offsets)
    assert np.array_equal(a.codes, b.codes)
    for ours, theirs in zip(a.frames, b.frames, strict=True):
        assert ours.dtype == theirs.dtype == np.float32
        assert ours.flags.c_contiguous
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("layout", ["compact", "padded"])
def test_labelled_rows_are_those_with_a_label(layout: Layout, tmp_path: Path) -> None:
    write_dataset(f"file://{tmp_path}/x", layout)
    _, results = make_results()
    dataset = Dataset(str(tmp_path / "x"))
    labelled, rows = dataset.labelled(), dataset.rows()
    kept = np.flatnonzero(rows.codes >= 0).tolist()
    assert 0 < len(labelled) == len(kept) < len(rows)
    assert labelled.recording_id == [rows.recording_id[i] for i in kept]
    assert labelled.uri == [results[i].recording.uri for i in kept]
    assert labelled.audio_sha256 == [rows.audio_sha256[i] for i in kept]
    assert labelled.codes.tolist() == rows.codes[kept].tolist()
    assert labelled.codes.dtype == np.int64
    assert labelled.groups == [rows.groups[i] for i in kept]
    assert labelled.devices == [rows.devices[i] for i in kept]


def test_rows_are_what_was_written(compact: Path) -> None:
    reference, results = make_results()
    dataset = Dataset(compact)
    rows = dataset.rows()
    assert len(rows) == 7
    assert rows.recording_id == [one.recording.recording_id for one in results]
    assert rows.audio_sha256 == [one.audio_sha256 for one in results]
    assert rows.codes.tolist() == [-1 if label is None else ORIGINAL_LABELS.index(label) for label, _ in LABELLING]
    assert rows.codes.dtype == rows.offsets.dtype == np.int64
    assert rows.offsets.tolist() == [one.placement.offset_frames for one in results]
    for frames, one in zip(rows.frames, results, strict=True):
        assert np.array_equal(frames, one.frames)
    assert np.array_equal(dataset.reference.frames, reference.frames)
    mean, scale = naive.scaler([(one.frames, one.placement.offset_frames) for one in results], LENGTH)
    np.testing.assert_allclose(dataset.scaler.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(dataset.scaler.scale, scale, rtol=1e-9)
    assert dataset.facts.n_rows == 7


def test_both_layouts_give_equal_rows(compact: Path, padded: Path) -> None:
    assert_same_rows(Dataset(str(compact)).rows(), Dataset(str(padded)).rows())


def test_a_dataset_on_another_filesystem_gives_equal_rows(compact: Path) -> None:
    write_dataset("memory://test-dataset", "compact")
    assert_same_rows(Dataset(str(compact)).rows(), Dataset("memory://test-dataset/").rows())


def test_groups_are_patients_and_else_the_content(compact: Path) -> None:
    groups = Dataset(str(compact)).rows().groups
    contents = [f"recording:{number:064x}" for number in range(6)]
    # A recording twice in the set, once under another name, must not be on both sides of a split.
    assert groups == [
        *("patient:007", "patient:7", contents[2], contents[3]),
        *("patient:007", "patient:7", contents[5]),
    ]


def test_devices_are_what_the_labels_say_and_else_the_sample_rate(compact: Path) -> None:
    devices = Dataset(str(compact)).rows().devices
    assert devices == ["phone", "2000 Hz", "2000 Hz", "4000 Hz", "phone", "4000 Hz", "4000 Hz"]


def test_parts_come_one_by_one_in_order_and_may_be_empty(compact: Path) -> None:
    dataset = Dataset(str(compact))
    assert [uri.rpartition("/")[2] for uri in dataset.part_uris()] == [f"part-{i:06d}.parquet" for i in range(4)]
    assert [len(part) for part in dataset.iter_parts()] == [3, 0, 2, 2]
    (compact / ROWS_FOLDER / ".part-000009.parquet.0123.tmp").write_bytes(b"left behind")
    assert len(Dataset(str(compact)).rows()) == 7


def test_a_dataset_without_rows(compact: Path) -> None:
    for path in (compact / ROWS_FOLDER).iterdir():
        path.unlink()
    change_n_rows(compact.as_uri(), 0)
    rows = Dataset(str(compact)).rows()
    assert len(rows) == 0
    assert rows.padded(LENGTH).shape == (0, LENGTH, 2)
    assert rows.codes.dtype == np.int64


def test_a_dataset_whose_part_is_lost_is_refused(compact: Path) -> None:
    (compact / ROWS_FOLDER / "part-000000.parquet").unlink()
    dataset = Dataset(str(compact))
    told = rf"{compact}: has {7 - len(PARTS[0])} rows and not 7: files of recordings/ are missing"
    for read in (dataset.rows, dataset.labelled, lambda: list(dataset.iter_parts())):
        with pytest.raises(DatasetError, match=told):
            read()


def test_a_dataset_with_rows_of_another_is_refused(compact: Path) -> None:
    shutil.copy(compact / ROWS_FOLDER / "part-000000.parquet", compact / ROWS_FOLDER / "part-000099.parquet")
    with pytest.raises(
        DatasetError, match=f"has {7 + len(PARTS[0])} rows and not 7: files of recordings/ are not its own"
    ):
        Dataset(str(compact)).labelled()


def test_padded_rows_are_the_plain_copies(compact: Path) -> None:
    rows = Dataset(str(compact)).rows()
    padded: NDArray[np.float32] = rows.padded(LENGTH)
    assert padded.shape == (7, LENGTH, 2)
    assert padded.dtype == np.float32
    for found, frames, offset in zip(padded, rows.frames, rows.offsets.tolist(), strict=True):
        assert np.array_equal(found, naive.pad(frames, offset, LENGTH))


def test_take(compact: Path) -> None:
    rows = Dataset(str(compact)).rows()
    taken = rows.take(np.array([4, 0]))
    assert taken.recording_id == [rows.recording_id[4], rows.recording_id[0]]
    assert taken.codes.tolist() == [-1, 0]
    assert taken.groups == ["patient:007", "patient:007"]
    assert rows.take(np.array([3, 1, 0])).devices == ["4000 Hz", "2000 Hz", "phone"]
    assert np.array_equal(taken.frames[0], rows.frames[4])
    assert len(rows.take(np.array([], np.int64))) == 0


def test_the_fingerprint_is_of_content_and_labels_alone(compact: Path) -> None:
    rows = Dataset(str(compact)).rows()
    before = rows.fingerprint()
    assert rows.take(np.arange(7)[::-1]).fingerprint() == before
    assert replace(rows, recording_id=["x"] * 7, groups=["y"] * 7, devices=["z"] * 7).fingerprint() == before
    assert rows.take(np.arange(6)).fingerprint() != before
    other_label, other_content = rows.codes.copy(), list(rows.audio_sha256)
    other_label[2], other_content[0] = 1, "f" * 64
    assert replace(rows, targets=Targets.of_codes(other_label)).fingerprint() != before
    assert replace(rows, audio_sha256=other_content).fingerprint() != before


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        Dataset(str(path)).rows()
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", [FACTS_NAME, SUCCESS_NAME, REFERENCE_NAME, SCALER_NAME])
def test_an_unfinished_dataset_names_what_is_missing_and_what_to_do(compact: Path, name: str) -> None:
    (compact / name).unlink()
    text = refusal(compact)
    assert f"is not a finished dataset ({compact}/{name} is not there)" in text
    assert "heartbeat build-dataset" in text


def test_nothing_there(tmp_path: Path) -> None:
    assert "is not a finished dataset" in refusal(tmp_path / "nothing")


def edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / FACTS_NAME).read_bytes())
        change(content)
        (folder / FACTS_NAME).write_text(json.dumps(content))

    return apply


def write(name: str, data: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        write(FACTS_NAME, b"{"),
        write(FACTS_NAME, b"[]"),
        write(FACTS_NAME, b"\xff"),
        edit(lambda facts: facts.update(colour="blue")),
        edit(lambda facts: facts.update(format_version=3)),
        edit(lambda facts: facts.update(format="heartbeat-bundle")),
        edit(lambda facts: facts.pop("layout")),
        edit(lambda facts: facts.update(layout="folded")),
        write(REFERENCE_NAME, b""),
        write(REFERENCE_NAME, b"\xff" * 50),
        write(REFERENCE_NAME, safetensors.numpy.save({"frames": np.zeros((3, 2), np.float32)})),
        write(REFERENCE_NAME, safetensors.numpy.save({"reference.frames": np.zeros((3, 5), np.float32)})),
        write(SCALER_NAME, b"not safetensors"),
        write(SCALER_NAME, safetensors.numpy.save({"scaler.mean": np.zeros((3, 2))})),
    ],
)
def test_damaged_facts_and_arrays(compact: Path, damage: Callable[[Path], None]) -> None:
    damage(compact)
    assert "not a dataset that this program reads: " in refusal(compact)


@pytest.mark.parametrize("data", [b"", b"PAR1", to_parquet(pa.table({"recording_id": ["x"]}))])
def test_a_damaged_part_is_named(compact: Path, data: bytes) -> None:
    part = compact / ROWS_FOLDER / "part-000002.parquet"
    part.write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        Dataset(str(compact)).rows()
    assert str(caught.value).startswith(f"{part}: ")
    assert "\n" not in str(caught.value)


def test_a_part_that_breaks_off_is_named(compact: Path) -> None:
    part = compact / ROWS_FOLDER / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert f"{part}: not a Parquet file: " in refusal(compact)


def test_the_name_of_a_folder_in_a_bucket_has_no_slash() -> None:
    write_dataset("memory://bucket/ward", "compact")
    for uri in ("memory://bucket/ward", "memory://bucket/ward/"):
        dataset = Dataset(uri)
        assert (dataset.name, set(dataset.labelled().databases)) == ("ward", {"ward"})
