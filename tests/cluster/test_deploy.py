"""What the deploy recipes say is what the embedded cluster does."""

from __future__ import annotations

from pathlib import Path

import yaml

from jobs.cluster import WORKER_ENVIRONMENT

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_workers_started_by_hand_get_the_same_environment() -> None:
    settings = yaml.safe_load((DEPLOY / "dask.yaml").read_text())
    assert settings["distributed"]["nanny"]["pre-spawn-environ"] == WORKER_ENVIRONMENT
