"""Recipes as YAML. Pydantic checks what people write; everything behind it is a frozen value."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import Field, StrictBool, StrictInt

from tersor.calibration.precision import Precision
from tersor.documents import Document, validated, within
from tersor.errors import RecipeError, SchemeError
from tersor.grids import Scheme
from tersor.grids.document import (
    ActivationDocument,
    TensorDocument,
    scheme_from_dict,
    scheme_to_dict,
    tensor_to_dict,
)
from tersor.options import limits
from tersor.recipes.made import MadeDocument
from tersor.recipes.methods import method_to_dict, parse_method
from tersor.recipes.patterns import check_pattern
from tersor.recipes.recipe import Calibration, Override, Recipe
from tersor.recipes.slots import (
    CORRECTIONS,
    RANGES,
    ROTATIONS,
    ROUNDINGS,
    SCALINGS,
    TRAININGS,
)
from tersor.recipes.text import read_mapping

_M = TypeVar("_M")


class OverrideDocument(Document):
    """One entry of ``overrides``; keys it leaves out are taken from the recipe."""

    match: str
    skip: StrictBool = False
    weights: dict[str, Any] | None = None
    activations: dict[str, Any] | None = None
    range: Any = None


class CalibrationDocument(Document):
    """``calibration`` of a recipe."""

    tokens: Annotated[StrictInt, within(limits.TOKENS)] = Calibration.tokens
    window: Annotated[StrictInt, within(limits.WINDOW)] = Calibration.window
    precision: Precision = Calibration.precision
    memory: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = Calibration.memory


class RecipeDocument(Document):
    """A whole recipe file."""

    name: str
    description: str = ""
    weights: TensorDocument
    activations: ActivationDocument | None = None
    # Methods: ``parse_method`` checks them, with better messages than a union would have.
    range: Any = "minmax"
    activation_range: Any = "minmax"
    rotation: Any = None
    untied: TensorDocument | None = None
    scaling: Any = None
    rounding: Any = "nearest"
    correction: Any = None
    training: Any = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overrides: tuple[OverrideDocument, ...] = ()
    mixture: str | None = None
    calibration: CalibrationDocument = CalibrationDocument()
    seed: Annotated[StrictInt, within(limits.SEED)] = 0
    made: MadeDocument | None = None


def parse(text: str, origin: str) -> Recipe:
    """A recipe from YAML. ``origin`` is the file or preset, for messages.

    Raises :class:`RecipeError` naming the key; unknown keys are refused.
    """
    return recipe_from_dict(read_mapping(text, origin), origin)


def recipe_from_dict(data: Mapping[str, Any], origin: str) -> Recipe:
    """The same from the mapping that the YAML describes."""
    try:
        return _recipe(validated(RecipeDocument, dict(data), ""))
    except (RecipeError, SchemeError) as error:
        raise RecipeError(f"{origin}: {error}") from None


def dump(recipe: Recipe) -> str:
    """The YAML that recreates the recipe."""
    document = recipe_to_dict(recipe)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Inverse of :func:`recipe_from_dict`; plain JSON types."""
    document: dict[str, Any] = {"name": recipe.name, "description": recipe.description}
    document |= scheme_to_dict(recipe.scheme)
    document["range"] = method_to_dict(recipe.range, RANGES)
    document["activation_range"] = method_to_dict(recipe.activation_range, RANGES)
    if recipe.rotation is not None:
        document["rotation"] = method_to_dict(recipe.rotation, ROTATIONS)
    if recipe.untied is not None:
        document["untied"] = tensor_to_dict(recipe.untied)
    if recipe.scaling is not None:
        document["scaling"] = method_to_dict(recipe.scaling, SCALINGS)
    document["rounding"] = method_to_dict(recipe.rounding, ROUNDINGS)
    if recipe.correction is not None:
        document["correction"] = method_to_dict(recipe.correction, CORRECTIONS)
    if recipe.training is not None:
        document["training"] = method_to_dict(recipe.training, TRAININGS)
    document["include"] = list(recipe.include)
    document["exclude"] = list(recipe.exclude)
    document["overrides"] = [_override_document(override) for override in recipe.overrides]
    if recipe.mixture is not None:
        document["mixture"] = recipe.mixture
    document["calibration"] = asdict(recipe.calibration) | {
        "precision": recipe.calibration.precision.value
    }
    document["seed"] = recipe.seed
    if recipe.made is not None:
        document["made"] = recipe.made.to_dict()
    return document


