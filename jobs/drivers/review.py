"""Hand recordings of finished results to people who judge them, and take their verdicts back.

On disk, or under any URL::

    REVIEW/review.html          the page: pictures, buttons, keys
    REVIEW/review.csv           the same list, with a column for the verdicts
    REVIEW/label-studio.json    the same list as tasks, and label-studio.xml, their labelling interface
    REVIEW/audacity/ID.txt      a label track for each recording
    REVIEW/audio/ID.wav         if asked for

Verdicts are stored in ``OUT/reviews/`` (``jobs.output.reviews``).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from os.path import splitext

from rich.console import Console

import heartbeat_core
from heartbeat_core import storage
from heartbeat_core.audio.encode import wav_bytes
from heartbeat_core.errors import InputError, OutputError, RecordingError
from heartbeat_core.evaluation.agreement import CANNOT_TELL, Judged, Precision, measure_precision
from heartbeat_core.features.beats_columns import SEGMENTATION_CONFIDENCE
from heartbeat_core.features.signal_quality_columns import SIGNAL_QUALITY
from heartbeat_core.labels import PROBABILITY_PREFIX, Labels
from heartbeat_core.recordings.fetch import read_recordings
from heartbeat_core.results.folder import Results
from heartbeat_core.results.reviews import Review
from heartbeat_core.reviewing.choosing import (
    FLAWS,
    RANDOM,
    SEPARATOR,
    Chosen,
    Predicted,
    choose,
    poorest,
    rough_quality,
)
from heartbeat_core.reviewing.exports import (
    Item,
    audacity_track,
    label_studio_interface,
    label_studio_tasks,
    verdicts_csv,
)
from heartbeat_core.reviewing.page import render_review
from heartbeat_core.reviewing.picture import draw, hear
from heartbeat_core.reviewing.verdicts import Verdict, name_some, read_verdicts, settle
from heartbeat_core.settings import Limits
from jobs.listing.pseudonyms import check_salt, opened
from jobs.output.newest import newest_recordings, read_newest
from jobs.output.places import RUN_NAME
from jobs.output.reviews import ReviewFolder
from jobs.output.status import read_status
from jobs.progress import meter

PAGE_NAME = "review.html"
TRACKS_FOLDER, AUDIO_FOLDER = "audacity", "audio"
_PREDICTED = ["audio_sha256", "relative_path", "predicted_label", "confidence", "unsure_reason"]


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """What was written.

    Attributes
    ----------
    results : str
        The folder of the results, as it is shown.
    page : str
        Where the page is.
    n_recordings : int
        How many recordings it shows.
    left_out : list[tuple[str, str]]
        The relative path of each chosen recording that it does not show, and the reason.
    """

    results: str
    page: str
    n_recordings: int
    left_out: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import has changed, and what all verdicts say.

    Attributes
    ----------
    n_new, n_changed, n_same : int
        Verdicts of this import: on recordings without one, other than the one before, and the same.
    changed_audio : list[str]
        Ids of recordings whose verdicts were left out: their audio has changed since it was judged.
    n_reviews, n_cannot_tell : int
        All verdicts on recordings as they are now, and those that cannot tell.
    precision : list[Precision]
        Of all these verdicts, as ``measure_precision``.
    random : Precision | None
        Of the random sample alone; None if none of it is judged.
    """

    n_new: int
    n_changed: int
    n_same: int
    changed_audio: list[str]
    n_reviews: int
    n_cannot_tell: int
    precision: list[Precision]
    random: Precision | None


@dataclass(frozen=True, slots=True)
class _Finished:
    """Finished results of ``classify``: where they are, and what is known of their run."""

    uri: str
    run_id: str
    limits: Limits
    path_column: str | None
    salt: str | None
    labels: Labels


