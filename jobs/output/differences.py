"""What makes two jobs different, in the words of the command line and the settings file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from heartbeat_core import storage

_OPTIONS = {
    "inputs": "INPUT",
    "datasets": "DATASET",
    "protocol": "--protocol",
    "label_words": "--labels-are or --label-map",
    "path_column": "--path-column",
    "patient_column": "--patient-column",
    "patient_from": "--patient-from",
    "salt": "--salt-env (a digest of its secret)",
    "keep_columns": "--keep-columns",
    "model": "--model",
    "features": "--features",
    "recipe": "--recipe",
    "recipes": "--recipe",
    "layout": "--layout",
    "labels": "--labels",
    "label_from_folder": "--label-from parent-folder",
    "without": "--without",
    "folds": "--folds",
    "seeds": "--seeds",
    "selection.include": "--include",
    "selection.exclude": "--exclude",
    "selection.min_size": "--min-size",
    "selection.max_size": "--max-size",
    "selection.since": "--since",
    "selection.before": "--before",
    "source": "results to classify again",
    "data": "rows of the dataset",
    "results_version": "version of the results",
}
"""The option of each key of a job's identity; the others are keys of the settings file."""

_DIGEST = re.compile(r"(?<![0-9a-f])([0-9a-f]{12})[0-9a-f]{52}(?![0-9a-f])")
_SHOWN = 3


def describe_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return in which options and settings two jobs differ, with the value of each: ``--model: a there, b here``.

    Parameters
    ----------
    there, here : Mapping[str, Any]
        The identities of the job that the folder holds, and of the one that was asked for, as JSON reads them.
    """
    if there.get("job") != here.get("job"):
        return f"'heartbeat {there.get('job')}' there, 'heartbeat {here.get('job')}' here"
    if there.get("salt") != here.get("salt"):  # Names differ as well then, and say nothing.
        there, here = ({"salt": one.get("salt")} for one in (there, here))
    return "; ".join(_differences(there, here, ""))


def advise(there: Mapping[str, Any], here: Mapping[str, Any], out: str) -> str:
    """Return what a person can do whose job differs from the one in an output folder.

    Parameters
    ----------
    there, here : Mapping[str, Any]
        As of ``describe_differences``.
    out : str
        URI of the folder.
    """
    shown = shlex.quote(storage.display(out))
    advice = f"name another folder, or run that job again ('heartbeat inspect {shown}' shows its command)"
    differing = {key for key in {*there, *here} if there.get(key) != here.get(key)}
    if there.get("job") == "classify" and differing == {"limits"}:
        return f"{advice}; --retry-failed takes its failed recordings again within other limits"
    return advice


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], above: str) -> Iterator[str]:
    for key in sorted({*there, *here}):
        ours, theirs = here.get(key), there.get(key)
        if ours == theirs:
            continue
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from _differences(theirs, ours, f"{above}{key}.")
        else:
            yield f"{_name(f'{above}{key}')}: {_value(theirs, ours)} there, {_value(ours, theirs)} here"


def _name(key: str) -> str:
    section, _, rest = key.partition(".")
    if key in _OPTIONS:
        return _OPTIONS[key]
    return f"{_OPTIONS[section]} {rest}" if section in _OPTIONS else key


def _value(value: Any, other: Any) -> str:
    """Return a value in words; of a long list, only what the other one lacks."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return _items(value, other if isinstance(other, list) else [])
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(one, None)}" for key, one in value.items())
    return _DIGEST.sub(r"\1…", storage.display(str(value)))


def _items(values: list[Any], others: list[Any]) -> str:
    if max(len(values), len(others)) > _SHOWN:
        # Two lists may also differ in their order alone: then both are shown from their beginning.
        lacking = [one for one in values if one not in others]
        if not lacking and any(one not in values for one in others):
            return "none of these"
        values = lacking or values
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(_value(one, None) for one in values[:_SHOWN]) + more
