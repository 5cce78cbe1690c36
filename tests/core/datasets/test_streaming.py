"""The stream: every labelled row once, as training sees it; seeded orders; bounded memory; nothing heavy sent."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from heartbeat_core import storage
from heartbeat_core.alignment.placement import Reference, pad, place
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.datasets import streaming
from heartbeat_core.datasets.dataset import Dataset, Layout
from heartbeat_core.datasets.streaming import AlignedStream, Batch, Expander, loader
from heartbeat_core.errors import DatasetError
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.training import AlignedFrames
from heartbeat_core.results.schema import recordings_table
from heartbeat_core.storage.uris import ROWS_FOLDER, SUCCESS_NAME
from tests import naive
from tests.core.datasets.test_dataset import LENGTH, PARTS, change_n_rows, make_frames, make_results, write_dataset

N_PARTS = 16
ROWS_A_PART = 4
Seen = list[tuple[bytes, int]]


def write_parts(root: str, layout: Layout) -> None:
    """Write the dataset of ``test_dataset`` (an empty part among its four) and more parts, a row of four unlabelled."""
    write_dataset(root, layout)
    reference, results = make_results()
    rng = np.random.default_rng(1)
    for number in range(len(PARTS), N_PARTS):
        rows = []
        for label in ("normal", None, "murmur", ORIGINAL_LABELS[number % 5]):
            frames = make_frames(int(rng.integers(1, LENGTH)), rng)
            recording = replace(results[0].recording, label=label)
            placement = place(frames, reference, "both")
            rows.append(replace(results[0], recording=recording, frames=frames, placement=placement))
        table = recordings_table(rows, LENGTH if layout == "padded" else None, ORIGINAL_LABELS)
        storage.create(f"{root}/{ROWS_FOLDER}/part-{number:06d}.parquet", to_parquet(table))
    change_n_rows(root, len(results) + ROWS_A_PART * (N_PARTS - len(PARTS)))


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("streaming") / "compact"
    write_parts(root.as_uri(), "compact")
    return str(root)


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("streaming") / "padded"
    write_parts(root.as_uri(), "padded")
    return str(root)


@pytest.fixture(scope="module")
def expected(compact: str) -> Seen:
    """The labelled rows as training without a stream has them, in the order of the parts; no two are equal."""
    dataset = Dataset(compact)
    rows = dataset.rows()
    rows = rows.take(np.flatnonzero(rows.codes >= 0))
    trained = AlignedFrames(rows.frames, rows.offsets, rows.targets, dataset.scaler)
    found = seen((trained[i][0], int(trained[i][1].int().argmax())) for i in range(len(rows)))
    assert len(set(found)) == len(found) == 5 + 3 * (N_PARTS - len(PARTS))
    return found


def seen(items: Iterable[tuple[torch.Tensor, int]]) -> Seen:
    return [(inputs.numpy().tobytes(), int(code)) for inputs, code in items]


def rows_of(batches: Iterable[Batch]) -> Seen:
    return [row for inputs, codes in batches for row in seen(zip(inputs, codes.tolist(), strict=True))]


def pretend(monkeypatch: pytest.MonkeyPatch, number: int, n_workers: int) -> None:
    worker = SimpleNamespace(id=number, num_workers=n_workers)
    monkeypatch.setattr(streaming, "get_worker_info", lambda: worker)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of parts, filled as they are read."""
    read, parts = storage.read, []

    def counting(uri: str) -> bytes:
        if uri.endswith(".parquet"):
            parts.append(uri.rpartition("/")[2])
        return read(uri)

    monkeypatch.setattr(storage, "read", counting)
    return parts


@pytest.mark.parametrize("layout", ["compact", "padded"])
def test_the_rows_are_those_of_training_to_the_bit(layout: str, expected: Seen, request: pytest.FixtureRequest) -> None:
    stream = AlignedStream(request.getfixturevalue(layout), batch_size=8)
    batches = list(stream)
    assert [len(codes) for _, codes in batches] == [8] * 5 + [1]
    for inputs, codes in batches:
        assert inputs.shape == (len(codes), LENGTH * 2)
        assert inputs.dtype == torch.float32
        assert codes.dtype == torch.int64
    assert Counter(rows_of(batches)) == Counter(expected)