def review(
    out: str, folder: str, n_each: int, console: Console, *, with_audio: bool = False, salt_env: str | None = None
) -> ReviewSummary:
    """Choose recordings from the results in ``out``, and write what people need to judge them into ``folder``.

    Parameters
    ----------
    out, folder : str
        Paths or URLs; ``folder`` is new or empty.
    n_each : int
        How many recordings are chosen for each reason (``choosing.choose``).
    console : Console
    with_audio : bool
        Write the recordings as WAV, too. They are patients' data, and whoever has the folder can hear them.
    salt_env : str | None
        The environment variable with the secret of results with pseudonyms; what is written has these pseudonyms, too.

    Raises
    ------
    InputError
        ``out`` is not the finished output of ``classify``, or nothing there can be shown.
    UsageError
        The results were made with another secret, or with one and none is named.
    OutputError
        There is something in ``folder``.
    StorageError
        A folder cannot be read or written.
    """
    found = _read_finished(out)
    check_salt(found.salt, salt_env)
    place = storage.to_uri(folder)
    if storage.list_names(place):  # Verdicts may be written there.
        raise OutputError(
            f"{storage.display(place)} is not empty: name a new folder, or remove it if an interrupted review left it"
        )
    chosen = _choose(found, n_each)
    items: list[Item] = []
    left_out: list[tuple[str, str]] = []
    with meter(console, "review", len(chosen), "recordings") as shown:
        for one, item in _items(found, chosen, place if with_audio else None, salt_env):
            if isinstance(item, Item):
                items.append(item)
                storage.create(storage.join(place, TRACKS_FOLDER, f"{one.recording_id}.txt"), audacity_track(item))
            else:
                left_out.append((one.predicted.relative_path, item))
            shown.advance()
    if not items:
        raise InputError(
            "none of the chosen recordings can be shown"
            + (f": {left_out[0][0]}: {left_out[0][1]}" if left_out else ": there are no predictions")
        )
    list_id = hashlib.sha256("".join([found.run_id, *(one.chosen.recording_id for one in items)]).encode())
    page = render_review(
        items,
        found.labels,
        folder=storage.display(found.uri),
        run_id=found.run_id,
        review_id=list_id.hexdigest()[:16],
    )
    storage.create(storage.join(place, "review.csv"), verdicts_csv(items))
    storage.create(storage.join(place, "label-studio.json"), label_studio_tasks(items))
    storage.create(storage.join(place, "label-studio.xml"), label_studio_interface(found.labels, has_audio=with_audio))
    storage.create(storage.join(place, PAGE_NAME), page)
    shown_page = storage.display(storage.join(place, PAGE_NAME))
    return ReviewSummary(storage.display(found.uri), shown_page, len(items), left_out)


def import_verdicts(out: str, verdicts: str) -> ImportSummary:
    """Add verdicts to the table ``reviews`` of ``out``. The same verdicts a second time change nothing.

    Parameters
    ----------
    out : str
        Path or URL of the finished output of ``classify``.
    verdicts : str
        A file that ``verdicts.read_verdicts`` reads, or a folder of label tracks; a path or URL.

    Raises
    ------
    InputError
        The verdicts cannot be read, or one is on a recording that has no prediction in ``out``, or is none of the
        labels; nothing is imported then.
    """
    found = _read_finished(out)
    settled = settle(_read_verdicts(verdicts), found.labels)
    if not settled:
        raise InputError(f"{storage.display(storage.to_uri(verdicts))}: there are no verdicts in it")
    folder = ReviewFolder(found.uri)
    reviews = folder.read()
    predicted = _find_predicted(found.uri, {*reviews, *(one.recording_id for one in settled)})
    unknown = [one.recording_id for one in settled if one.recording_id not in predicted]
    if unknown:
        raise InputError(
            f"{storage.display(found.uri)} has no prediction of recording {name_some(unknown)}: are the verdicts on "
            "other results? Nothing was imported"
        )
    now = datetime.now(UTC)
    n_new = n_changed = n_same = 0
    changed_audio: list[str] = []
    for one in settled:
        audio_sha256 = predicted[one.recording_id].audio_sha256
        if not audio_sha256.startswith(one.audio_sha256 or ""):
            changed_audio.append(one.recording_id)
            continue
        before = reviews.get(one.recording_id)
        if before is not None and (before.verdict, before.audio_sha256) == (one.verdict, audio_sha256):
            n_same += 1
            continue
        n_new += before is None
        n_changed += before is not None
        reasons = one.reasons or (None if before is None else before.chosen)
        reviews[one.recording_id] = Review(
            one.recording_id, audio_sha256, one.verdict, reasons, one.way, one.judged_at, now
        )
    if n_new or n_changed:
        folder.replace(
            list(reviews.values()), {"run_id": found.run_id, "heartbeat_version": heartbeat_core.__version__}
        )
    valid = [one for one in reviews.values() if _is_of(one, predicted.get(one.recording_id))]
    judged = [_judged(one, predicted[one.recording_id]) for one in valid]
    at_random = [
        _judged(one, predicted[one.recording_id])
        for one in valid
        if one.chosen is not None and RANDOM in one.chosen.split(SEPARATOR)
    ]
    return ImportSummary(
        n_new,
        n_changed,
        n_same,
        changed_audio,
        len(valid),
        sum(one.verdict == CANNOT_TELL for one in valid),
        measure_precision(judged),
        next(iter(measure_precision(at_random)), None),
    )


