"""``explain`` for one weight of a model, or of an artifact beside its original."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tersor.errors import OptionError, RecipeError, TersorError
from tersor.explaining.effect import Effect
from tersor.explaining.packed import PackedCode, packed_code
from tersor.explaining.weight import WeightPath, checked_place, follow, largest_error
from tersor.formats import Format, QuantizedLinear
from tersor.grids import QuantizedTensor, Scheme, error_parts
from tersor.pipeline.blocks.linear_rounding import round_nearest
from tersor.pipeline.inspecting.effects import effect_of
from tersor.pipeline.inspecting.opened import (
    Original,
    module_named,
    open_either,
    open_original,
    quantized_matrix,
)
from tersor.pipeline.inspecting.transformed import transformed
from tersor.pipeline.planning import ModulePlan, Plan, make_plan
from tersor.ranges import Bounds
from tersor.recipes import Recipe
from tersor.runtime.artifact import Artifact
from tersor.runtime.origin import recipe_of
from tersor.version import own_version

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class WeightExplanation:
    """One weight of ``module`` of ``model`` on its way through ``recipe``.

    ``base``: where the original weight was read, if ``model`` is an artifact. ``chosen``: why this
    row and column. ``packed``: where its code lies in the files; ``effect``: what rounding it does,
    both ``None`` where that is not known, and ``notes`` say why.
    """

    model: Path
    base: Path | None
    recipe: str | None
    module: str
    chosen: str
    path: WeightPath
    packed: PackedCode | None
    effect: Effect | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "version": own_version(),
            "model": str(self.model),
            "base": None if self.base is None else str(self.base),
            "recipe": self.recipe,
            "module": self.module,
            "chosen": self.chosen,
            **self.path.to_dict(),
            "packed": None if self.packed is None else self.packed.to_dict(),
            "effect": None if self.effect is None else self.effect.to_dict(),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class _Matrix:
    """A matrix, quantized, and whatever is known of its original."""

    module: str
    quantized: QuantizedTensor
    scheme: Scheme
    format: Format
    recipe: str | None
    original: Original | None = None
    weight: Tensor | None = None
    bounds: Bounds | None = None
    notes: tuple[str, ...] = ()


def explain_one(
    model: Path,
    tensor: str,
    *,
    row: int | None,
    column: int | None,
    recipe: Recipe,
    given: Sequence[str],
    base: Path | None,
    effect: bool,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    progress: Progress | None = None,
) -> WeightExplanation:
    """Follow one weight. ``recipe``: for a model that is not quantized, and ``given``, the options
    that made it another than the default; ``base``: for an artifact.

    Raises a :class:`~tersor.errors.TersorError`.
    """
    opened = open_either(model, allow_pickle=allow_pickle, merge_adapter=merge_adapter)
    if isinstance(opened, Artifact):
        if given:
            raise OptionError(given[0], f"has no effect on a model that is quantized: {model}")
        found = _of_artifact(opened, tensor, base)
    else:
        if base is not None:
            raise OptionError("base", f"has no effect: {model} is not quantized itself")
        found = _of_original(opened, tensor, recipe, (row, column))
    row, column, chosen = _place(found, row, column)
    path = follow(found.quantized, row, column, found.weight, found.bounds)
    packed = _packed(found, row, column, path.code)
    notes = list(found.notes)
    if packed is None:
        notes.append(f"where format {found.format.name} has the bits of this code is not shown")
    share = None
    if effect and found.weight is not None:
        share = _effect(found, (row, column), notes, progress)
    return WeightExplanation(
        model, base, found.recipe, found.module, chosen, path, packed, share, tuple(notes)
    )


def _of_original(
    original: Original, tensor: str, recipe: Recipe, place: tuple[int | None, int | None]
) -> _Matrix:
    source = original.source
    module = original.named(tensor)
    _refuse_unseen(recipe, recipe.rotation or recipe.scaling or recipe.training)
    plan = make_plan(source, recipe)
    planned = _planned(plan, module)
    if planned.scheme is None and not recipe.includes(module):
        # Embeddings and heads are quantized only where somebody asks, which is done here.
        try:
            plan = make_plan(source, replace(recipe, include=(*recipe.include, module)))
        except RecipeError:
            pass
        else:
            planned = _planned(plan, module)
    if planned.scheme is None or planned.range is None:
        raise OptionError("tensor", f"{module} stays as it is: {planned.reason}")
    _refuse_unseen(recipe, recipe.rounding.needs or planned.range.needs or recipe.rounding.learner)
    checked_place(planned.shape, *place, module)
    _refuse_wide(planned.scheme.weights.group_size, planned)
    weight = original.matrix(module)
    rounded = round_nearest(planned, weight, planned.scale_type)
    return _Matrix(
        module,
        rounded.tensor,
        planned.scheme,
        plan.written_as,
        recipe.name,
        original,
        weight,
        rounded.bounds,
    )


def _planned(plan: Plan, module: str) -> ModulePlan:
    return next(one for one in plan.modules() if one.module == module)


def _refuse_wide(size: int | None, planned: ModulePlan) -> None:
    if size is not None and size > planned.shape[1]:
        raise OptionError(
            "group_size", f"{size} is more than the {planned.shape[1]} columns of {planned.module}"
        )


def _refuse_unseen(recipe: Recipe, what: object) -> None:
    if what:
        raise OptionError(
            "recipe",
            f"{recipe.name!r} looks at text, or at the whole model, before it rounds: quantize "
            "with it, then explain the artifact with {} beside it",
            "base",
        )


def _of_artifact(artifact: Artifact, tensor: str, base: Path | None) -> _Matrix:
    source = artifact.source
    module = module_named(tensor, artifact.schemes, source.path, source.tensors)
    quantized = quantized_matrix(artifact, module)
    found = _Matrix(
        module, quantized, artifact.schemes[module], artifact.format, recipe_of(source.path)
    )
    if base is None:
        note = "without the original nobody can say what was lost; give it as --base"
        return replace(found, notes=(note,))
    original = open_original(base)
    if module not in original.holders:
        raise OptionError(
            "base", f"{base} has no {module}: it is not the original of {source.path}"
        )
    weight = original.matrix(module)
    if tuple(weight.shape) != quantized.shape:
        raise OptionError(
            "base", f"{base}: {module} is {tuple(weight.shape)}, in {source.path} {quantized.shape}"
        )
    if why := transformed(artifact, original):
        return replace(found, notes=(why,))
    if error_parts(weight, quantized).sqnr_db < 0:
        note = f"nothing of {module} in {base} is in these codes: they are of another matrix"
        return replace(found, notes=(note,))
    return replace(found, original=original, weight=weight)


def _place(found: _Matrix, row: int | None, column: int | None) -> tuple[int, int, str]:
    """Row, column, and why."""
    row, column = checked_place(found.quantized.shape, row, column, found.module)
    if row is not None and column is not None:
        return row, column, "as asked"
    where = {(True, True): "this matrix", (False, True): f"row {row}"}.get(
        (row is None, column is None), f"column {column}"
    )
    if found.weight is None:
        return row or 0, column or 0, "the first, because no error is known"
    at = largest_error(found.weight, found.quantized, row, column)
    return *at, f"the one with the largest error in {where}"


def _packed(found: _Matrix, row: int, column: int, code: int) -> PackedCode | None:
    """In formats that store a code with others of its row; ``None`` in all others."""
    if "weight_packed" not in found.format.suffixes:
        return None
    alone = found.quantized.rows(row, row + 1)
    tensors = found.format.encode(QuantizedLinear(alone, found.scheme))
    return packed_code(tensors, found.module, column, found.scheme.weights.grid.bits, code)


def _effect(
    found: _Matrix, place: tuple[int, int], notes: list[str], progress: Progress | None
) -> Effect | None:
    assert found.original is not None
    assert found.weight is not None
    restored = found.quantized.dequantize()
    try:
        return effect_of(found.original, found.module, place, found.weight, restored, progress)
    except TersorError as error:
        notes.append(f"the model was not run: {error}")
        return None
