"""The single-file mode: the same answers as the job, in this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import BundleError, InputError, StorageError
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.settings import DEFAULT_MODEL, Limits
from jobs.drivers.classify import classify
from jobs.drivers.predict import predict
from jobs.settings import JobSettings
from tests.helpers import LIMITS, comparable, write_broken


def test_predict_and_classify_agree(
    library: Path, bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    settings = JobSettings(model=str(bundle))
    classify([str(library)], str(tmp_path / "out"), settings, console)
    expected = comparable(tmp_path / "out", "predictions")
    rows = predict([str(library)], str(bundle), Limits())
    assert [row["uri"] for row in rows] == list(expected)
    for row in rows:
        stored = expected[row["uri"]]
        assert row["predicted_label"] == stored["predicted_label"] == ORIGINAL_LABELS[row["predicted_code"]]
        assert row["confidence"] == pytest.approx(stored["confidence"], abs=1e-6)
        for label, chance in row["probabilities"].items():
            assert chance == pytest.approx(stored[f"prob_{label}"], abs=1e-6)
        assert (row["unsure"], row["unsure_reason"]) == (stored["unsure"], stored["unsure_reason"])
        assert row["audio_sha256"] == stored["audio_sha256"]
        assert row["model_id"] == stored["model_id"]


def test_rows_come_in_the_order_of_the_names(library: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("text")
    named = [library / "murmur/murmur_01.wav", tmp_path / "broken.wav", library / "normal/normal_00.wav"]
    rows = predict([str(path) for path in named], str(bundle), Limits())
    assert [row["uri"] for row in rows] == [f"file://{path}" for path in named]
    assert rows[1] == {
        "uri": f"file://{named[1]}",
        "stage": "decode",
        "error_type": "not_audio",
        "message": rows[1]["message"],
    }
    assert rows[1]["message"]
    assert rows[0]["predicted_label"] in ORIGINAL_LABELS
    assert rows[0]["truncated"] is False


def test_nothing_but_broken_recordings(bundle: Path, tmp_path: Path) -> None:
    expected = write_broken(tmp_path / "in")
    rows = predict([str(tmp_path / "in")], str(bundle), Limits.model_validate(LIMITS))
    found = {row["uri"].rpartition("/")[2]: (row["stage"], row["error_type"]) for row in rows}
    assert found == expected


@pytest.mark.parametrize("model", sorted({DEFAULT_MODEL, "seed-small"}))
def test_the_shipped_models_serve(library: Path, model: str) -> None:
    (row,) = predict([str(library / "normal/normal_00.wav")], model, Limits())
    assert row["model_id"].startswith(f"{model}@")
    # The faithful one leaves artifacts out of its training, as the original does; the default one must know them.
    assert (row["probabilities"]["artifact"] == 0) == (model == "seed-small")
    assert row["unsure"] == (row["unsure_reason"] is not None)
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_a_recording_that_is_not_there_is_a_row_of_its_own(library: Path, bundle: Path, tmp_path: Path) -> None:
    good, gone = library / "murmur/murmur_01.wav", tmp_path / "gone.wav"
    rows = predict([str(gone), str(good), str(good), str(tmp_path / "*.flac")], str(bundle), Limits())
    assert [row["uri"] for row in rows] == [f"file://{path}" for path in (gone, good, tmp_path / "*.flac")]
    assert rows[0] == {
        "uri": f"file://{gone}",
        "stage": "read",
        "error_type": "not_found",
        "message": "no such file or folder",
    }
    assert rows[1]["predicted_label"] in ORIGINAL_LABELS
    assert rows[2]["error_type"] == "not_found"


def test_wrong_names_are_usage_errors(library: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no recordings in"):
        predict([str(tmp_path / "empty")], str(bundle), Limits())
    with pytest.raises(BundleError, match=r"no model bundle there .* shipped models: .*seed-small"):
        predict([str(library)], "seed-smal", Limits())


def test_an_input_that_cannot_be_listed_costs_no_other_its_row(library: Path, bundle: Path, tmp_path: Path) -> None:
    good = library / "murmur/murmur_01.wav"
    (tmp_path / "m.csv").write_text("no,paths\n1,2\n")
    odd = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.wav")
    rows = predict([str(tmp_path / "m.csv"), odd, str(good)], str(bundle), Limits())
    assert [row.get("error_type") for row in rows] == ["unreadable", "unreadable", None]
    assert "which column? Name it with --path-column" in rows[0]["message"]
    assert rows[1]["uri"].endswith("/caf\\xe9.wav")
    assert rows[1]["message"].endswith("the name is not valid UTF-8: rename it")
    assert rows[2]["predicted_label"] in ORIGINAL_LABELS
    with pytest.raises(InputError, match=r"^'' names no place"):
        predict(["", str(good)], str(bundle), Limits())


def test_a_store_that_refuses_one_input_costs_no_other_its_row(
    library: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, secret = str(library / "murmur/murmur_01.wav"), "s3://secret/a.wav"

    def is_folder(uri: str) -> bool:
        if uri == secret:
            raise StorageError(f"{secret}: Access Denied")
        return real(uri)

    real = storage.is_folder
    monkeypatch.setattr(storage, "is_folder", is_folder)
    for inputs in ([good, secret], [secret, good]):
        rows = {row["uri"]: row for row in predict(inputs, str(bundle), Limits())}
        assert (rows[secret]["error_type"], rows[secret]["message"]) == ("unreadable", f"{secret}: Access Denied")
        assert rows[f"file://{good}"]["predicted_label"] in ORIGINAL_LABELS
    with pytest.raises(InputError, match="Access Denied"):
        predict([secret], str(bundle), Limits())
