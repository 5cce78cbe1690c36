"""What ``heartbeat plan`` tells: the sample's figures against those of the run itself, and what follows from them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from heartbeat_core import storage
from heartbeat_core.errors import JobError, RecordingError, TooShort
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings import fetch
from heartbeat_core.recordings.fetch import READ_AHEAD
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Failure, Recording
from heartbeat_core.storage.stores import Entry
from jobs.cli.__main__ import app
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.classify import classify
from jobs.drivers.plan import PlanOptions, plan
from jobs.listing.listing import Listing
from jobs.listing.shards import make_shards
from jobs.output.lease import BEAT_S
from jobs.output.plans import RECORDINGS_A_PIECE
from jobs.planning.estimate import EFFICIENCY, START_S, TASK_RECORDING_S, TASK_S, estimate, shard_sizes
from jobs.planning.request_counts import Requests
from jobs.planning.sample import Listed, Measured, list_inputs, measure, plan_classify, plan_dataset
from jobs.settings import JobSettings, ShardSettings
from jobs.tasks import processing
from tests.helpers import COUNTS, LIMITS, environment, read_rows, tree, write_broken, write_csv, write_many

N_LIBRARY = sum(COUNTS.values())


def heartbeat(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def recordings(count: int, size_bytes: int | None = 1000) -> tuple[Recording, ...]:
    return tuple(Recording(f"s3://b/{i}.wav", f"{i}.wav", size_bytes) for i in range(count))


def listed(n_sample: int = 100, n_recordings: int = 10_000, **more: Any) -> Listed:
    whole = Listed(
        sample=recordings(n_sample),
        n_recordings=n_recordings,
        n_bytes=1000 * n_recordings,
        n_unsized=0,
        n_remote=n_recordings,
        n_keys=n_recordings,
        n_prefixes=1,
        seconds=2.0,
        first_s=0.0,
    )
    return replace(whole, **more)


def measured(n_sample: int = 100, n_failed: int = 0, read_s: float = 0.01, **more: Any) -> Measured:
    """Half of the recordings take 15 ms, the others 25."""
    error: RecordingError = TooShort("too short")
    n_done = n_sample - n_failed
    content: dict[str, Any] = {
        "job": "classify",
        "read_s": [read_s] * n_sample,
        "compute_s": [0.015, 0.025] * (n_sample // 2),
        "sizes": [1000] * n_done,
        "durations_s": [10.0] * n_done,
        "table_bytes": {"features": 500 * n_sample, "failures": 400 + 6 * n_sample},
        "empty_bytes": {"failures": 200, "features": 0},
        "n_parts": 2,
        "failures": [Failure(one, error.stage, error.error_type, "") for one in recordings(n_failed)],
        "frames_bytes": 2000 * n_sample,
        "peak_bytes": 300 * 2**20,
    }
    return Measured(**{**content, **more})


# Listing and sampling.


def test_the_listing_is_the_jobs(library: Path) -> None:
    settings = JobSettings.model_validate({"selection": {"exclude": ["murmur/*"]}})
    found = list_inputs([str(library)], settings, 1000)
    listing = Listing([str(library)], None, settings.selection)
    assert list(found.sample) == list(listing)
    assert found.n_recordings == N_LIBRARY - COUNTS["murmur"]
    assert found.n_bytes == sum(one.size_bytes or 0 for one in found.sample)
    assert found.n_keys == N_LIBRARY + 1  # And the label file.
    assert (found.n_remote, found.n_unsized, found.n_prefixes) == (0, 0, 4)


def test_a_manifest_tells_the_sizes_of_local_files_alone(library: Path, tmp_path: Path) -> None:
    paths = [str(path) for path in sorted(library.rglob("*.wav"))]
    (tmp_path / "list.csv").write_text("\n".join(["path", *paths]))
    found = list_inputs([str(tmp_path / "list.csv")], JobSettings(), 5)
    assert (found.n_unsized, found.n_bytes) == (0, sum(Path(path).stat().st_size for path in paths))
    (tmp_path / "list.csv").write_text("\n".join(["path", *(f"https://h{path}" for path in paths)]))
    found = list_inputs([str(tmp_path / "list.csv")], JobSettings(), 5)
    assert (found.n_recordings, found.n_unsized, found.n_bytes) == (N_LIBRARY, N_LIBRARY, 0)
    told = estimate(found, measured(), ShardSettings(), 1, N_LIBRARY)
    assert told.input_bytes == 1000 * N_LIBRARY


def test_the_sample_is_drawn_from_all_and_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(1000):
        (tmp_path / "in" / f"{number:04d}.wav").touch()
    first, again = (list_inputs([str(tmp_path / "in")], JobSettings(), 100).sample for _ in range(2))
    assert first == again
    places = [int(one.relative_path.removesuffix(".wav")) for one in first]
    assert len(set(places)) == 100
    # Uniform: of each tenth about ten; the chance of fewer than 2 or more than 22 in one of them is below 0.5 %.
    tenths = Counter(place // 100 for place in places)
    assert all(2 <= tenths[tenth] <= 22 for tenth in range(10))


@pytest.mark.parametrize(("count", "settings"), [(31, {}), (700, {}), (2000, {"bytes": 9500}), (1, {})])
def test_shards_are_counted_as_they_are_cut(count: int, settings: dict[str, int]) -> None:
    shards = ShardSettings.model_validate(settings)
    whole = recordings(count)
    expected = list(map(len, make_shards(whole, shards)))
    assert list(shard_sizes(whole, count, shards)) == expected
    assert list(shard_sizes(whole[:10], count, shards)) == expected


def test_empty_files_are_counted() -> None:
    empty = [replace(one, size_bytes=0) for one in recordings(3)]
    assert sum(shard_sizes(empty, 3, ShardSettings())) == 3


@pytest.mark.parametrize("settings", [{}, {"recordings": 700}, {"bytes": 600_000}])
def test_shards_of_very_many_are_counted_by_their_mean(settings: dict[str, int]) -> None:
    shards = ShardSettings.model_validate(settings)
    sample = tuple(replace(one, size_bytes=1000 * (1 + number)) for number, one in enumerate(recordings(9)))
    whole = islice(cycle(sample), 150_000)
    expected = list(map(len, make_shards(whole, shards)))
    found = list(shard_sizes(sample, 150_000, shards))
    assert sum(found) == 150_000
    assert len(found) == pytest.approx(len(expected), rel=0.02)
    assert max(found) == pytest.approx(max(expected), rel=0.02)


# The sample's figures against the run's.


def test_output_and_failures_are_the_runs(
    library: Path, bundle: Path, tmp_path: Path, in_process: None, console: Console
) -> None:
    expected = write_broken(tmp_path / "broken")
    content = {"model": str(bundle), "limits": LIMITS, "shards": {"recordings": 16}}
    settings = JobSettings.model_validate(content)
    inputs = [str(library), str(tmp_path / "broken")]
    out = tmp_path / "out"
    classify(inputs, str(out), settings, console)
    found = list_inputs(inputs, settings, 1000)
    taken = measure(found.sample, plan_classify(settings.model, settings.features), settings, 16)
    told = estimate(found, taken, settings.shards, 2, found.n_recordings)
    kinds = Counter(error_type for _, error_type in expected.values())
    assert {kind.error_type: kind.n_sample for kind in told.failure_kinds} == kinds
    assert told.failures.value == told.failures.low == told.failures.high == len(expected) / found.n_recordings
    assert {failure.recording.uri for failure in taken.failures} == {row["uri"] for row in read_rows(out, "failures")}
    # In how many shards something fails is expected by chance: here it is one shard fewer.
    a_part = (out / "failures/part-empty.parquet").stat().st_size
    for table, error in (("predictions", {}), ("features", {}), ("failures", {"rel": 0, "abs": a_part})):
        stored = sum(path.stat().st_size for path in (out / table).iterdir())
        assert told.output_bytes[table] == pytest.approx(stored, **{"rel": 0.15, **error}), table
    assert told.audio_s == pytest.approx(sum(row["duration_s"] for row in read_rows(out, "features")))
    assert told.n_shards == len(list((out / "_commits").iterdir()))


def test_kept_columns_are_part_of_the_output(
    library: Path, bundle: Path, tmp_path: Path, in_process: None, console: Console
) -> None:
    random = Random(1)
    rows = [(str(path), random.randbytes(5_000).hex()) for path in sorted(library.rglob("*.wav"))]
    manifest = write_csv(tmp_path / "list.csv", ("path", "note"), rows)
    settings = JobSettings.model_validate({"model": str(bundle), "keep_columns": ["note"]})
    classify([str(manifest)], str(tmp_path / "out"), settings, console)
    told = json.loads(heartbeat("plan", manifest, "--model", bundle, "--keep-columns", "note", "--json").stdout)
    for table in ("predictions", "features"):
        stored = sum(path.stat().st_size for path in (tmp_path / "out" / table).iterdir())
        assert told["output_bytes"][table] == pytest.approx(stored, rel=0.15), table


def test_a_datasets_output_is_the_runs(
    library: Path, recipe: Recipe, tmp_path: Path, in_process: None, console: Console
) -> None:
    settings = JobSettings()
    build_dataset([str(library)], str(tmp_path / "out"), DatasetOptions(recipe), settings, console)
    found = list_inputs([str(library)], settings, 1000)
    planned = plan_dataset(recipe, found.sample, settings)
    facts = json.loads((tmp_path / "out" / "_dataset.json").read_text())
    assert len(planned.work.reference) == facts["length_frames"]
    shard_size = max(shard_sizes(found.sample, found.n_recordings, settings.shards))
    told = estimate(found, measure(found.sample, planned, settings, shard_size), settings.shards, 2, found.n_recordings)
    stored = sum(path.stat().st_size for path in (tmp_path / "out" / "recordings").iterdir())
    assert told.output_bytes["recordings"] == pytest.approx(stored, rel=0.03)


def test_no_reference(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("text")
    found = list_inputs([str(tmp_path)], JobSettings(), 10)
    with pytest.raises(JobError, match="no reference"):
        plan_dataset(Recipe(name="tiny"), found.sample, JobSettings())


def test_times_are_measured(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is reading by the clock, what works is computing."""
    write_many(tmp_path / "in", 2)
    plain_read, plain_process = fetch.read_recording, processing.process

    def slow_read(*arguments: Any) -> bytes:
        time.sleep(0.1)
        return plain_read(*arguments)

    def slow_process(*arguments: Any) -> RecordingResult:
        time.sleep(1.5)
        return plain_process(*arguments)

    monkeypatch.setattr(fetch, "read_recording", slow_read)
    monkeypatch.setattr("jobs.tasks.processing.process", slow_process)
    settings = JobSettings()
    found = list_inputs([str(tmp_path / "in")], settings, 2)
    seen: list[tuple[int, int]] = []
    planned = plan_classify(str(bundle), settings.features)
    taken = measure(found.sample, planned, settings, 4, lambda done, failed: seen.append((done, failed)))
    assert seen == [(1, 0), (1, 0)]
    assert len(taken.read_s) == len(taken.compute_s) == 2
    # The least of each: a machine that pauses in one reading does not pause in both.
    assert 0.1 <= min(taken.read_s) < 1.5
    assert 0 < min(taken.compute_s) < 1.5
    assert taken.shared_s > 0
    assert taken.peak_bytes > 50 * 2**20


