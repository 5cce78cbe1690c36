"""Recordings to judge and their verdicts back, over real runs: every way out, every way back."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from heartbeat_core.audio.decode import decode
from heartbeat_core.errors import InputError, OutputError
from heartbeat_core.formats.parquet import from_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.results.reviews import REVIEWS
from jobs.drivers.classify import classify
from jobs.drivers.review import import_verdicts, review
from jobs.output.reviews import ReviewFolder
from jobs.settings import JobSettings
from tests.conftest import quiet_console, without_cluster
from tests.helpers import heart_bytes, read_rows, tree, write_many

N = 100
CHOICES = (*ORIGINAL_LABELS, "cannot tell")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """Return the results of 100 recordings."""
    folder = tmp_path_factory.mktemp("many")
    write_many(folder / "in", N)
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        classify([str(folder / "in")], str(folder / "out"), JobSettings(model=str(bundle)), quiet_console())
    return folder / "out"


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Path:
    """Return a review of all of them."""
    folder = tmp_path_factory.mktemp("review") / "review"
    done = review(str(finished), str(folder), N, quiet_console(), with_audio=True)
    assert done.n_recordings == N
    assert done.left_out == []
    return folder


@pytest.fixture
def results(tmp_path: Path, finished: Path) -> Path:
    """Return a copy of the results that may be changed."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def listed(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "review.csv").read_text().splitlines()))


def verdicts_of(folder: Path) -> dict[str, str]:
    """Return a verdict for each recording: what a person would say, by its place in the list."""
    return {row["recording"][3:]: CHOICES[number % 6] for number, row in enumerate(listed(folder))}


def by_page(folder: Path, to: Path, said: dict[str, str]) -> Path:
    page = (folder / "review.html").read_text()
    cards = re.findall(r'data-id="(\w+)" data-sha="(\w+)" data-chosen="([a-z|]+)"', page)
    facts = json.loads(re.search("const facts = (.*);", page)[1])
    rows = [
        {"recording_id": one, "audio_sha256": sha, "chosen": why, "verdict": said[one]}
        | {"judged_at": "2026-11-30T03:01:32.413Z"}
        for one, sha, why in cards
    ]
    to.write_text(json.dumps({"kind": facts["kind"], "run_id": facts["run_id"], "verdicts": rows}))
    return to


def by_label_studio(folder: Path, to: Path, said: dict[str, str]) -> Path:
    tasks = json.loads((folder / "label-studio.json").read_text())
    for task in tasks:
        value = {"choices": [said[task["data"]["recording_id"]]]}
        task["annotations"] = [
            {"result": [{"type": "choices", "from_name": "verdict", "to_name": "picture", "value": value}]}
            | {"was_cancelled": False, "updated_at": "2026-11-30T02:30:00.000000Z"}
        ]
    to.write_text(json.dumps(tasks))
    return to


def by_audacity(folder: Path, to: Path, said: dict[str, str]) -> Path:
    tracks = to.with_suffix("")
    tracks.mkdir()
    for path in (folder / "audacity").iterdir():
        (tracks / path.name).write_text(path.read_text().replace(" = ?", f" = {said[path.stem]}", 1))
    return tracks


def by_csv(folder: Path, to: Path, said: dict[str, str]) -> Path:
    rows = listed(folder)
    with to.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"verdict": said[row["recording"][3:]]} for row in rows)
    return to.with_suffix(".csv")


