"""The list of a review for Label Studio, for Audacity, and as CSV.

* Label Studio: a JSON array of tasks, and the labelling interface as XML (https://labelstud.io/guide/tasks,
  https://labelstud.io/tags/choices). A task holds neither the model's answer nor the name
  of the file, which would lead who judges.
* Audacity: one label track for each recording, ``start TAB end TAB text``
  (https://manual.audacityteam.org/man/importing_and_exporting_labels.html).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from heartbeat_core.evaluation.agreement import CANNOT_TELL
from heartbeat_core.reviewing.choosing import Chosen
from heartbeat_core.reviewing.verdicts import ID_PREFIX, NOT_JUDGED

_COLUMNS = (
    *("recording", "relative_path", "chosen", "predicted_label", "confidence", "unsure_reason", "duration_s"),
    *("audio_sha256", "verdict"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What begins a formula in a spreadsheet."""


@dataclass(frozen=True, slots=True)
class Item:
    """A recording of the review, as it is shown.

    Attributes
    ----------
    chosen : Chosen
    duration_s : float
    window_s : tuple[float, float]
        The part that the picture shows, in seconds.
    sounds : Sequence[tuple[str, float, float]]
        As ``Heard.sounds``.
    picture : str
        A data URI.
    audio : str | None
        Where its WAV is, below the review; None without audio.
    """

    chosen: Chosen
    duration_s: float
    window_s: tuple[float, float]
    sounds: Sequence[tuple[str, float, float]]
    picture: str
    audio: str | None = None


def label_studio_tasks(items: Sequence[Item]) -> bytes:
    """Return the tasks, to be imported into a project with ``label_studio_interface``.

    Parameters
    ----------
    items : Sequence[Item]

    Returns
    -------
    bytes
        A JSON array, one object an item.
    """
    tasks = [
        {
            "data": {
                "recording_id": item.chosen.recording_id,
                "audio_sha256": item.chosen.predicted.audio_sha256,
                "chosen": item.chosen.reasons,
                "picture": item.picture,
                **({"audio": item.audio} if item.audio else {}),
            }
        }
        for item in items
    ]
    return json.dumps(tasks, ensure_ascii=False, indent=1).encode()


def label_studio_interface(labels: Sequence[str], *, has_audio: bool) -> bytes:
    """Return the labelling interface: the picture, the audio if there is some, and one choice.

    Parameters
    ----------
    labels : Sequence[str]
        Of the model, in order; ``cannot tell`` is added.
    has_audio : bool
        Whether the tasks have audio.

    Returns
    -------
    bytes
        XML.
    """
    choices = [f"    <Choice value={quoteattr(label)}/>" for label in (*labels, CANNOT_TELL)]
    audio = ['  <Audio name="audio" value="$audio"/>'] if has_audio else []
    lines = [
        "<View>",
        '  <Header value="Recording $recording_id"/>',
        '  <Image name="picture" value="$picture"/>',
        *audio,
        '  <Choices name="verdict" toName="picture" choice="single" required="true" showInline="true">',
        *choices,
        "  </Choices>",
        "</View>",
    ]
    return ("\n".join(lines) + "\n").encode()


def audacity_track(item: Item) -> bytes:
    """Return a label track: the verdict to be filled in, the model's answer, and each S1 and S2.

    The first label is ``verdict ID.AUDIO REASONS = ?``, over the whole recording, with the beginning of the SHA-256 of
    the audio: a label of the model takes the place of the ``?``. A model does not say where it hears a murmur, so its
    answer is over the whole recording, too.

    Returns
    -------
    bytes
        Lines of ``start TAB end TAB text``, in seconds.
    """
    one = item.chosen
    whole = (0.0, item.duration_s)
    labels = [
        (*whole, f"verdict {one.recording_id}.{one.predicted.audio_sha256[:8]} {one.reasons} = {NOT_JUDGED}"),
        (*whole, f"predicted {one.predicted.predicted_label} {one.predicted.confidence:.2f}"),
        *((begin, end, name) for name, begin, end in item.sounds),
    ]
    return "".join(f"{begin:.6f}\t{end:.6f}\t{text}\n" for begin, end, text in labels).encode()


def verdicts_csv(items: Sequence[Item]) -> bytes:
    """Return the list as CSV, with an empty column for the verdicts.

    Parameters
    ----------
    items : Sequence[Item]

    Returns
    -------
    bytes
        A head and one line an item, in UTF-8; durations in seconds.
    """
    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerow(_COLUMNS)
    for item in items:
        one = item.chosen.predicted
        writer.writerow(
            (
                f"{ID_PREFIX}{one.recording_id}",
                f"'{one.relative_path}" if one.relative_path.startswith(_FORMULA) else one.relative_path,
                item.chosen.reasons,
                one.predicted_label,
                f"{one.confidence:.4f}",
                one.unsure_reason or "",
                f"{item.duration_s:.3f}",
                one.audio_sha256,
                "",
            )
        )
    return sink.getvalue().encode()