# What follows from the figures.


def test_time_is_computing_shared_by_the_workers() -> None:
    one, four = (estimate(listed(), measured(), ShardSettings(), n, 10_000).times for n in (1, 4))
    assert one.compute_s == pytest.approx(10_000 * 0.02 / EFFICIENCY)
    assert one.compute_s == one.work_s == pytest.approx(4 * four.work_s)
    assert one.end_s == pytest.approx(3 * 0.01)
    assert one.listing_s == 2.0
    assert one.total_s.value == pytest.approx(START_S + 2.0 + one.work_s + one.end_s)
    # 5 ms of standard deviation over a hundred, of ten thousand: 1 ms either way of 20.
    half_width = one.total_s.high - one.total_s.value
    assert half_width / one.compute_s == pytest.approx(0.049, rel=0.03)
    assert one.total_s.value - one.total_s.low == pytest.approx(half_width)


def test_what_is_done_a_shard_at_a_time_is_shared_by_its_recordings() -> None:
    told = estimate(listed(), measured(shared_s=1.0), ShardSettings(), 1, 10_000)
    assert told.compute_s_a_recording == pytest.approx(0.02 + 0.01)
    assert told.times.compute_s == pytest.approx(10_000 * 0.03 / EFFICIENCY)


def test_half_of_all_leaves_less_to_chance() -> None:
    few, half = (estimate(listed(100, n), measured(), ShardSettings(), 1, n).times for n in (10**6, 200))
    widths = [(one.total_s.high - one.total_s.low) / one.compute_s for one in (few, half)]
    assert widths[1] == pytest.approx(widths[0] * 0.5**0.5, rel=0.01)


