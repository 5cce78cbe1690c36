"""A results folder read back: each recording once, whatever updates did to it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from heartbeat_core import Results
from heartbeat_core.errors import InputError
from heartbeat_core.formats.parquet import to_parquet


def write(folder: Path, table: str, part: int, **columns: list[object]) -> None:
    (folder / table).mkdir(exist_ok=True)
    (folder / table / f"part-{part:06d}.parquet").write_bytes(to_parquet(pa.table(columns)))


@pytest.fixture
def updated(tmp_path: Path) -> Path:
    """A folder in which recording b was taken again, c failed at last, and d was mended at last."""
    write(tmp_path, "predictions", 0, recording_id=["a", "b", "c"], generation=[0, 0, 0], label=["x", "old", "gone"])
    write(tmp_path, "predictions", 1, recording_id=["b", "d"], generation=[1, 2], label=["new", "mended"])
    write(tmp_path, "features", 0, recording_id=["a", "b", "c"], generation=[0, 0, 0], hz=[1.0, 2.0, 3.0])
    write(tmp_path, "features", 1, recording_id=["b", "d"], generation=[1, 2], hz=[20.0, 40.0])
    write(tmp_path, "failures", 0, recording_id=["c", "d"], generation=[1, 0], error_type=["timeout", "empty"])
    (tmp_path / "predictions" / ".part-000002.parquet.1f.tmp").write_bytes(b"of a writer that was killed")
    return tmp_path


def test_each_recording_is_in_one_table_by_its_newest_row(updated: Path) -> None:
    results = Results(updated)
    assert sorted(results.predictions(["recording_id", "label"]).to_pylist(), key=lambda row: row["recording_id"]) == [
        {"recording_id": "a", "label": "x"},
        {"recording_id": "b", "label": "new"},
        {"recording_id": "d", "label": "mended"},
    ]
    assert results.features(["hz"]).column("hz").to_pylist() == [1.0, 20.0, 40.0]
    assert results.failures().to_pylist() == [{"recording_id": "c", "generation": 1, "error_type": "timeout"}]
    assert [uri.rpartition("/")[2] for uri in results.part_uris("predictions")] == [
        "part-000000.parquet",
        "part-000001.parquet",
    ]
    for ask in (results.part_uris, results.schema):
        with pytest.raises(InputError, match="no table 'segments': there are predictions, features, failures; 'sql'"):
            ask("segments")


def test_what_is_not_there_is_told(updated: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="holds no results: 'heartbeat classify' writes them"):
        Results(str(tmp_path_factory.mktemp("empty")))
    with pytest.raises(InputError, match="no column murmur"):
        Results(str(updated)).predictions(["murmur"])
    begun = tmp_path_factory.mktemp("begun")
    write(begun, "failures", 0, recording_id=["a"], generation=[0])
    with pytest.raises(InputError, match="the table 'predictions' does not exist yet"):
        Results(str(begun)).predictions()
    assert Results(str(begun)).failures().num_rows == 1
