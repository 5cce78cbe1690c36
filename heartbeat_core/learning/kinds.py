"""Every model kind, by name, and the inputs that it can read.

To add a kind to this package, write its ``Implementation`` in a module of this folder and list it in ``MODEL_KINDS``.
Another package can add a kind with the entry point group ``heartbeat.model_kinds`` (see ``registry``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name

from heartbeat_core.errors import ConfigError
from heartbeat_core.features.catalogue import columns_read, shape_read
from heartbeat_core.features.feature_set import Shape
from heartbeat_core.learning.model import Implementation
from heartbeat_core.recipe import BaggingSettings, CompressionSettings, NetworkSettings, Recipe
from heartbeat_core.registry import Registry


@dataclass(frozen=True, slots=True)
class ModelKind:
    """One kind of model.

    Attributes
    ----------
    name : str
        The name that a recipe gives as its ``model``.
    implementations : Mapping[Shape, str | type[Implementation]]
        By the shape of the input. ``module:class`` is loaded at its first use, because torch takes seconds to load.
    sections : tuple[str, ...]
        Optional sections of a recipe that this kind reads: ``network``, ``compression``, ``bagging``.
    """

    name: str
    implementations: Mapping[Shape, str | type[Implementation]]
    sections: tuple[str, ...] = ()


MODEL_KINDS: Registry[ModelKind] = Registry(
    "model",
    "heartbeat.model_kinds",
    (
        ModelKind(
            "fcnn",
            {
                "frames": "heartbeat_core.learning.aligned:AlignedFCNN",
                "vector": "heartbeat_core.learning.vectors:VectorFCNN",
            },
            ("network", "compression"),
        ),
        ModelKind("bagged-fcnn", {"vector": "heartbeat_core.learning.vectors:BaggedFCNN"}, ("network", "bagging")),
        ModelKind(
            "boosting",
            {
                "frames": "heartbeat_core.learning.classical:Boosting",
                "vector": "heartbeat_core.learning.classical:Boosting",
            },
        ),
        ModelKind("cnn", {"sequence": "heartbeat_core.learning.sequences:Sequences"}),
        ModelKind("rnn", {"sequence": "heartbeat_core.learning.sequences:Sequences"}),
        ModelKind("vote", {"vector": "heartbeat_core.learning.classical:Vote"}),
    ),
)

_OPTIONAL_SECTIONS = {
    "network": (NetworkSettings(), "fcnn"),
    "compression": (CompressionSettings(), "fcnn"),
    "bagging": (BaggingSettings(), "bagged-fcnn"),
}
"""Sections that only some kinds read, each with its default and a kind that reads it."""


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe whose parts do not fit together.

    Raises
    ------
    ConfigError
        The input or the model is unknown, the model cannot read the input, or the model does not read a section.

    Examples
    --------
    >>> from heartbeat_core.recipe import Recipe
    >>> check_recipe(Recipe(name="mine", input="statistics+cycles", model="vote"))
    >>> check_recipe(Recipe(name="mine", input="log-mel", model="vote"))
    Traceback (most recent call last):
    heartbeat_core.errors.ConfigError: recipe 'mine': model 'vote' reads vectors, and the input 'log-mel' is a sequence
    """
    where = f"recipe '{recipe.name}'"
    named = recipe.input.split("+")
    if len(set(named)) < len(named):
        raise ConfigError(f"{where}: the input '{recipe.input}' names a feature set twice")
    kind = MODEL_KINDS.get(recipe.model)
    shape = shape_read(recipe.input)
    if shape not in kind.implementations:
        reads = " or ".join(_PLURALS[one] for one in kind.implementations)
        raise ConfigError(
            f"{where}: model '{recipe.model}' reads {reads}, and the input '{recipe.input}' is {_SINGULARS[shape]}"
        )
    if (recipe.augmentation.copies or recipe.augmentation.pieces) and shape != "vector":
        raise ConfigError(f"{where}: copies and pieces are made for vectors only, and '{recipe.input}' is not one")
    for section, (default, reader) in _OPTIONAL_SECTIONS.items():
        if section not in kind.sections and getattr(recipe, section) != default:
            raise ConfigError(f"{where}: '{section}' goes with the model '{reader}', not with '{recipe.model}'")
    if recipe.training.within_databases and "bagging" not in kind.sections:
        raise ConfigError(f"{where}: 'within_databases' goes with the model 'bagged-fcnn', not with '{recipe.model}'")
    if "bagging" in kind.sections:
        shared, specialists = recipe.bagging.shared_part, recipe.bagging.specialists
        for part in (*recipe.bagging.members, *([] if shared is None else [shared])):
            columns_read(part, recipe.input)
        if specialists is not None and {part == specialists.part for part in recipe.bagging.members} != {True, False}:
            raise ConfigError(
                f"{where}: some members, but not all, must read the specialists' part '{specialists.part}'"
            )
        if recipe.bagging.moved and not recipe.training.within_databases:
            raise ConfigError(f"{where}: 'moved' needs 'within_databases: true': rows move between databases")
        if recipe.bagging.whole_part not in (None, *recipe.bagging.members):
            raise ConfigError(f"{where}: no member reads the part '{recipe.bagging.whole_part}' that is read in whole")
        if len(recipe.network.hidden) != 1:
            raise ConfigError(f"{where}: a bagged-fcnn has one hidden layer: its width is that of each member's")


_PLURALS: dict[Shape, str] = {"vector": "vectors", "sequence": "sequences", "frames": "frames"}
_SINGULARS: dict[Shape, str] = {"vector": "a vector", "sequence": "a sequence", "frames": "frames"}


def implementation_of(recipe: Recipe) -> Implementation:
    """Return the implementation that fits and restores the recipe's models.

    Raises
    ------
    ConfigError
        As ``check_recipe``.
    """
    check_recipe(recipe)
    found = MODEL_KINDS.get(recipe.model).implementations[shape_read(recipe.input)]
    if isinstance(found, str):
        loaded: type[Implementation] = resolve_name(found)
        return loaded()
    return found()
