"""Write the pages of the feature sets' columns into ``configs/`` again: ``make pages``."""

from __future__ import annotations

from pathlib import Path

from heartbeat_core.features.catalogue import FEATURE_SETS

FOLDER = Path(__file__).parents[1] / "configs"


def pages() -> dict[Path, str]:
    """Return the text of each page by its place; sets without columns have none."""
    return {FOLDER / f"{one.version}.md": one.page() for one in FEATURE_SETS.all() if one.columns}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