def test_a_dataset_on_another_filesystem_gives_the_same_rows(compact: str) -> None:
    write_parts("memory://test-streaming", "compact")
    assert rows_of(AlignedStream("memory://test-streaming", seed=3)) == rows_of(AlignedStream(compact, seed=3))


def test_inputs_are_position_major_hz_before_magnitude_and_scaled_with_the_scaler_given(tmp_path: Path) -> None:
    write_dataset(tmp_path.as_uri(), "compact")
    scaler = Scaler(np.tile([100.0, 1.0], (LENGTH, 1)), np.tile([10.0, 0.5], (LENGTH, 1)))
    rows = Dataset(str(tmp_path)).rows()
    murmur = rows.codes.tolist().index(ORIGINAL_LABELS.index("murmur"))
    plain = naive.pad(rows.frames[murmur], int(rows.offsets[murmur]), LENGTH)
    ((inputs, codes),) = AlignedStream(str(tmp_path), scaler)
    found = inputs[codes == ORIGINAL_LABELS.index("murmur")].numpy()
    np.testing.assert_allclose(found[0, 0::2], (plain[:, 0] - 100) / 10, rtol=1e-5)
    np.testing.assert_allclose(found[0, 1::2], (plain[:, 1] - 1) / 0.5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_expansion_is_the_scaled_padded_row_to_the_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 300))
    scaler = Scaler(rng.normal(0, 300, (length, 2)), rng.choice([1.0, 1e-9, 37.5], (length, 2)))
    scaler.mean[rng.random((length, 2)) < 0.2] = 0.0
    frames = make_frames(int(rng.integers(1, length + 1)), rng)
    offset = int(rng.integers(0, length - len(frames) + 1))
    out = np.full((length, 2), np.nan, np.float32)
    Expander(scaler).expand(frames, offset, out)
    assert out.tobytes() == scaler.transform(pad(frames, offset, length)).tobytes()


@pytest.mark.parametrize("n_workers", [1, 2, 3, 5, N_PARTS, 3 * N_PARTS])
def test_workers_share_the_rows_without_overlap(
    compact: str, expected: Seen, n_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = AlignedStream(compact, seed=5)
    found = []
    for number in range(n_workers):
        pretend(monkeypatch, number, n_workers)
        found += rows_of(stream)
    assert Counter(found) == Counter(expected)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("n_workers", [0, 1, 2, 3])
def test_spawned_workers_give_each_row_once_and_follow_the_epoch(compact: str, expected: Seen, n_workers: int) -> None:
    stream = AlignedStream(compact, batch_size=4)
    batches = loader(stream, n_workers)
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append(rows_of(batches))
        assert Counter(orders[-1]) == Counter(expected)
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]
    if n_workers <= 1:
        assert orders[0] == rows_of(AlignedStream(compact, batch_size=4))


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_more_processes_than_parts(tmp_path: Path) -> None:
    write_dataset(tmp_path.as_uri(), "compact")
    stream = AlignedStream(str(tmp_path))
    assert len(PARTS) < 5
    assert Counter(rows_of(loader(stream, 5))) == Counter(rows_of(stream))
    assert len(rows_of(stream)) == 5


