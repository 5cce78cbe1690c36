"""The folder of a database, on disk or in a store, and the registry."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import fsspec
import pytest

from heartbeat_core import registry
from heartbeat_core.databases.catalogue import DATABASES
from heartbeat_core.databases.database import Database, DatabaseTable
from heartbeat_core.databases.folder import Folder
from heartbeat_core.errors import InputError
from heartbeat_core.registry import Registry
from tests.layouts import write_cinc2016, write_circor, write_pascal

WRITERS = {"circor": write_circor, "cinc2016": write_cinc2016, "pascal": write_pascal}


@pytest.mark.parametrize("name", WRITERS)
def test_a_store_gives_the_same_table_as_the_disk(tmp_path: Path, name: str) -> None:
    folder = WRITERS[name](tmp_path / name)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), f"/databases/{name}", recursive=True)
    database = DATABASES.get(name)
    try:
        assert database.read(f"memory://databases/{name}") == database.read(str(folder))
        first = next(path for path in Folder(str(folder)) if path.endswith((".hea", "set_a.csv")))
        memory.rm(f"/databases/{name}/{first}")
        with pytest.raises(InputError, match=f"^memory://databases/{name}/{first}: expected this file"):
            database.read(f"memory://databases/{name}")
    finally:
        memory.rm("/databases", recursive=True)


@pytest.mark.parametrize(
    ("name", "target", "told"),
    [
        ("training_data/101.txt", "nowhere", "it is listed and not there: is it a broken link?"),
        ("training_data/101.txt", "101.txt", "cannot be read: Too many levels"),
        ("training_data.csv", "training_data.csv", "cannot be read: Too many levels"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, target: str, told: str) -> None:
    folder = write_circor(tmp_path / "circor")
    path = folder / name
    path.unlink()
    path.symlink_to(target)
    with pytest.raises(InputError) as caught:
        DATABASES.get("circor").read(str(folder))
    assert str(caught.value).startswith(f"{path}: {told}")


def test_a_file_for_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "circor.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"circor.zip: cannot be listed: Not a directory"):
        DATABASES.get("circor").read(str(tmp_path / "circor.zip"))


@pytest.mark.parametrize("one", DATABASES.all(), ids=lambda one: one.name)
def test_a_database_describes_itself_in_a_line(one: Database) -> None:
    assert len(one.description.splitlines()) == 1
    assert one.label_columns


class Ward:
    """A database of another package."""

    name = "ward"
    description = "Recordings of one ward"
    label_columns = ("diagnosis",)

    def read(self, folder: str) -> DatabaseTable:
        rows = [{"path": path, "diagnosis": "AS", "patient_id": None} for path in Folder(folder)]
        return DatabaseTable.of_rows(rows, notes=["made up"])


WARD = Ward()


def test_another_package_adds_a_database_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("ward", "tests.core.databases.test_folder:WARD", "heartbeat.databases")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "heartbeat.databases" else [])
    # The group is that of the registry which the commands use.
    databases: Registry[Database] = Registry("database", DATABASES._group, DATABASES.all())
    (tmp_path / "a.wav").write_bytes(b"")
    table = databases.get("ward").read(str(tmp_path))
    assert table.columns == {"path": ["a.wav"], "diagnosis": ["AS"], "patient_id": [None]}
    assert [one.name for one in databases.all()] == ["circor", "cinc2016", "pascal", "ward"]
