"""Recipes as YAML. Pydantic checks what people write; everything behind it is a frozen value."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tersor.errors import RecipeError, SchemeError
from tersor.grids import (
    ActivationScheme,
    AnyGrid,
    FloatGrid,
    Granularity,
    IntegerGrid,
    ScaleFormat,
    Scheme,
    Symmetry,
    TensorScheme,
    fp4,
    kmeans,
    log2,
    nf4,
)
from tersor.ranges import (
    Entropy,
    ImportanceWeighted,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
)
from tersor.recipes.patterns import check_pattern, did_you_mean
from tersor.recipes.recipe import AnyRange, Calibration, Override, Recipe

_RANGES: dict[str, type[AnyRange]] = {
    "minmax": MinMax,
    "percentile": Percentile,
    "mse": MeanSquaredError,
    "importance": ImportanceWeighted,
    "entropy": Entropy,
    "moving_average": MovingAverage,
}
_FIXED_GRIDS: dict[str, Callable[[], AnyGrid]] = {
    "nf4": nf4,
    "fp4": fp4,
    "fp8_e4m3": lambda: FloatGrid("fp8_e4m3"),
    "fp8_e5m2": lambda: FloatGrid("fp8_e5m2"),
}


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_D = TypeVar("_D", bound=_Document)


class TensorDocument(_Document):
    """A :class:`TensorScheme` as written in a recipe."""

    grid: Literal["int", "nf4", "fp4", "log2", "kmeans", "fp8_e4m3", "fp8_e5m2"]
    bits: int | None = None
    symmetry: Symmetry | None = None
    granularity: Granularity = Granularity.CHANNEL
    group_size: Annotated[int, Field(ge=2)] | None = None
    scale: ScaleFormat = ScaleFormat.FLOAT

    def value(self) -> TensorScheme:
        """The scheme. Raises :class:`SchemeError` if the parts do not fit together."""
        return TensorScheme(self._grid(), self.granularity, self.group_size, self.scale)

    def _grid(self) -> AnyGrid:
        if self.symmetry is not None and self.grid != "int":
            raise SchemeError(f"symmetry belongs to grid int, not to {self.grid}")
        if self.grid in _FIXED_GRIDS:
            grid = _FIXED_GRIDS[self.grid]()
            if self.bits not in (None, grid.bits):
                raise SchemeError(f"grid {self.grid} has {grid.bits} bits, not {self.bits}")
            return grid
        if self.bits is None:
            raise SchemeError(f"grid {self.grid} needs bits")
        if self.grid == "int":
            return IntegerGrid(self.bits, self.symmetry or Symmetry.RESTRICTED)
        return log2(self.bits) if self.grid == "log2" else kmeans(self.bits)

    @classmethod
    def of(cls, scheme: TensorScheme) -> "TensorDocument":
        """The document of a scheme."""
        grid = scheme.grid
        integer = isinstance(grid, IntegerGrid)
        return cls.model_validate(
            {
                "grid": "int" if integer else grid.name,
                "bits": grid.bits if integer or grid.name in ("log2", "kmeans") else None,
                "symmetry": grid.symmetry if isinstance(grid, IntegerGrid) else None,
                "granularity": scheme.granularity,
                "group_size": scheme.group_size,
                "scale": scheme.scale_format,
            }
        )


class ActivationDocument(TensorDocument):
    """An :class:`ActivationScheme` as written in a recipe."""

    granularity: Granularity = Granularity.TOKEN
    dynamic: bool = True

    def activations(self) -> ActivationScheme:
        """The scheme. Raises :class:`SchemeError` if the parts do not fit together."""
        return ActivationScheme(self.value(), self.dynamic)


class OverrideDocument(_Document):
    """One entry of ``overrides``; keys it leaves out are taken from the recipe."""

    match: str
    skip: bool = False
    weights: dict[str, Any] | None = None
    activations: dict[str, Any] | None = None
    range: dict[str, Any] | None = None


class CalibrationDocument(_Document):
    """``calibration`` of a recipe."""

    tokens: Annotated[int, Field(ge=1)] = Calibration.tokens
    window: Annotated[int, Field(ge=2)] = Calibration.window


class RecipeDocument(_Document):
    """A whole recipe file."""

    name: str
    description: str = ""
    weights: TensorDocument
    activations: ActivationDocument | None = None
    range: dict[str, Any] = {"method": "minmax"}
    activation_range: dict[str, Any] = {"method": "minmax"}
    rounding: Literal["nearest"] = "nearest"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overrides: tuple[OverrideDocument, ...] = ()
    calibration: CalibrationDocument = CalibrationDocument()
    seed: int = 0


def parse(text: str, origin: str) -> Recipe:
    """A recipe from YAML. ``origin`` is the file or preset, for messages.

    Raises :class:`RecipeError` naming the key; unknown keys are refused.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{origin} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{origin} is not a recipe: it must be a mapping with the key 'weights'")
    try:
        return _recipe(_validate(RecipeDocument, data, ""))
    except (RecipeError, SchemeError) as error:
        raise RecipeError(f"{origin}: {error}") from None


