"""The data that the shipped models were trained on are named, and the names travel with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from heartbeat_core.bundles.manifest import read_manifest, shipped_models

ROOT = Path(__file__).parents[2]
NOTICE = (ROOT / "NOTICE").read_text()
OF_DATABASES = {
    "PASCAL CHSC2011": ("CHSC2011", "P. Bentley, G. Nordehn, M. Coimbra, S. Mannor"),
    "CirCor DigiScope": ("ODC-By 1.0", "1.0.3", "doi:10.13026/tshs-mw03", "doi:10.1109/JBHI.2021.3137048"),
    "PhysioNet/CinC 2016": ("ODC-By 1.0", "1.0.0", "C. Liu, D. Springer, Q. Li", "G. D. Clifford"),
}
"""What the section of each database must say."""


@pytest.mark.parametrize("name", OF_DATABASES)
def test_each_database_has_its_licence_and_citation(name: str) -> None:
    # A section ends where the heading of the next one begins, after two empty lines.
    [section] = [part for part in NOTICE.split("\n\n\n") if part.startswith(name)]
    for told in OF_DATABASES[name]:
        assert told in section


@pytest.mark.parametrize("model", shipped_models())
def test_the_data_of_each_shipped_model_are_named(model: str) -> None:
    description = read_manifest(model).training_data.description
    assert description is not None
    assert any(name in description for name in OF_DATABASES)


def test_licence_and_notice_are_packed_and_the_readme_names_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license-files"] == ["LICENSE", "NOTICE"]
    readme = (ROOT / "README.md").read_text()
    assert all(f"[{name}]({name})" in readme and (ROOT / name).is_file() for name in project["license-files"])
