"""What the deploy recipes say is what the embedded cluster does."""

from __future__ import annotations

from pathlib import Path

import yaml

from jobs.cluster.connect import LOCAL_CONFIG

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_what_is_started_by_hand_gets_the_same_settings() -> None:
    settings = yaml.safe_load((DEPLOY / "dask.yaml").read_text())["distributed"]
    assert settings["nanny"]["pre-spawn-environ"] == LOCAL_CONFIG["distributed.nanny.pre-spawn-environ"]
    assert settings["scheduler"]["allowed-failures"] == LOCAL_CONFIG["distributed.scheduler.allowed-failures"]
    assert settings["worker"]["profile"]["enabled"] == LOCAL_CONFIG["distributed.worker.profile.enabled"]
    assert settings["admin"]["low-level-log-length"] == LOCAL_CONFIG["distributed.admin.low-level-log-length"]