def dump(recipe: Recipe) -> str:
    """The YAML that recreates the recipe."""
    document: dict[str, Any] = {"name": recipe.name, "description": recipe.description}
    document |= _scheme_document(recipe.scheme)
    document["range"] = _range_document(recipe.range)
    document["activation_range"] = _range_document(recipe.activation_range)
    document["rounding"] = "nearest"
    document["include"] = list(recipe.include)
    document["exclude"] = list(recipe.exclude)
    document["overrides"] = [_override_document(override) for override in recipe.overrides]
    document["calibration"] = asdict(recipe.calibration)
    document["seed"] = recipe.seed
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def scheme_from_dict(data: Mapping[str, Any]) -> Scheme:
    """A :class:`Scheme` from ``{"weights": …, "activations": …}``.

    Raises :class:`RecipeError` or :class:`SchemeError`.
    """
    weights = _validate(TensorDocument, data.get("weights"), "weights").value()
    activations = data.get("activations")
    if activations is None:
        return Scheme(weights)
    checked = _validate(ActivationDocument, activations, "activations")
    return Scheme(weights, checked.activations())


def scheme_to_dict(scheme: Scheme) -> dict[str, Any]:
    """Inverse of :func:`scheme_from_dict`; plain JSON types."""
    return _scheme_document(scheme)


def _recipe(document: RecipeDocument) -> Recipe:
    activations = document.activations
    scheme = Scheme(
        document.weights.value(), None if activations is None else activations.activations()
    )
    return Recipe(
        name=document.name,
        description=document.description,
        scheme=scheme,
        range=_range(document.range, "range"),
        activation_range=_range(document.activation_range, "activation_range"),
        include=tuple(map(check_pattern, document.include)),
        exclude=tuple(map(check_pattern, document.exclude)),
        overrides=tuple(_override(entry, document) for entry in document.overrides),
        calibration=Calibration(document.calibration.tokens, document.calibration.window),
        seed=document.seed,
    )


def _override(entry: OverrideDocument, recipe: RecipeDocument) -> Override:
    check_pattern(entry.match)
    range_ = _range(entry.range or recipe.range, "range")
    if entry.skip:
        return Override(entry.match, None, range_)
    base = recipe.weights.model_dump(exclude_none=True, exclude_unset=True)
    merged: dict[str, Any] = {"weights": base | (entry.weights or {})}
    if recipe.activations is not None or entry.activations is not None:
        own = recipe.activations.model_dump(exclude_none=True) if recipe.activations else {}
        merged["activations"] = own | (entry.activations or {})
    return Override(entry.match, scheme_from_dict(merged), range_)


def _range(data: Mapping[str, Any], where: str) -> AnyRange:
    parameters = dict(data)
    method = parameters.pop("method", None)
    if method not in _RANGES:
        raise RecipeError(f"{where}.method {method!r} unknown{did_you_mean(str(method), _RANGES)}")
    known = tuple(_RANGES[method].__dataclass_fields__)
    for key, value in parameters.items():
        if key not in known:
            raise RecipeError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecipeError(f"{where}.{key} must be a number, not {value!r}")
    return _RANGES[method](**parameters)


def _validate(model: type[_D], data: Any, where: str) -> _D:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        # A misspelt key also leaves the right one missing: the misspelling is the better message.
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        path = ".".join(filter(None, [where, *map(str, first["loc"])]))
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"][:-1])
            hint = did_you_mean(str(first["loc"][-1]), known)
            raise RecipeError(f"unknown key {path!r}{hint}") from None
        raise RecipeError(f"{path}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    nested: dict[str, type[BaseModel]] = {
        "weights": TensorDocument,
        "activations": ActivationDocument,
        "overrides": OverrideDocument,
        "calibration": CalibrationDocument,
    }
    names = [part for part in path if isinstance(part, str)]
    owner = nested[names[-1]] if names and names[-1] in nested else model
    return list(owner.model_fields)


def _scheme_document(scheme: Scheme) -> dict[str, Any]:
    weights = TensorDocument.of(scheme.weights).model_dump(mode="json", exclude_none=True)
    if scheme.activations is None:
        return {"weights": weights}
    activations = TensorDocument.of(scheme.activations.tensor)
    own = activations.model_dump(mode="json", exclude_none=True)
    return {"weights": weights, "activations": own | {"dynamic": scheme.activations.dynamic}}


def _range_document(range_: AnyRange) -> dict[str, Any]:
    method = next(name for name, kind in _RANGES.items() if type(range_) is kind)
    return {"method": method, **asdict(range_)}


def _override_document(override: Override) -> dict[str, Any]:
    document: dict[str, Any] = {"match": override.match}
    if override.scheme is None:
        return document | {"skip": True}
    return document | _scheme_document(override.scheme) | {"range": _range_document(override.range)}
