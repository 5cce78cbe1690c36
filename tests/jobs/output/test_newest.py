"""The newest rows: which recordings have failed when they were processed last."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.recordings.recording import Failure, Recording
from heartbeat_core.results.schema import failures_table
from jobs.output.newest import failed_recordings
from jobs.output.plans import PlanFolder
from tests import naive

NAMES = [f"{name}.wav" for name in "abcdef"]
KINDS = ("timeout", "not_found", "empty")
OUTCOMES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["", *KINDS]), min_size=1)


def planned(name: str, generation: int) -> Recording:
    return Recording(f"file:///in/{name}", name, 5, version=f"v{generation}")


def write_history(out: Path, history: list[dict[str, str]]) -> None:
    plans, first = PlanFolder(f"file://{out}"), 0
    for number, outcomes in enumerate(history):
        names = list(outcomes)
        shards = [[planned(name, number) for name in names[start : start + 2]] for start in range(0, len(names), 2)]
        first = plans.settle(number, first, shards).end_shard
        failures = [Failure(planned(name, number), "read", kind, "") for name, kind in outcomes.items() if kind]
        table = failures_table(failures, generation=number, run_id="r", now=datetime.now(UTC))
        (out / "failures").mkdir(exist_ok=True)
        (out / f"failures/part-{number:06d}.parquet").write_bytes(to_parquet(table))


@settings(max_examples=30)
@given(st.lists(OUTCOMES, min_size=1, max_size=4), st.sets(st.sampled_from(KINDS)))
def test_the_recordings_that_failed_last(history: list[dict[str, str]], kinds: set[str]) -> None:
    with TemporaryDirectory() as folder:
        write_history(Path(folder), history)
        found = [one for piece in failed_recordings(f"file://{folder}", kinds) for one in piece]
    expected = {
        (name, f"v{generation}")
        for name, (generation, kind) in naive.newest_failures(history).items()
        if not kinds or kind in kinds
    }
    assert sorted((one.relative_path, one.version) for one in found) == sorted(expected)