def _recipe(document: RecipeDocument) -> Recipe:
    activations = document.activations
    scheme = Scheme(
        document.weights.value(), None if activations is None else activations.activations()
    )
    return Recipe(
        name=document.name,
        description=document.description,
        scheme=scheme,
        range=parse_method(document.range, "range", RANGES),
        activation_range=parse_method(document.activation_range, "activation_range", RANGES),
        rotation=_method(document.rotation, "rotation", ROTATIONS),
        untied=None if document.untied is None else document.untied.value(),
        scaling=_method(document.scaling, "scaling", SCALINGS),
        rounding=parse_method(document.rounding, "rounding", ROUNDINGS),
        correction=_method(document.correction, "correction", CORRECTIONS),
        training=_method(document.training, "training", TRAININGS),
        include=tuple(map(check_pattern, document.include)),
        exclude=tuple(map(check_pattern, document.exclude)),
        overrides=tuple(_override(entry, document) for entry in document.overrides),
        mixture=document.mixture,
        calibration=Calibration(**document.calibration.model_dump()),
        seed=document.seed,
        made=None if document.made is None else document.made.value(),
    )


def _method(data: Any, where: str, known: Mapping[str, type[_M]]) -> _M | None:
    return None if data is None else parse_method(data, where, known)


def _override(entry: OverrideDocument, recipe: RecipeDocument) -> Override:
    check_pattern(entry.match)
    try:
        chosen = recipe.range if entry.range is None else entry.range
        range_ = parse_method(chosen, "range", RANGES)
        if not entry.skip:
            return Override(entry.match, scheme_from_dict(_merged(entry, recipe)), range_)
    except (RecipeError, SchemeError) as error:
        raise RecipeError(f"override {entry.match!r}: {error}") from None
    if entry.model_fields_set - {"match", "skip"}:
        raise RecipeError(f"override {entry.match!r}: skip excludes all other keys")
    return Override(entry.match, None, range_)


def _merged(entry: OverrideDocument, recipe: RecipeDocument) -> dict[str, Any]:
    """The scheme of an override; ``activations: null`` in it takes the recipe's away."""
    merged = {"weights": _inherited(recipe.weights, entry.weights or {})}
    if entry.activations is not None:
        merged["activations"] = _inherited(recipe.activations, entry.activations)
    elif recipe.activations is not None and "activations" not in entry.model_fields_set:
        merged["activations"] = _inherited(recipe.activations, {})
    return merged


def _inherited(base: TensorDocument | None, own: dict[str, Any]) -> dict[str, Any]:
    """``own`` completed by ``base``, without what belongs to another grid or granularity."""
    inherited = {} if base is None else base.model_dump(exclude_none=True)
    for key, dependent in _DEPENDENT.items():
        if key in own and own[key] != inherited.get(key):
            inherited = {k: value for k, value in inherited.items() if k not in dependent}
    return inherited | own


_DEPENDENT = {"grid": ("bits", "symmetry", "scale"), "granularity": ("group_size",)}


def _override_document(override: Override) -> dict[str, Any]:
    if override.scheme is None:
        return {"match": override.match, "skip": True}
    # Written out even if there are none, since keys left out are taken from the recipe.
    document = {"match": override.match, "activations": None, **scheme_to_dict(override.scheme)}
    return document | {"range": method_to_dict(override.range, RANGES)}