def test_slow_reading_and_a_busy_driver_are_not_hidden() -> None:
    slow = estimate(listed(), measured(read_s=1.6), ShardSettings(), 2, 10_000).times
    assert slow.work_s == slow.reading_s == pytest.approx(10_000 * 1.6 / READ_AHEAD / 2)
    on_disk = estimate(listed(n_remote=0), measured(read_s=1.6), ShardSettings(), 2, 10_000).times
    assert on_disk.reading_s == pytest.approx(10_000 * 1.6 / 2), "local files are read one by one"
    busy = estimate(listed(), measured(), ShardSettings(), 50_000, 10_000)
    assert busy.times.work_s == busy.times.driver_s == pytest.approx(busy.n_shards * TASK_S + 10_000 * TASK_RECORDING_S)
    assert busy.times.total_s.value == busy.times.total_s.low == busy.times.total_s.high


def test_failures_have_clopper_and_pearsons_interval() -> None:
    none = estimate(listed(300), measured(300), ShardSettings(), 1, 10_000)
    assert (none.failures.value, none.failures.low) == (0, 0)
    assert none.failures.high == pytest.approx(0.01222, abs=1e-5)  # 1 - 0.025 ** (1 / 300)
    some = estimate(listed(10), measured(10, 2), ShardSettings(), 1, 10_000)
    # As in Clopper and Pearson's paper's tables: 2 of 10.
    assert (some.failures.low, some.failures.high) == (
        pytest.approx(0.02521, abs=1e-5),
        pytest.approx(0.55610, abs=1e-5),
    )
    (kind,) = some.failure_kinds
    assert (kind.error_type, kind.n_sample, kind.share) == ("too_short", 2, some.failures)
    assert kind.example == "s3://b/0.wav"


