"""What a recipe does to every tensor of a source, decided before any weight is read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tersor.byte_sizes import human_bytes
from tersor.checkpoints.gateway.codeless import code_named
from tersor.checkpoints.gateway.readable import refuse_unreadable
from tersor.checkpoints.source import Source, TensorInfo, refuse_quantized, shapes_of
from tersor.errors import RecipeError
from tersor.formats import Format, Mixture, known_formats
from tersor.formats.targets import Target
from tersor.grids import ActivationScheme, Scheme
from tersor.models.architecture import Architecture, Role
from tersor.models.describing import describe
from tersor.models.experts import unfused_shapes
from tersor.models.in_transformers.sizes import check_sizes
from tersor.models.probing import probed
from tersor.pipeline.planning.layout import chosen_for_new, laid_out
from tersor.pipeline.planning.logits import trainable_logits
from tersor.pipeline.planning.plan import (
    ModulePlan,
    Plan,
    TensorPlan,
    Unit,
    contents_of,
    modules_of,
)
from tersor.recipes import Override, Recipe, matches, require_match
from tersor.transforms import BiasedSource, RotatedSource

_SCALE_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def make_plan(
    source: Source,
    recipe: Recipe,
    format: Format | None = None,  # noqa: A002 - as it is called in the field
    target: Target | None = None,
) -> Plan:
    """Decide for every tensor of ``source`` what ``recipe`` does to it; reads no weights.

    ``format``: of the result; by default that of the ``target``, the engine that shall run it, or
    the first, by preference, that can hold it.

    Raises :class:`RecipeError` if a pattern matches nothing or nothing would be quantized, and
    :class:`~tersor.errors.SourceError` if the source is quantized already, transformers knows its
    type and cannot read its ``config.json``, that makes other sizes than the tensors have, or its
    ``generation_config.json`` makes no sense.
    """
    refuse_quantized(source)
    refuse_unreadable(source.config, source.path)
    shapes = shapes_of(source)
    check_sizes(source.path, source.config, shapes)
    architecture = describe(source.config, shapes)
    if recipe.needs_calibration or recipe.rotation is not None:
        architecture = probed(architecture, source.config, shapes)
    if recipe.training is not None:
        trainable_logits(source, architecture)
    own, mixture = _mixture(recipe)
    planner = _Planner(
        recipe,
        architecture,
        _untied_modules(source, architecture, recipe),
        source.config,
        mixture,
    )
    decided = tuple(
        Unit(name, tuple(planner.tensor(info) for info in infos))
        for name, infos in _units(architecture, source.tensors)
    )
    modules = list(modules_of(decided))
    _check_patterns(recipe, architecture, modules)
    contents = contents_of(architecture, decided)
    if target is None:
        chosen, reason = chosen_for_new(contents, format or own)
    else:
        chosen, reason = target.chosen(contents, known_formats())
    units = laid_out(decided, chosen)
    notes = [architecture.note] if architecture.note else []
    if code := code_named(source.config, "AutoModelForCausalLM"):
        notes.append(f"the checkpoint's own code ({code}) is copied, and not run")
    notes += getattr(source, "notes", ())
    notes += planner.notes_of_untied(modules_of(units))
    if recipe.scaling is not None and not architecture.known:
        notes.append("nothing is scaled: which linears follow which is not known for this model")
    biases = (f"{m.module}.bias" in source.tensors for m in modules if m.scheme is not None)
    if recipe.correction is not None and not any(biases):
        notes.append("no bias is corrected: no quantized linear has one")
    if reason:
        notes.append(reason)
    notes += chosen.remarks(contents)
    return Plan(source.path, recipe, architecture, units, chosen, tuple(notes))


@dataclass(frozen=True)
class _Planner:
    """``untied``: modules that ``recipe.untied`` is for. ``mixture``: the recipe's."""

    recipe: Recipe
    architecture: Architecture
    untied: tuple[str, ...]
    config: Mapping[str, Any]
    mixture: Mixture | None

    def tensor(self, info: TensorInfo) -> TensorPlan:
        if len(info.shape) not in (2, 3) or not info.name.endswith(".weight"):
            role = self.architecture.role(info.name, info.shape)
            if role is not Role.FUSED_EXPERTS:
                return TensorPlan(info, (), info)
        parts = unfused_shapes(self.architecture, info.name, info.shape)
        if any(len(shape) != 2 for shape in parts.values()):
            return TensorPlan(info, (), info)
        modules = tuple(self._module(info, name, shape) for name, shape in parts.items())
        return TensorPlan(info, modules, info)

    def _module(self, info: TensorInfo, name: str, shape: tuple[int, ...]) -> ModulePlan:
        module = name.removesuffix(".weight")
        transposed = self.architecture.is_transposed(name)
        out_features, in_features = reversed(shape) if transposed else shape
        matrix = (out_features, in_features)
        reason = self._reason_to_keep(info, module)
        if reason:
            return ModulePlan(module, matrix, transposed, None, None, reason, info.dtype)
        treatment = self._treatment(module)
        scheme = treatment.scheme
        if self.mixture is not None and self.recipe.override(module) is None:
            scheme = self.mixture.scheme(name, matrix, self.architecture, self.config)
        if scheme is None:
            reason = f"rows of {in_features} fit no type of mixture {self.recipe.mixture}"
            return ModulePlan(module, matrix, transposed, None, None, reason, info.dtype)
        scheme = _applicable(scheme, self.architecture.role(name, shape))
        return ModulePlan(module, matrix, transposed, scheme, treatment.range, "", info.dtype)

    def _treatment(self, module: str) -> Override:
        return self.recipe.treatment(module, untied=module in self.untied)

    def notes_of_untied(self, modules: Iterable[ModulePlan]) -> Iterator[str]:
        """What the recipe's scheme for an untied embedding and head comes to."""
        given = [
            module
            for module in modules
            if module.module in self.untied
            and module.scheme is not None
            and module.scheme.weights.grid == getattr(self.recipe.untied, "grid", None)
        ]
        if given:
            yield (
                f"untied: {' and '.join(module.module for module in given)} get "
                f"{self.recipe.untied}, together "
                f"{human_bytes(sum(module.stored_bytes for module in given))}; --exclude leaves "
                "them as they are"
            )

    def _reason_to_keep(self, info: TensorInfo, module: str) -> str:
        role = self.architecture.role(info.name, info.shape)
        of_mixture = self.mixture is not None and role in (Role.EMBEDDING, Role.HEAD)
        included = self.recipe.includes(module) or module in self.untied or of_mixture
        if info.dtype not in _SCALE_DTYPES:
            return f"its type {info.dtype} is not a plain float"
        if role not in (Role.LINEAR, Role.FUSED_EXPERTS) and not included:
            kind = {Role.EMBEDDING: "embedding", Role.HEAD: "head"}.get(role)
            return f"{kind}, not included" if kind else "not a linear of a block"
        excluded = [pattern for pattern in self.recipe.exclude if matches(pattern, module)]
        if excluded:
            return f"excluded by {excluded[0]!r}"
        if self._treatment(module).scheme is None:
            return f"skipped by override {self._treatment(module).match!r}"
        return ""


