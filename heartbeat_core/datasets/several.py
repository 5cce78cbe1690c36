"""Several datasets as one: their labelled recordings, with one set of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from heartbeat_core import storage
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.errors import DatasetError
from heartbeat_core.labels import Labels, common_labels, joined
from heartbeat_core.recipe import Recipe


def read_labelled(datasets: Sequence[Dataset]) -> Labelled:
    """Return the labelled recordings of all datasets, one dataset after the other.

    A ``patient_id`` stands for the same person in all of them. Recordings with the same audio are one person's, so that
    they never lie on both sides of a split.

    Parameters
    ----------
    datasets : Sequence[Dataset]
        At least one.

    Returns
    -------
    Labelled
        With the labels of the dataset that has all labels of the others, and the traits that at least one dataset has.

    Raises
    ------
    InputError
        No dataset has all labels of the others.
    DatasetError
        A recording is in two of the datasets, two folders of the same name stand for databases, or a dataset cannot be
        read (``Dataset.iter_parts``).
    """
    parts = [dataset.labelled() for dataset in datasets]
    if len(parts) == 1:
        return _with_people(parts[0])
    names = [storage.display(dataset.uri) for dataset in datasets]
    _check_recordings(parts, names)
    _check_databases(datasets, parts, names)
    labels = common_labels([dataset.facts.labels for dataset in datasets], names)
    together = Labelled(
        recording_id=list(chain.from_iterable(part.recording_id for part in parts)),
        uri=list(chain.from_iterable(part.uri for part in parts)),
        audio_sha256=list(chain.from_iterable(part.audio_sha256 for part in parts)),
        targets=joined([part.targets for part in parts], labels),
        groups=list(chain.from_iterable(part.groups for part in parts)),
        devices=list(chain.from_iterable(part.devices for part in parts)),
        databases=list(chain.from_iterable(part.databases for part in parts)),
        traits=_join_traits(parts),
    )
    return _with_people(together)


def data_notes(recipes: Sequence[Recipe], labelled: Labelled) -> list[str]:
    """Return what the user should know of the recordings before these recipes learn from them.

    Parameters
    ----------
    recipes : Sequence[Recipe]
    labelled : Labelled
        The recordings to learn from.

    Returns
    -------
    list[str]
        A line for each recipe that names labels which the datasets do not have, and one if audio occurs more than once.
    """
    notes = [_describe_unknown_labels(recipe, labelled.targets.labels) for recipe in recipes]
    return [note for note in (*notes, _describe_repeated(labelled)) if note]


def _describe_repeated(labelled: Labelled) -> str | None:
    """Return in one line how many recordings have the same audio as another one; None if there are none."""
    cells: dict[str, list[str | None]] = {}
    for digest, cell in zip(labelled.audio_sha256, labelled.targets.cells(), strict=True):
        cells.setdefault(digest, []).append(cell)
    repeated = [one for one in cells.values() if len(one) > 1]
    if not repeated:
        return None
    n_differ = sum(len(one) for one in repeated if len(set(one)) > 1)
    differ = f", and {n_differ} of them have different labels there: correct the label file" if n_differ else ""
    return f"{sum(map(len, repeated))} recordings have audio that occurs more than once{differ}"


def _describe_unknown_labels(recipe: Recipe, labels: Labels) -> str | None:
    """Return in one line which labels a recipe names that the datasets do not have; None if there are none."""
    odds, specialists = recipe.decision.odds, recipe.bagging.specialists
    named = [] if odds is None else [("decision.odds", label) for label in odds.labels]
    named += [] if specialists is None else [("bagging.specialists", label) for label in specialists.labels]
    told = [f"'{label}' ({where})" for where, label in named if label not in labels]
    if not told:
        return None
    return (
        f"recipe '{recipe.name}' names labels that the datasets do not have, which changes nothing: {', '.join(told)}; "
        f"they have {', '.join(labels)}"
    )


def check_labels(recipe: Recipe, labels: Labels) -> None:
    """Check that datasets with these labels have those that a recipe declares.

    Parameters
    ----------
    recipe : Recipe
        One that declares no labels accepts any.
    labels : Labels
        Of the datasets, in order.

    Raises
    ------
    DatasetError
        They have others, or the same in another order.
    """
    if recipe.labels is not None and recipe.labels != labels:
        raise DatasetError(
            f"recipe '{recipe.name}' wants the labels {', '.join(recipe.labels)}, and the datasets have "
            f"{', '.join(labels)}: build them with --recipe {recipe.name}"
        )


def _with_people(labelled: Labelled) -> Labelled:
    """Return the recordings with one group for all people who share a recording."""
    first: dict[str, str] = {}
    same: dict[str, str] = {}

    def person(group: str) -> str:
        while group in same:
            same[group] = same.get(same[group], same[group])  # Half as many steps for the next look-up.
            group = same[group]
        return group

    for digest, group in zip(labelled.audio_sha256, labelled.groups, strict=True):
        one, other = person(first.setdefault(digest, group)), person(group)
        if one != other:
            same[max(one, other)] = min(one, other)
    return replace(labelled, groups=[person(group) for group in labelled.groups]) if same else labelled


def _join_traits(parts: Sequence[Labelled]) -> dict[str, list[str]]:
    """Return the traits that at least one part knows; the rows of the others have empty texts."""
    names = dict.fromkeys(name for part in parts for name in part.traits)
    return {
        name: list(chain.from_iterable(part.traits.get(name, [""] * len(part)) for part in parts)) for name in names
    }


def _check_recordings(parts: Sequence[Labelled], names: Sequence[str]) -> None:
    found: dict[str, str] = {}
    for part, name in zip(parts, names, strict=True):
        twice = [digest for digest in part.audio_sha256 if digest in found]
        if twice:
            raise DatasetError(
                f"{len(twice)} recordings are in {found[twice[0]]} and in {name}, the first has the SHA-256 "
                f"{twice[0][:12]}…: leave one of the datasets out, or build it without these recordings"
            )
        found.update(dict.fromkeys(part.audio_sha256, name))


def _check_databases(datasets: Sequence[Dataset], parts: Sequence[Labelled], names: Sequence[str]) -> None:
    """Refuse a folder whose name stands for the database of its rows, if another dataset has that database, too."""
    for dataset, part, name in zip(datasets, parts, names, strict=True):
        others = [
            other for one, other in zip(parts, names, strict=True) if one is not part and dataset.name in one.databases
        ]
        if others and dataset.name in part.databases and not dataset.names_databases():
            raise DatasetError(
                f"{name} and {others[0]} both have a database '{dataset.name}': give the label file a column "
                "'database', or rename the folder of a dataset that has none"
            )