def test_the_whole_leaves_nothing_to_chance_but_more_of_its_kind_does() -> None:
    whole = listed(100, 100)
    exact = estimate(whole, measured(100, 5), ShardSettings(), 1, 100)
    assert exact.failures.low == exact.failures.high == 0.05
    assert exact.times.total_s.low == exact.times.total_s.high
    scaled = estimate(whole, measured(100, 5), ShardSettings(), 1, 10**8)
    assert scaled.failures.low < 0.05 < scaled.failures.high
    assert scaled.times.total_s.low < scaled.times.total_s.high


def test_the_first_answer_of_a_store_is_waited_for_once() -> None:
    """A process that has opened no connection yet waits most of a second for it, however many keys follow."""
    few = listed(100, 276, seconds=0.86, first_s=0.855)
    here = estimate(few, measured(), ShardSettings(), 1, 276, page_s=0.002).times.listing_s
    assert here == pytest.approx(0.86)
    million = estimate(few, measured(), ShardSettings(), 1, 10**6, page_s=0.002).times.listing_s
    # 18 µs a key, and the thousand pages that the sample's single page says nothing of.
    assert million == pytest.approx(0.855 + 0.005 * 10**6 / 276 + 1000 * 0.002, rel=0.01)
    # Pages that were listed here are in the time of their keys.
    many = listed(100, 50_000, seconds=3.0, first_s=1.0)
    assert estimate(many, measured(), ShardSettings(), 1, 10**6, page_s=9.0).times.listing_s == pytest.approx(41)