def _mixture(recipe: Recipe) -> tuple[Format | None, Mixture | None]:
    """The recipe's mixture, if it has one, and the format that it is of."""
    return (None, None) if recipe.mixture is None else known_formats().mixture(recipe.mixture)


def _untied_modules(source: Source, architecture: Architecture, recipe: Recipe) -> tuple[str, ...]:
    """Embedding and head, if a rotation made two of one and the recipe has a scheme for them."""
    head = source.untied if isinstance(source, BiasedSource | RotatedSource) else None
    if head is None or recipe.untied is None or architecture.embedding is None:
        return ()
    return (architecture.embedding.removesuffix(".weight"), head.name.removesuffix(".weight"))


def _applicable(scheme: Scheme, role: Role) -> Scheme:
    """An embedding is looked up and has no activations to quantize."""
    activations: ActivationScheme | None = scheme.activations
    return Scheme(scheme.weights, None if role is Role.EMBEDDING else activations)


def _units(
    architecture: Architecture, tensors: Mapping[str, TensorInfo]
) -> Iterator[tuple[str, list[TensorInfo]]]:
    """Embedding and the like first, then the blocks in order, then the rest."""
    blocks: dict[int, list[TensorInfo]] = {}
    outside: list[TensorInfo] = []
    for info in tensors.values():
        block = architecture.block_of(info.name)
        if block is None:
            outside.append(info)
        else:
            blocks.setdefault(block, []).append(info)
    first = [info for info in outside if info.name == architecture.embedding]
    for info in first:
        yield info.name, [info]
    for block in sorted(blocks):
        yield f"{architecture.container}.{block}", blocks[block]
    for info in outside:
        if info not in first:
            yield info.name, [info]


def _check_patterns(
    recipe: Recipe, architecture: Architecture, decided: Sequence[ModulePlan]
) -> None:
    modules = [module.module for module in decided]
    for pattern in recipe.include:
        _refuse_tied_head(architecture, pattern, modules)
        require_match(pattern, modules, "--include")
    for pattern in recipe.exclude:
        require_match(pattern, modules, "--exclude")
    for override in recipe.overrides:
        require_match(override.match, modules, "override")
    if not any(module.scheme is not None for module in decided):
        raise RecipeError("nothing would be quantized: check --exclude and the overrides")


def _refuse_tied_head(architecture: Architecture, pattern: str, modules: list[str]) -> None:
    absent = not any(matches(pattern, module) for module in modules)
    if architecture.tied and architecture.head is None and absent and matches(pattern, "lm_head"):
        embedding = (architecture.embedding or "").removesuffix(".weight")
        raise RecipeError(
            f"--include {pattern!r}: the head is tied to the embedding; include {embedding!r}"
        )