Way = Callable[[Path, Path, dict[str, str]], Path]
WAYS: dict[str, Way] = {
    "page": by_page,
    "label-studio": by_label_studio,
    "audacity": by_audacity,
    "csv": by_csv,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_hundred_verdicts_come_back_unchanged_joined_and_counted(
    way: str, handed_out: Path, results: Path, tmp_path: Path
) -> None:
    said = verdicts_of(handed_out)
    assert len(said) == N
    file = WAYS[way](handed_out, tmp_path / "verdicts.json", said)
    done = import_verdicts(str(results), str(file))
    assert (done.n_new, done.n_changed, done.n_same, done.n_reviews) == (N, 0, 0, N)

    rows = {row["recording_id"]: row for row in read_rows(results, "reviews")}
    assert {one: row["verdict"] for one, row in rows.items()} == said
    assert {row["way"] for row in rows.values()} == {way}
    assert {one: row["chosen"] for one, row in rows.items()} == {
        row["recording"][3:]: row["chosen"] for row in listed(handed_out)
    }
    predicted = {row["recording_id"]: row for row in read_rows(results, "predictions")}
    assert all(row["audio_sha256"] == predicted[one]["audio_sha256"] for one, row in rows.items())
    right = sum(said[one] == row["predicted_label"] for one, row in predicted.items())
    n_told = sum(one != "cannot tell" for one in said.values())
    assert (done.precision[0].right, done.precision[0].judged) == (right, n_told)
    assert done.n_cannot_tell == N - n_told
    assert done.random is not None  # All 100 are in the random sample, too.
    assert (done.random.right, done.random.judged) == (right, n_told)

    # The same once more, and the same by every other way: nothing changes.
    before = tree(results)
    for other, give in WAYS.items():
        again = import_verdicts(str(results), str(give(handed_out, tmp_path / f"again-{other}.json", said)))
        assert (again.n_new, again.n_changed, again.n_same) == (0, 0, N)
        assert again.precision == done.precision
    assert tree(results) == before


def test_a_changed_verdict_takes_the_place_of_the_one_before(handed_out: Path, results: Path, tmp_path: Path) -> None:
    said = verdicts_of(handed_out)
    first, second, *_ = said
    import_verdicts(str(results), str(by_page(handed_out, tmp_path / "a.json", said)))
    stored = {row["recording_id"]: row for row in read_rows(results, "reviews")}
    (tmp_path / "b.csv").write_text(f"recording_id,verdict\n{first},{said[first]}\n{second},murmur\n")
    done = import_verdicts(str(results), str(tmp_path / "b.csv"))
    expected = (0, 0, 2) if said[second] == "murmur" else (0, 1, 1)
    assert (done.n_new, done.n_changed, done.n_same, done.n_reviews) == (*expected, N)
    now = {row["recording_id"]: row for row in read_rows(results, "reviews")}
    assert now[second]["verdict"] == "murmur"
    assert now[second]["chosen"] == stored[second]["chosen"]
    assert {one: row for one, row in now.items() if one != second} == {
        one: row for one, row in stored.items() if one != second
    }
    assert len(list((results / "reviews").iterdir())) == 1


@pytest.mark.parametrize("stored", [False, True])
def test_a_verdict_on_an_unknown_recording_is_named_and_refused(
    handed_out: Path, results: Path, tmp_path: Path, stored: bool
) -> None:
    said = verdicts_of(handed_out)
    if stored:
        import_verdicts(str(results), str(by_csv(handed_out, tmp_path / "a.json", said)))
    before = tree(results)
    (tmp_path / "b.csv").write_text(f"recording_id,verdict\n{next(iter(said))},loud\nfeedfacecafebeef,normal\n")
    with pytest.raises(InputError, match="'loud' is no verdict"):  # The model does not know the label.
        import_verdicts(str(results), str(tmp_path / "b.csv"))
    (tmp_path / "b.csv").write_text(f"recording_id,verdict\n{next(iter(said))},murmur\nfeedfacecafebeef,normal\n")
    with pytest.raises(InputError, match="no prediction of recording feedfacecafebeef"):
        import_verdicts(str(results), str(tmp_path / "b.csv"))
    assert tree(results) == before


def test_a_verdict_on_other_audio_is_left_out_and_named(handed_out: Path, results: Path, tmp_path: Path) -> None:
    said = verdicts_of(handed_out)
    file = by_page(handed_out, tmp_path / "a.json", said)
    content = json.loads(file.read_text())
    content["verdicts"][3]["audio_sha256"] = "0" * 64
    file.write_text(json.dumps(content))
    done = import_verdicts(str(results), str(file))
    assert done.changed_audio == [content["verdicts"][3]["recording_id"]]
    assert (done.n_new, done.n_reviews) == (N - 1, N - 1)


def test_two_imports_at_the_same_time_lose_nothing(handed_out: Path, results: Path, tmp_path: Path) -> None:
    slow = ReviewFolder(results.as_uri())
    import_verdicts(str(results), str(by_csv(handed_out, tmp_path / "a.json", verdicts_of(handed_out))))
    with pytest.raises(OutputError, match="import these verdicts again"):
        slow.replace([], {})
    assert len(read_rows(results, "reviews")) == N


def test_the_table_says_what_it_is(handed_out: Path, results: Path, tmp_path: Path) -> None:
    import_verdicts(str(results), str(by_page(handed_out, tmp_path / "a.json", verdicts_of(handed_out))))
    table = from_parquet((results / "reviews" / "part-000001.parquet").read_bytes())
    assert table.schema.equals(REVIEWS)
    assert {b"heartbeat.schema_version", b"heartbeat.run_id"} <= table.schema.metadata.keys()
    beside = json.loads((results / "_schemas" / "reviews.json").read_text())
    assert [one["name"] for one in beside["fields"]] == REVIEWS.names
    assert all(one["description"] for one in beside["fields"])
    assert beside["primaryKey"] == ["recording_id"]


def test_the_page_shows_each_recording(handed_out: Path, finished: Path) -> None:
    page = (handed_out / "review.html").read_text()
    predicted = {row["recording_id"]: row for row in read_rows(finished, "predictions")}
    cards = re.findall("<article.*?</article>", page, re.DOTALL)
    assert len(cards) == N
    for card in cards:
        one = predicted[re.search('data-id="(.*?)"', card)[1]]
        assert f'data-sha="{one["audio_sha256"]}"' in card
        png = re.search('src="data:image/png;base64,(.*?)"', card)[1]
        assert Image.open(io.BytesIO(b64decode(png))).size == (900, 360)
        assert re.findall('data-verdict="(.*?)"', card) == list(CHOICES)
        assert f"{one['predicted_label']}, confidence {one['confidence']:.2f}" in unescape(card)
        # The answer and the name are folded.
        assert one["relative_path"] not in card.partition("<details>")[0]
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {one.partition(",")[0] for one in loaded if not one.startswith("audio/")} == {
        "data:",
        "data:image/png;base64",
    }
    assert sorted(one for one in loaded if one.startswith("audio/")) == sorted(
        f"audio/{path.name}" for path in (handed_out / "audio").iterdir()
    )


def test_the_audio_is_the_recording(handed_out: Path, finished: Path) -> None:
    for row in read_rows(finished, "predictions")[:5]:
        wave = decode((handed_out / "audio" / f"{row['recording_id']}.wav").read_bytes())
        original = decode(Path(row["uri"].removeprefix("file://")).read_bytes())
        assert wave.sample_rate_hz == original.sample_rate_hz
        assert abs(wave.samples - original.samples).max() < 1e-4


def test_the_other_lists_are_the_same(handed_out: Path) -> None:
    ids = [row["recording"][3:] for row in listed(handed_out)]
    tasks = json.loads((handed_out / "label-studio.json").read_text())
    assert [task["data"]["recording_id"] for task in tasks] == ids
    assert sorted(path.stem for path in (handed_out / "audacity").iterdir()) == sorted(ids)
    interface = ElementTree.fromstring((handed_out / "label-studio.xml").read_text())
    assert [one.get("value") for one in interface.iter("Choice")] == list(CHOICES)
    used = {one.get("value", "") for one in interface.iter() if one.tag in ("Image", "Audio")}
    assert {value.removeprefix("$") for value in used} <= tasks[0]["data"].keys()
    assert "predicted" not in json.dumps(tasks)
    for path in (handed_out / "audacity").iterdir():
        for line in path.read_text().splitlines():
            begin, end, text = line.split("\t")
            assert 0 <= float(begin) <= float(end)
            assert re.fullmatch(
                rf"S1|S2|predicted \w+ [01]\.\d\d|verdict {path.stem}\.[0-9a-f]{{8}} [a-z|]+ = \?", text
            )


def test_without_audio_nothing_can_be_heard(finished: Path, tmp_path: Path) -> None:
    done = review(str(finished), str(tmp_path / "review"), 1, quiet_console())
    assert 3 <= done.n_recordings <= 3 + len(ORIGINAL_LABELS)
    assert not (tmp_path / "review" / "audio").exists()
    assert "<audio" not in (tmp_path / "review" / "review.html").read_text()
    assert b"Audio" not in (tmp_path / "review" / "label-studio.xml").read_bytes()
    assert "RIFF" not in (tmp_path / "review" / "label-studio.json").read_text()


@pytest.mark.parametrize("sets", [None, ("aligned",), ("aligned", "beats")])
def test_the_poorest_have_the_lowest_quality(
    tmp_path: Path, bundle: Path, in_process: None, sets: tuple[str, ...] | None
) -> None:
    write_many(tmp_path / "in", 12)
    classify(
        [str(tmp_path / "in")], str(tmp_path / "out"), JobSettings(model=str(bundle), features=sets), quiet_console()
    )
    review(str(tmp_path / "out"), str(tmp_path / "review"), 3, quiet_console())

    def quality(row: dict[str, Any]) -> float:
        if "quality" in row:
            return float(row["quality"])
        flaws = (1 - row["clipped_fraction"]) * (1 - row["silent_fraction"])
        return float(flaws * row.get("segmentation_confidence", 1.0))

    rows = read_rows(tmp_path / "out", "features")
    assert ("quality" in rows[0]) == (sets is None)
    assert ("segmentation_confidence" in rows[0]) == (sets is None or "beats" in sets)
    poorest = sorted(rows, key=lambda row: (quality(row), row["recording_id"]))[:3]
    chosen = {row["recording"][3:] for row in listed(tmp_path / "review") if "quality" in row["chosen"]}
    assert chosen == {row["recording_id"] for row in poorest}


def test_a_review_is_never_written_over(handed_out: Path, finished: Path) -> None:
    before = tree(handed_out)
    with pytest.raises(OutputError, match="is not empty: name a new folder"):
        review(str(finished), str(handed_out), 1, quiet_console())
    assert tree(handed_out) == before


def test_recordings_that_changed_or_are_gone_are_left_out_and_told(
    tmp_path: Path, bundle: Path, in_process: None
) -> None:
    write_many(tmp_path / "in", 8)
    classify([str(tmp_path / "in")], str(tmp_path / "out"), JobSettings(model=str(bundle)), quiet_console())
    (tmp_path / "in" / "00002.wav").unlink()
    (tmp_path / "in" / "00005.wav").write_bytes(heart_bytes("murmur", 99))
    done = review(str(tmp_path / "out"), str(tmp_path / "review"), 8, quiet_console())
    assert done.n_recordings == 6
    told = dict(done.left_out)
    assert told.keys() == {"00002.wav", "00005.wav"}
    assert "not found" in told["00002.wav"]
    assert "changed" in told["00005.wav"]


def test_after_an_update_a_verdict_on_the_old_audio_no_longer_counts(
    tmp_path: Path, bundle: Path, in_process: None
) -> None:
    write_many(tmp_path / "in", 4)
    settings = JobSettings(model=str(bundle))
    out = str(tmp_path / "out")
    classify([str(tmp_path / "in")], out, settings, quiet_console())
    review(out, str(tmp_path / "review"), 4, quiet_console())
    files = [
        give(tmp_path / "review", tmp_path / f"{way}.json", verdicts_of(tmp_path / "review"))
        for way, give in WAYS.items()
    ]
    assert import_verdicts(out, str(files[0])).n_reviews == 4
    (tmp_path / "in" / "00001.wav").write_bytes(heart_bytes("murmur", 99))
    classify([str(tmp_path / "in")], out, settings, quiet_console(), update=True)
    for file in files:
        done = import_verdicts(out, str(file))
        assert (done.n_same, len(done.changed_audio), done.n_reviews) == (3, 1, 3)
