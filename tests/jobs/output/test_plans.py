"""The stored plan: in pieces as the listing goes, settled once, numbered through all generations."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heartbeat_core.errors import InputError, JobError
from heartbeat_core.formats.kept import KeptColumn, KeptTypes
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits
from jobs.listing.shards import Shard, expected_cost
from jobs.output.plans import Generation, PlanFolder, count_retried, read_shard
from tests.helpers import tree


def shards_of(*sizes: int, prefix: str = "r") -> list[list[Recording]]:
    made, number = [], 0
    for size in sizes:
        made.append(
            [Recording(f"file:///in/{prefix}{n}.wav", f"{prefix}{n}.wav", n) for n in range(number, number + size)]
        )
        number += size
    return made


def numbered(shards: Sequence[Sequence[Recording]], first: int = 0, generation: int = 0) -> list[Shard]:
    return [Shard(first + index, tuple(recordings), generation) for index, recordings in enumerate(shards)]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.output.plans.RECORDINGS_A_PIECE", 10)


@pytest.fixture
def plans(tmp_path: Path) -> PlanFolder:
    return PlanFolder(f"file://{tmp_path}")


def test_no_plan(plans: PlanFolder, tmp_path: Path) -> None:
    assert plans.generations() == []
    assert tree(tmp_path) == {}


def test_a_plan_is_stored_in_pieces_of_whole_shards(plans: PlanFolder, tmp_path: Path) -> None:
    shards = shards_of(4, 4, 4, 9, 1, 25, 1, 1)
    settled = plans.settle(0, 0, shards)
    assert (settled.number, settled.first_shard, settled.n_shards, settled.n_recordings) == (0, 0, 8, 49)
    assert settled.end_shard == 8
    assert plans.generations() == [settled]
    assert list(plans.shards(settled)) == numbered(shards)
    folder = f"_plan/000000-{settled.token}"
    pieces = ["000000", "000001", "000002", "000003"]
    assert settled.n_pieces == 4
    assert sorted(tree(tmp_path)) == sorted(["_plan/000000.json", *(f"{folder}/{piece}.parquet" for piece in pieces)])


@pytest.mark.parametrize("sizes", [(), (1,), (10,), (5, 5), (10, 10, 10), (11,), (1,) * 35])
def test_plans_of_any_length_come_back(plans: PlanFolder, sizes: tuple[int, ...]) -> None:
    shards = shards_of(*sizes)
    settled = plans.settle(0, 0, iter(shards))
    assert (settled.n_shards, settled.n_recordings) == (len(sizes), sum(sizes))
    assert list(plans.shards(settled)) == numbered(shards)


@pytest.mark.parametrize("sizes", [(), (1,), (5, 5), (4, 4, 4, 9, 1, 25, 1, 1), (1,) * 35])
def test_where_a_shard_stands_is_enough_to_read_it(plans: PlanFolder, sizes: tuple[int, ...]) -> None:
    shards = shards_of(*sizes)
    shards = [[replace(one, size_bytes=None) if one.size_bytes == 3 else one for one in shard] for shard in shards]
    settled = plans.settle(0, 7, shards, limits=Limits(deadline_s=3))
    planned = [shard for piece in plans.planned(settled) for shard in piece]
    assert [read_shard(one) for one in planned] == list(plans.shards(settled))
    assert [one.index for one in planned] == list(range(7, 7 + len(sizes)))
    assert [one.expected_cost for one in planned] == [sum(map(expected_cost, shard)) for shard in shards]
    assert all(read_shard(replace(one, isolated=True)).isolated for one in planned)


def test_a_plan_that_lacks_a_shard_is_told(plans: PlanFolder) -> None:
    [[first, _]] = plans.planned(plans.settle(0, 0, shards_of(3, 2)))
    for wrong in (replace(first, index=9), replace(first, first_row=2), replace(first, n_recordings=4)):
        with pytest.raises(JobError, match=f"000000.parquet: the plan cannot be read: it lacks shard {wrong.index}"):
            read_shard(wrong)


def test_everything_that_is_known_of_a_recording_comes_back(plans: PlanFolder) -> None:
    odd = Recording("s3://b/a b\n+%ü?#.wav", "a b\n+%ü?#.wav", 2**40, "etag", "murmur", "p1", "phone")
    secret = Recording("https://h/a.wav", "a.wav", manifest="file:///m.csv", manifest_row=2**33)
    dated = Recording("s3://b/d.wav", "d.wav", modified=datetime(2024, 2, 29, tzinfo=UTC), kept=("ü", None, " 1"))
    settled = plans.settle(0, 0, [[odd, secret, dated]])
    (shard,) = plans.shards(settled)
    assert shard.recordings == (odd, secret, dated)


def with_age(name: str, age: str | None) -> Recording:
    return Recording(f"file:///in/{name}", name, kept=(age,))


def test_the_types_of_kept_columns_are_settled_with_the_plan(plans: PlanFolder, tmp_path: Path) -> None:
    shards = [[with_age("a.wav", "3")], [with_age("b.wav", None), with_age("c.wav", "4.5")]]
    settled = plans.settle(0, 0, shards, KeptTypes(["Age"]))
    assert settled.kept == (KeptColumn("Age", "float64"),)
    assert PlanFolder(f"file://{tmp_path}").generations() == [settled]
    update = plans.settle(1, 2, [[with_age("d.wav", "5")]], KeptTypes(["Age"], settled.kept))
    assert update.kept == settled.kept


def test_an_update_with_a_value_of_another_type_leaves_nothing(plans: PlanFolder, tmp_path: Path) -> None:
    settled = plans.settle(0, 0, [[with_age("a.wav", "3")]], KeptTypes(["Age"]))
    before = tree(tmp_path)
    shards = [[with_age(f"{number}.wav", "5")] for number in range(20)]
    with pytest.raises(InputError, match=r"^/in/b\.wav: the column 'Age' has 'old', which is not int64"):
        plans.settle(1, 1, [*shards, [with_age("b.wav", "old")]], KeptTypes(["Age"], settled.kept))
    assert tree(tmp_path) == before


def test_a_record_of_before_there_were_kept_columns_is_read(plans: PlanFolder, tmp_path: Path) -> None:
    settled = plans.settle(0, 0, shards_of(3))
    record = _fields(settled)
    del record["kept"]
    (tmp_path / "_plan/000000.json").write_text(json.dumps(record))
    assert plans.generations() == [settled]


def test_pieces_are_written_as_the_listing_goes(plans: PlanFolder, tmp_path: Path) -> None:
    written = []

    def shards() -> Iterator[list[Recording]]:
        for shard in shards_of(*[5] * 8):
            yield shard
            written.append(len(list(tmp_path.glob("_plan/*/*.parquet"))))
            assert not (tmp_path / "_plan/000000.json").exists()

    plans.settle(0, 0, shards())
    assert written == [0, 1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
@pytest.mark.parametrize("error", [InputError("no such bucket"), KeyboardInterrupt()])
def test_a_listing_that_fails_leaves_nothing(
    plans: PlanFolder, tmp_path: Path, fails_at: int, error: BaseException
) -> None:
    def shards() -> Iterator[list[Recording]]:
        for index, shard in enumerate(shards_of(10, 10, 10, 10)):
            if index == fails_at:
                raise error
            yield shard

    with pytest.raises(type(error)):
        plans.settle(0, 0, shards())
    assert tree(tmp_path) == {}
    assert plans.generations() == []
    settled = plans.settle(0, 0, shards_of(3))
    assert plans.generations() == [settled]


def test_of_two_drivers_the_first_settles_and_the_other_takes_its_pieces_away(
    plans: PlanFolder, tmp_path: Path
) -> None:
    """The second had begun to list before; a recording came into the folder in between."""
    first_shards, second_shards = shards_of(8, 8), shards_of(8, 8, 3)
    settled: list[Generation] = []

    def shards() -> Iterator[list[Recording]]:
        yield from second_shards
        settled.append(PlanFolder(f"file://{tmp_path}").settle(0, 0, first_shards))
        assert len(list(tmp_path.glob("_plan/*/*.parquet"))) == 2, "the other's first piece, and the settled one"

    assert plans.settle(0, 0, shards()) == settled[0]
    assert list(plans.shards(settled[0])) == numbered(first_shards)
    assert sorted(tree(tmp_path)) == sorted(
        ["_plan/000000.json", *(f"_plan/000000-{settled[0].token}/{n:06d}.parquet" for n in range(settled[0].n_pieces))]
    )


def test_of_many_drivers_at_once_all_go_by_one_plan(plans: PlanFolder, tmp_path: Path) -> None:
    begin, found = threading.Barrier(8), []

    def drive(number: int) -> None:
        shards = shards_of(*[3] * (number + 4), prefix=f"d{number}-")
        begin.wait()
        found.append(PlanFolder(f"file://{tmp_path}").settle(0, 0, shards))

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert found == [*plans.generations()] * 8
    assert sum(len(shard.recordings) for shard in plans.shards(found[0])) == found[0].n_recordings
    assert {path.parent.name for path in tmp_path.glob("_plan/*/*")} == {f"000000-{found[0].token}"}


def test_generations_number_their_shards_through(plans: PlanFolder) -> None:
    lists = [shards_of(3, 3, 3), shards_of(2, prefix="n"), shards_of(*[4] * 6, prefix="m")]
    first = 0
    for number, shards in enumerate(lists):
        settled = plans.settle(number, first, shards)
        assert (settled.number, settled.first_shard) == (number, first)
        first = settled.end_shard
    assert first == 10
    found = plans.generations()
    assert [one.number for one in found] == [0, 1, 2]
    every = [shard for generation in found for shard in plans.shards(generation)]
    assert every == numbered(lists[0]) + numbered(lists[1], 3, 1) + numbered(lists[2], 4, 2)
    assert [shard.index for shard in every] == list(range(10))
    # Settled ones stay.
    assert plans.settle(1, 3, lists[2]) == found[1]
    assert plans.generations() == found


def test_ten_thousand_generations_would_be_read_in_order(plans: PlanFolder, tmp_path: Path) -> None:
    (tmp_path / "_plan").mkdir()
    for number in range(12):
        generation = Generation(number, "t", number, 1, 1, 1)
        (tmp_path / f"_plan/{number:06d}.json").write_text(json.dumps(_fields(generation)))
    assert [one.number for one in plans.generations()] == list(range(12))


def test_the_limits_of_a_retry_go_with_its_shards(plans: PlanFolder) -> None:
    limits = Limits(deadline_s=3.5, max_channels=2)
    first = plans.settle(0, 0, shards_of(3, 3))
    retried = plans.settle(1, 2, shards_of(4), limits=limits)
    assert plans.generations() == [first, retried]
    assert (first.limits, retried.limits) == (None, limits)
    assert [shard.limits for generation in (first, retried) for shard in plans.shards(generation)] == [
        None,
        None,
        limits,
    ]
    assert count_retried([first, retried]) == 4


def test_a_record_from_before_there_were_retries(plans: PlanFolder, tmp_path: Path) -> None:
    settled = plans.settle(0, 0, shards_of(3))
    path = tmp_path / "_plan/000000.json"
    record = json.loads(path.read_text())
    del record["limits"]
    path.write_text(json.dumps(record))
    assert plans.generations() == [settled]


def _fields(generation: Generation) -> dict[str, object]:
    return asdict(generation)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"number": 0}', b"null", b'{"other": 1}', b"\xff", b'{"kept": [1]}']
)
def test_a_damaged_record_is_named(plans: PlanFolder, tmp_path: Path, content: bytes) -> None:
    plans.settle(0, 0, shards_of(3))
    (tmp_path / "_plan/000000.json").write_bytes(content)
    with pytest.raises(JobError, match=r"_plan/000000\.json: not a record of a plan") as caught:
        plans.generations()
    assert "\n" not in str(caught.value)


def test_limits_that_are_damaged_are_named_in_one_line(plans: PlanFolder, tmp_path: Path) -> None:
    plans.settle(0, 0, shards_of(3), limits=Limits())
    path = tmp_path / "_plan/000000.json"
    path.write_text(path.read_text().replace('"max_channels":16', '"max_channels":-16,"more":1'))
    with pytest.raises(JobError, match=r"000000\.json: not a record of a plan: .*max_channels") as caught:
        plans.generations()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "half", "magic", "flipped", "gone"])
def test_a_piece_that_is_damaged_or_gone_is_named(plans: PlanFolder, tmp_path: Path, damage: str) -> None:
    shards = shards_of(10, 10, 10)
    settled = plans.settle(0, 0, shards)
    path = tmp_path / f"_plan/000000-{settled.token}/000001.parquet"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        flipped = bytearray(data)
        flipped[40] ^= 0x10
        path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "magic": b"PAR1", "flipped": flipped}[damage])
    found = plans.shards(settled)
    assert next(found) == numbered(shards)[0]
    with pytest.raises(JobError, match=r"/000001\.parquet: the plan cannot be read: ") as caught:
        next(found)
    assert "\n" not in str(caught.value)


def test_a_generation_that_is_named_by_another_token_is_not_found(plans: PlanFolder) -> None:
    settled = plans.settle(0, 0, shards_of(3))
    with pytest.raises(JobError, match="the plan cannot be read"):
        list(plans.shards(replace(settled, token="0" * 32)))
