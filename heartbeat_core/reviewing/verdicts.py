"""Read verdicts: the file that the page saves, an export of Label Studio, label tracks of Audacity, and CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from heartbeat_core.errors import InputError
from heartbeat_core.evaluation.agreement import CANNOT_TELL
from heartbeat_core.formats.records import read_records

PAGE_KIND = "heartbeat-verdicts"
"""What the page's file says that it is."""
NOT_JUDGED = "?"
"""Stands in a label track where the verdict belongs."""
ID_PREFIX = "id-"
"""Before ids in CSV: spreadsheets would take ``0000123456789e12`` for a number, and round it."""
SUFFIXES = (".json", ".csv", ".txt")
_TRACK_LINE = re.compile(
    r"verdict\s+(?P<id>[0-9a-f]{16})(?:\.(?P<audio>[0-9a-f]{8,64}))?(?:\s+(?P<reasons>[a-z|]+))?\s*=\s*(?P<verdict>.*)",
    re.IGNORECASE,
)
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says that a recording is.

    Attributes
    ----------
    recording_id, verdict : str
    way : str
        Where it was written down: ``page``, ``label-studio``, ``audacity`` or ``csv``.
    audio_sha256 : str | None
        Of the audio that was judged, or how it begins.
    reasons : str | None
        Why the recording was chosen, as ``Chosen.reasons``.
    judged_at : datetime | None
    """

    recording_id: str
    verdict: str
    way: str
    audio_sha256: str | None = None
    reasons: str | None = None
    judged_at: datetime | None = None


def read_verdicts(data: bytes, suffix: str, source: str) -> list[Verdict]:
    r"""Read one file; recordings without a verdict are left out.

    Parameters
    ----------
    data : bytes
        Its content.
    suffix : str
        ``.json``, ``.csv`` or ``.txt`` (a label track).
    source : str
        Its name, for messages.

    Returns
    -------
    list[Verdict]
        In the order of the file, spelled as they are there; ``settle`` compares them with the labels.

    Raises
    ------
    InputError
        It is none of these files. The message names ``source``.

    Examples
    --------
    >>> track = b"0.000000\t8.000000\tverdict 0123456789abcdef = murmur"
    >>> [(one.recording_id, one.verdict) for one in read_verdicts(track, ".txt", "track.txt")]
    [('0123456789abcdef', 'murmur')]
    """
    if suffix == ".csv":
        return list(_read_csv(data, source))
    if suffix == ".txt":
        return list(_read_track(data, source))
    if suffix != ".json":
        raise InputError(f"{source}: verdicts are a file in {', '.join(SUFFIXES)}, or a folder of label tracks (.txt)")
    try:
        found = json.loads(data)
        if isinstance(found, dict) and found.get("kind") == PAGE_KIND:
            return [_of_page(one) for one in found["verdicts"]]
        if isinstance(found, list):
            return [one for task in found for one in _of_task(task)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{source}: neither the page's verdicts nor Label Studio's export as JSON: {told}") from None
    raise InputError(f"{source}: neither the page's verdicts nor Label Studio's export as JSON")


def settle(verdicts: Iterable[Verdict], labels: Sequence[str]) -> list[Verdict]:
    """Return one verdict for each recording, spelled as the labels are.

    Parameters
    ----------
    verdicts : Iterable[Verdict]
        As ``read_verdicts`` returns them, of all files.
    labels : Sequence[str]
        Of the model. Case and spaces do not tell them apart.

    Returns
    -------
    list[Verdict]
        In the order in which recordings first occur; of several equal verdicts on one, the first.

    Raises
    ------
    InputError
        A verdict is none of the labels and not ``cannot tell``, or a recording has two that differ.
    """
    spelled = {one.casefold(): one for one in (*labels, CANNOT_TELL)}
    found: dict[str, Verdict] = {}
    for one in verdicts:
        verdict = spelled.get(" ".join(one.verdict.split()).casefold())
        if verdict is None:
            raise InputError(
                f"recording {one.recording_id}: '{one.verdict}' is no verdict: expected "
                f"{', '.join(labels)} or {CANNOT_TELL}; nothing was imported"
            )
        before = found.setdefault(one.recording_id, replace(one, verdict=verdict))
        if before.verdict != verdict:
            raise InputError(
                f"recording {one.recording_id} has two verdicts, {before.verdict} and {verdict}: leave one; nothing "
                "was imported"
            )
    return list(found.values())


def name_some(ids: Sequence[str]) -> str:
    """Return the first five ids in a list, and how many more there are, in words."""
    more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    return ", ".join(ids[:_MOST_NAMED]) + more


def _of_page(one: dict[str, Any]) -> Verdict:
    return Verdict(
        _text(one["recording_id"]),
        _text(one["verdict"]),
        "page",
        one.get("audio_sha256"),
        one.get("chosen"),
        _time(one.get("judged_at")),
    )


def _of_task(task: dict[str, Any]) -> Iterator[Verdict]:
    """Yield the verdicts of a task; an annotation that was skipped has none."""
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        for result in annotation["result"]:
            if result.get("type") == "choices":
                data = task["data"]
                yield Verdict(
                    _text(data["recording_id"]),
                    _text(result["value"]["choices"][0]),
                    "label-studio",
                    data.get("audio_sha256"),
                    data.get("chosen"),
                    _time(annotation.get("updated_at")),
                )


def _read_track(data: bytes, source: str) -> Iterator[Verdict]:
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{source}: not a label track: it is not UTF-8") from None
    n_known = 0
    for line in lines:
        # Audacity writes the frequencies of a label into a line of its own, which begins with a backslash.
        found = None if line.startswith("\\") else _TRACK_LINE.fullmatch(line.split("\t", 2)[-1].strip())
        if found is None:
            continue
        n_known += 1
        if found["verdict"].strip(" ?"):
            audio = None if found["audio"] is None else found["audio"].lower()
            yield Verdict(found["id"].lower(), found["verdict"], "audacity", audio, found["reasons"])
    if not n_known:
        raise InputError(f"{source}: not a label track of a review: no label is 'verdict ID = LABEL'")


def _read_csv(data: bytes, source: str) -> Iterator[Verdict]:
    columns = read_records(data, ".csv", source)
    name = next((one for one in ("recording", "recording_id") if one in columns), None)
    if name is None or "verdict" not in columns:
        raise InputError(f"{source}: expected the columns recording and verdict, found {', '.join(columns)}")
    nothing: list[str | None] = [None] * len(columns[name])
    rows = zip(
        columns[name],
        columns["verdict"],
        columns.get("audio_sha256", nothing),
        columns.get("chosen", nothing),
        strict=True,
    )
    for number, (one, verdict, audio_sha256, reasons) in enumerate(rows, start=2):
        if verdict is None or not verdict.strip(" ?"):
            continue
        if one is None:
            raise InputError(f"{source}, row {number}: a verdict without a recording")
        yield Verdict(one.strip().removeprefix(ID_PREFIX), verdict, "csv", audio_sha256, reasons)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, not {value!r}")
    return value


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