def test_a_part_that_breaks_off_is_named(tmp_path: Path) -> None:
    write_dataset(tmp_path.as_uri(), "compact")
    stream = AlignedStream(str(tmp_path))
    part = tmp_path / ROWS_FOLDER / "part-000002.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"part-000002\.parquet: not a Parquet file"):
        list(stream)


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else(
    compact: str, padded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = count_reads(monkeypatch)
    found: dict[tuple[int, int], Seen] = {}
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1, 2):
            stream = AlignedStream(compact, seed=seed)
            stream.set_epoch(epoch)
            parts.clear()
            found[seed, epoch] = rows_of(stream)
            orders[seed, epoch] = list(parts)
            np.random.seed(epoch)
            again = AlignedStream(padded, seed=seed)
            again.set_epoch(epoch)
            assert rows_of(again) == found[seed, epoch]
    assert all(sorted(order) == sorted(orders[0, 0]) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 6
    assert len({tuple(order) for order in found.values()}) == 6


def test_rows_are_mixed_within_the_buffer_and_nowhere_else(compact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = count_reads(monkeypatch)
    dataset = Dataset(compact)
    part_of = {}
    for number, part in enumerate(dataset.iter_parts()):
        inputs = dataset.scaler.transform(part.padded(LENGTH))
        part_of.update({row.tobytes(): number for row in inputs})
    stream = AlignedStream(dataset, batch_size=1, buffer_parts=4)
    parts.clear()
    n_read, came_from = [], []
    for inputs, _ in stream:
        n_read.append(len(parts))
        came_from.append(part_of[inputs.numpy().tobytes()])
    assert set(n_read) == {4, 8, 12, 16}
    for begin in range(0, N_PARTS, 4):
        buffer = [int(name[5:11]) for name in parts[begin : begin + 4]]
        given = [number for number, n in zip(came_from, n_read, strict=True) if n == begin + 4]
        assert set(given) <= set(buffer)
        assert sum(a != b for a, b in pairwise(given)) >= 4


def test_memory_holds_a_buffer_and_not_the_dataset(tmp_path: Path) -> None:
    write_dataset(tmp_path.as_uri(), "compact")
    rng = np.random.default_rng(2)
    _, results = make_results()
    long = Reference(make_frames(100_000, rng))
    row_bytes = long.frames.nbytes
    rows = [replace(results[0], frames=long.frames, placement=place(long.frames, long, "both"))] * 4
    for number in range(20):
        name = f"{ROWS_FOLDER}/part-{number + 10:06d}.parquet"
        storage.create(f"{tmp_path.as_uri()}/{name}", to_parquet(recordings_table(rows, None, ORIGINAL_LABELS)))
    change_n_rows(tmp_path.as_uri(), len(results) + 80)
    stream = AlignedStream(str(tmp_path), buffer_parts=2)
    tracemalloc.start()
    n_rows = sum(1 for _ in stream._rows(Dataset(str(tmp_path)).part_uris(), "compact", rng))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_rows == 85
    # Two parts of four rows, and the bytes of one file.
    assert peak < 14 * row_bytes


def test_little_is_sent_to_a_worker_and_nothing_that_is_open(compact: str) -> None:
    stream = AlignedStream(Dataset(compact), seed=7)
    before = rows_of(stream)
    sent = pickle.dumps(stream)
    assert len(sent) < 1_000
    assert rows_of(pickle.loads(sent)) == before


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"buffer_parts": 0}, {"seed": -1}])
def test_numbers_out_of_range(compact: str, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        AlignedStream(compact, **arguments)
    with pytest.raises(ValueError, match="epoch -1 is negative"):
        AlignedStream(compact).set_epoch(-1)


def test_a_scaler_of_another_length(compact: str) -> None:
    with pytest.raises(ValueError, match=f"a scaler of 3 positions does not fit a dataset of {LENGTH}"):
        AlignedStream(compact, Scaler(np.zeros((3, 2)), np.ones((3, 2))))


def test_an_unfinished_dataset_is_refused_before_it_is_iterated(tmp_path: Path) -> None:
    write_dataset(tmp_path.as_uri(), "compact")
    (tmp_path / SUCCESS_NAME).unlink()
    with pytest.raises(DatasetError, match="is not a finished dataset"):
        AlignedStream(str(tmp_path))


def test_a_part_that_is_missing_is_noticed(tmp_path: Path) -> None:
    write_dataset(tmp_path.as_uri(), "compact")
    stream = AlignedStream(str(tmp_path))
    (tmp_path / ROWS_FOLDER / "part-000002.parquet").unlink()
    with pytest.raises(DatasetError, match=rf"^{tmp_path}: has \d rows and not \d: files of recordings/ are missing: "):
        AlignedStream(str(tmp_path))
    with pytest.raises(DatasetError, match=rf"^{tmp_path}: had 4 parts, and has 3 now$"):
        list(stream)


def test_a_part_whose_footer_is_damaged_is_named_at_once(tmp_path: Path) -> None:
    write_dataset(tmp_path.as_uri(), "compact")
    part = tmp_path / ROWS_FOLDER / "part-000002.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=rf"^{part}: not a Parquet file"):
        AlignedStream(str(tmp_path))


def test_a_dataset_without_parts_has_no_batches(tmp_path: Path) -> None:
    write_dataset(tmp_path.as_uri(), "compact")
    for part in (tmp_path / ROWS_FOLDER).iterdir():
        part.unlink()
    change_n_rows(tmp_path.as_uri(), 0)
    assert list(AlignedStream(str(tmp_path))) == []