def _read_finished(out: str) -> _Finished:
    status = read_status(out)
    uri = storage.to_uri(out)
    shown = storage.display(uri)
    if status.job != "classify":
        raise InputError(f"{shown} is the output of '{status.job}': name the output of 'classify'")
    if not status.finished:
        raise InputError(f"{shown} is not finished: run its job again to go on, then review it")
    identity = json.loads(storage.read(storage.join(uri, RUN_NAME)))["identity"]
    names = Results(uri).schema().names
    return _Finished(
        uri,
        status.run_id,
        Limits.model_validate(identity["limits"]),
        identity["path_column"],
        identity.get("salt"),
        tuple(name.removeprefix(PROBABILITY_PREFIX) for name in names if name.startswith(PROBABILITY_PREFIX)),
    )


def _choose(found: _Finished, n_each: int) -> list[Chosen]:
    methods = {field.name: (field.metadata or {}).get(b"method") for field in Results(found.uri).schema("features")}
    columns = ["quality"]
    rate: Callable[..., float] = float
    if methods.get("quality") != SIGNAL_QUALITY.version.encode():
        columns = [*FLAWS, *({SEGMENTATION_CONFIDENCE} & methods.keys())]
        rate = rough_quality

    def qualities() -> Iterator[list[tuple[str, float]]]:
        for part in read_newest(found.uri, "features", columns):
            rows = zip(*(part.column(name).to_pylist() for name in ("recording_id", *columns)), strict=True)
            yield [(recording_id, rate(*values)) for recording_id, *values in rows]

    poor = poorest(qualities(), n_each)
    parts = (
        [_predicted(row, poor) for row in part.to_pylist()]
        for part in read_newest(found.uri, "predictions", _PREDICTED)
    )
    return choose(parts, poor, n_each)


def _predicted(row: dict[str, object], quality: dict[str, float]) -> Predicted:
    facts = {name: row[name] for name in ("recording_id", *_PREDICTED)}
    return Predicted(**facts, quality=quality.get(str(row["recording_id"])))  # type: ignore[arg-type]


def _find_predicted(out: str, ids: Collection[str]) -> dict[str, Predicted]:
    """Return the predictions of these recordings, where there are some."""
    return {
        row["recording_id"]: _predicted(row, {})
        for part in read_newest(out, "predictions", _PREDICTED)
        for row in part.to_pylist()
        if row["recording_id"] in ids
    }


def _items(
    found: _Finished, chosen: list[Chosen], audio_in: str | None, salt_env: str | None
) -> Iterator[tuple[Chosen, Item | str]]:
    """Yield each chosen recording, as it is shown or with the reason why it cannot be."""
    ids = {one.recording_id for one in chosen}
    planned = {one.recording_id: one for _, one in newest_recordings(found.uri) if one.recording_id in ids}
    wanted = opened([planned[one.recording_id] for one in chosen], salt_env, found.path_column, found.run_id)
    for one, (_, data) in zip(chosen, read_recordings(wanted, found.limits), strict=True):
        if isinstance(data, RecordingError):
            yield one, str(data)
        elif hashlib.sha256(data).hexdigest() != one.predicted.audio_sha256:
            yield one, "it has changed since it was classified: 'heartbeat classify --update' takes it again"
        else:
            yield one, _item(one, data, found.limits, audio_in)


def _item(one: Chosen, data: bytes, limits: Limits, audio_in: str | None) -> Item | str:
    try:
        heard = hear(data, limits)
    except RecordingError as error:
        return str(error)
    name = None
    if audio_in is not None:
        name = f"{AUDIO_FOLDER}/{one.recording_id}.wav"
        storage.create(storage.join(audio_in, name), wav_bytes(heard.samples, heard.sample_rate_hz))
    picture = f"data:image/png;base64,{base64.b64encode(draw(heard)).decode()}"
    return Item(one, heard.duration_s, heard.window_s, heard.sounds, picture, name)


def _read_verdicts(verdicts: str) -> list[Verdict]:
    uri = storage.to_uri(verdicts)
    shown = storage.display(uri)
    files = [uri]
    if storage.is_folder(uri):
        files = [storage.join(uri, name) for name in storage.list_names(uri) if name.endswith(".txt")]
        if not files:
            raise InputError(f"{shown}: there are no label tracks (.txt) in this folder: name a file of verdicts")
    try:
        return [
            one
            for file in files
            for one in read_verdicts(storage.read(file), splitext(file)[1].lower(), storage.display(file))
        ]
    except FileNotFoundError:
        raise InputError(f"{shown}: there is no such file") from None


def _is_of(review: Review, predicted: Predicted | None) -> bool:
    """Tell whether a verdict is on the audio that the prediction is of."""
    return predicted is not None and review.audio_sha256 == predicted.audio_sha256


def _judged(review: Review, predicted: Predicted) -> Judged:
    return Judged(predicted.predicted_label, predicted.confidence, review.verdict)