def test_a_request_to_the_bucket_is_timed_for_the_pages_that_are_not_listed_here(
    library: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    inputs = [str(library), "s3://bucket/in", "s3://other/in"]
    listed_here = replace(list_inputs(inputs[:1], JobSettings(), 4), seconds=1.0, first_s=1.0)
    monkeypatch.setattr("jobs.drivers.plan.list_inputs", lambda *arguments: listed_here)
    asked: list[str] = []

    def is_folder(uri: str) -> bool:
        asked.append(uri)
        time.sleep(0.05)
        return True

    monkeypatch.setattr(storage, "is_folder", is_folder)
    settings = JobSettings(model=str(bundle))
    options = PlanOptions(n_sample=4, scale_to=10**6)
    # A thousand keys are on each page.
    assert plan(inputs, options, settings, console).times.listing_s >= 1.0 + 1000 * 0.05
    assert asked == ["s3://bucket/in"]
    # Inputs on disk have no pages.
    assert plan(inputs[:1], options, settings, console).times.listing_s == 1.0
    assert asked == ["s3://bucket/in"]


def test_the_first_recording_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_many(tmp_path / "in", 3)
    walk = storage.walk

    def slow(folder: str, *, with_unlisted: bool) -> Iterator[Entry]:
        time.sleep(0.2)
        for entry in walk(folder):
            yield entry
            time.sleep(0.1)

    monkeypatch.setattr(storage, "walk", slow)
    found = list_inputs([str(tmp_path / "in")], JobSettings(), 10)
    assert 0.2 <= found.first_s <= found.seconds - 0.3


def test_everything_grows_with_the_count() -> None:
    few, many = (estimate(listed(), measured(), ShardSettings(), 8, n) for n in (10**5, 10**8))
    # Of a longer list the shards are larger.
    assert few.n_shards < many.n_shards < 1000 * few.n_shards / 3
    assert many.input_bytes == 10**11
    assert many.audio_s == 10**9
    assert many.output_bytes == {"features": 500 * 10**8, "failures": 200 + 6 * 10**8}
    assert many.times.listing_s == 1000 * few.times.listing_s
    # A GET of each recording, four of each shard, 13 of the run, and those of the report. Each piece is read by the
    # driver, and by each of 8 workers that takes a shard of it.
    n_pieces = -(-(10**8) // RECORDINGS_A_PIECE)
    n_reads = n_pieces + min(many.n_shards, 8 * n_pieces)
    assert many.requests.get == 10**8 + 4 * many.n_shards + n_reads + 13 + (10 + 2 * 512)
    beats = many.times.total_s.value // BEAT_S
    assert many.requests.put == 4 * many.n_shards + n_pieces + 16 + 17 + beats
    assert many.requests.list == pytest.approx(10**8 / 1000 + 7 * many.n_shards / 1000, rel=0.01)
    assert few.worker_memory_bytes < many.worker_memory_bytes < few.worker_memory_bytes + 4 * 50 * 2**20


def test_inputs_on_disk_cost_no_requests() -> None:
    disk = estimate(listed(n_remote=0), measured(), ShardSettings(), 1, 10_000).requests
    bucket = estimate(listed(), measured(), ShardSettings(), 1, 10_000).requests
    assert bucket.get - disk.get == 10_000
    assert bucket.list - disk.list == 2 + 1 + 10
    assert bucket.put == disk.put


def test_costs_are_told_where_prices_are() -> None:
    none = estimate(listed(), measured(), ShardSettings(), 1, 10_000)
    assert (none.costs.put, none.costs.get) == (None, None)
    told = estimate(listed(), measured(), ShardSettings(), 1, 10_000, 0.005, 0.0004)
    assert told.costs.put == pytest.approx((told.requests.put + told.requests.list) * 0.005 / 1000)
    assert told.costs.get == pytest.approx((told.requests.get + told.requests.head) * 0.0004 / 1000)


def test_memory_holds_what_is_read_ahead_and_other_shards() -> None:
    shards = ShardSettings(recordings=200)
    # Of each recording, 2,000 bytes of frames, and 500 bytes of features and 6 of failures in the parts.
    frames, part = 200 * 2000, 200 * 506
    small = estimate(listed(), measured(), shards, 1, 10_000)
    assert small.worker_memory_bytes == 300 * 2**20 + 64 * 1000 + 3 * frames + 4 * part
    assert small.tasks_a_worker == 4
    # As many tasks as a worker of this machine runs at once, where the output is on disk as well; each reads one file.
    disk = estimate(listed(n_remote=0), measured(), shards, 1, 10_000)
    assert disk.worker_memory_bytes == 300 * 2**20 + 2 * 1000 + frames + 2 * part
    assert disk.tasks_a_worker == 2
    # No more is read ahead, and no more frames are held, than may be.
    large = estimate(listed(), measured(sizes=[10**8], frames_bytes=10**9), shards, 1, 10_000)
    assert large.worker_memory_bytes == 300 * 2**20 + 64 * 2**20 + 3 * 48 * 2**20 + 4 * part


def test_sums_of_requests() -> None:
    assert Requests(1, 2, 3, 4, 5) + Requests(put=1) * 3 == Requests(4, 2, 3, 4, 5)


# The command.


def test_the_command_prints_a_table_and_writes_nothing(library: Path, bundle: Path) -> None:
    before = tree(library)
    result = heartbeat("plan", library, "--model", bundle, "--workers", 3, "--put-price", "0.005")
    assert result.exit_code == 0, result.output
    for text in (
        "classify: 31 recordings",
        "31 of 31 listed",
        "time, 3 workers",
        "features",
        "PUT",
        "LIST",
        "failures",
    ):
        assert text in result.stdout
    assert tree(library) == before


def test_the_command_prints_json(library: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.wav").write_text("text")
    options = ("--model", bundle, "--sample", 10, "--scale-to", 10**8, "--exclude", "murmur/*", "--get-price", "0.0004")
    result = heartbeat("plan", library, tmp_path / "in", "--json", "--workers", 64, *options)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["n_listed"] == N_LIBRARY + 1 - COUNTS["murmur"]
    assert (told["n_sample"], told["n_recordings"], told["n_workers"]) == (10, 10**8, 64)
    assert told["times"]["compute_s"] == pytest.approx(10**8 * told["compute_s_a_recording"] / 64 / EFFICIENCY)
    assert told["costs"]["put"] is None
    assert told["costs"]["get"] > 0
    assert set(told["output_bytes"]) == {"_plan", "predictions", "features", "failures"}


def test_the_command_plans_a_dataset(library: Path) -> None:
    result = heartbeat("plan", library, "--recipe", "seed-mini")
    assert result.exit_code == 0, result.output
    assert "build-dataset: 31 recordings" in result.stdout
    assert "recordings" in result.stdout


def test_the_command_takes_its_settings_from_a_file(library: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(f"{{model: {bundle}, shards: {{recordings: 2}}, cluster: {{workers: 7}}}}")
    result = heartbeat("plan", library, "--config", tmp_path / "job.yaml", "--json")
    told = json.loads(result.stdout)
    listing = Listing([str(library)])
    assert told["n_shards"] == len(list(make_shards(listing, ShardSettings(recordings=2))))
    assert told["n_workers"] == 7


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("gone",), 2, "gone: no such file or folder"),
        ((".",), 2, "no recordings in ."),
        (("broken", "--recipe", "seed-mini", "--model", "seed-small"), 2, "give --model or --recipe, not both"),
        (("broken", "--recipe", "seed-huge"), 2, "unknown recipe 'seed-huge'"),
        (
            ("broken", "--recipe", "seed-mini", "--keep-columns", "x"),
            2,
            "are for classify: leave them out with --recipe",
        ),
        (("broken", "--model", "gone"), 2, "gone"),
        (("broken", "--config", "gone.yaml"), 2, "gone.yaml: no such file"),
        (("broken", "--since", "yesterday"), 2, "selection.since"),
        (("broken", "--recipe", "seed-mini"), 1, "there is no reference to align with"),
    ],
)
def test_one_line_for_what_is_wrong(
    arguments: tuple[str, ...], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "broken":
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken/text.wav").write_text("text")
    result = heartbeat("plan", *arguments)
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("heartbeat: ")
    assert told in line
    assert result.stdout == ""


def test_failures_are_counted_while_the_sample_is_processed(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "text.wav").write_text("text")
    settings, seen = JobSettings(), []
    found = list_inputs([str(tmp_path)], settings, 1)
    planned = plan_classify(str(bundle), settings.features)
    measure(found.sample, planned, settings, 4, lambda done, failed: seen.append((done, failed)))
    assert seen == [(1, 1)]


def test_nothing_but_failures_is_told_as_such(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "text.wav").write_text("text")
    result = heartbeat("plan", tmp_path, "--model", bundle, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["failures"]["value"] == 1
    assert told["audio_s"] == 0


def test_typers_own_refusals(tmp_path: Path) -> None:
    for options in (("--sample", 0), ("--scale-to", 0), ("--workers", 0), ("--put-price", -1), ("--prices", 1)):
        result = heartbeat("plan", tmp_path, *options)
        assert result.exit_code == 2
        assert "Traceback" not in result.output


def test_help_names_the_exit_codes() -> None:
    text = " ".join(heartbeat("plan", "--help").stdout.split())
    for code in ("Exit codes: 0", "2 wrong usage", "130 interrupted"):
        assert code in text


def test_it_does_without_a_cluster(library: Path, bundle: Path) -> None:
    code = (
        "import sys; from jobs.cli.__main__ import app; app(sys.argv[1:], standalone_mode=False);"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'dask', 'distributed', 'torch'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", str(library), "--model", str(bundle)],
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.stdout.splitlines()[-1] == "[]"
