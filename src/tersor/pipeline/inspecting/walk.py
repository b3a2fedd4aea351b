"""``inspect``: every linear of a model, or of an artifact, one at a time."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from tersor.calibration.capture import collect
from tersor.calibration.statistics import AbsMax
from tersor.checkpoints.gateway.configuration import configuration_of
from tersor.errors import OptionError, SourceError, TersorError
from tersor.families.blocks import canonical
from tersor.inspection.columns import Outliers, outliers
from tersor.inspection.matrix import CodesView, codes_view, matrix_view
from tersor.machine.parallel import in_order
from tersor.models.architecture import Architecture
from tersor.models.in_transformers.metamodel import longest_context
from tersor.pipeline.inspecting.found import (
    ArtifactInspection,
    ModelInspection,
    PairInspection,
    TextSeen,
)
from tersor.pipeline.inspecting.opened import (
    Original,
    open_either,
    open_original,
    quantized_matrix,
)
from tersor.pipeline.inspecting.transformed import transformed
from tersor.pipeline.whole_model.windows import calibration_text
from tersor.recipes import Calibration
from tersor.runtime.artifact import Artifact
from tersor.runtime.origin import recipe_of

Report = Callable[[int, int], None]
Watch = Callable[[str], Report | None]
"""Given the name of a piece of work, what is called with how much of it is done and there is."""

_TOKENS = Calibration(tokens=1024, window=256)


def inspected(
    path: Path,
    other: Path | None,
    *,
    base: Path | None,
    asymmetric: bool,
    activations: bool,
    allow_pickle: bool,
    merge_adapter: bool,
    watch: Watch,
) -> ModelInspection | ArtifactInspection | PairInspection:
    """What :func:`tersor.inspect` finds. Raises a :class:`~tersor.errors.TersorError`."""
    opened = open_either(path, allow_pickle=allow_pickle, merge_adapter=merge_adapter)
    if isinstance(opened, Original):
        if other is not None:
            why = f"has no effect: {path} is not quantized; give it as {{}} of the artifact"
            raise OptionError("other", why, "base")
        if base is not None:
            raise OptionError("base", f"has no effect: {path} is not quantized itself")
        return inspect_model(opened, asymmetric=asymmetric, activations=activations, watch=watch)
    for name, given in (("asymmetric", asymmetric), ("activations", not activations)):
        if given:
            raise OptionError(name, f"has no effect on a model that is quantized: {path}")
    second = None if other is None else open_either(other)
    if isinstance(second, Original):
        raise OptionError("other", f"{other} is not quantized; give it as {{}}", "base")
    found = inspect_artifact(opened, base=base, watch=watch, named=path.name)
    if second is None or other is None:
        return found
    return PairInspection(found, inspect_artifact(second, base=base, watch=watch, named=other.name))


def inspect_model(
    original: Original, *, asymmetric: bool, activations: bool, watch: Watch
) -> ModelInspection:
    """Look at every linear of the blocks; see :func:`tersor.inspect`."""
    architecture = original.architecture
    linears = [module for module in original.holders if _block(architecture, module) is not None]
    if not linears:
        raise SourceError(f"{original.source.path}: no linear in its blocks to inspect")
    report = watch("inspect weights")
    views, done, total = [], 0, sum(map(original.weights, linears))
    for module in linears:
        weight = original.matrix(module)
        block, role = _place(architecture, module)
        try:
            views.append(matrix_view(module, block, role, weight, asymmetric=asymmetric))
        except TersorError as error:
            raise type(error)(f"{original.source.path}: {module}.weight: {error}") from None
        if report is not None:
            done += original.weights(module)
            report(done, total)
    notes, text = [], None
    inside = set(linears)
    left = [module for module in original.holders if module not in inside]
    if left:
        notes.append(f"left out, being no linears of blocks: {', '.join(left)}")
    if activations:
        try:
            seen, text = _inputs(original, linears, watch("inspect activations"))
            views = [replace(view, inputs=seen.get(view.module)) for view in views]
        except TersorError as error:
            notes.append(f"activations were not looked at: {error}")
    return ModelInspection(
        original.source.path,
        architecture.model_type,
        architecture.blocks,
        asymmetric,
        tuple(views),
        text,
        tuple(notes),
    )


def _inputs(
    original: Original, linears: Iterable[str], report: Report | None
) -> tuple[dict[str, Outliers], TextSeen]:
    """Largest magnitudes of the inputs of linears, while some text runs through the model."""
    source = original.source
    longest = longest_context(configuration_of(source.config, str(source.path)))
    budget = replace(_TOKENS, window=min(_TOKENS.window, longest or _TOKENS.window))
    read = calibration_text(source, (), budget)
    observers = {f"{module}.weight": AbsMax() for module in linears}
    found = collect(source, observers, read.tokens, progress=report)
    seen = {name.removesuffix(".weight"): outliers(one.values) for name, one in found.items()}
    windows, window = read.tokens.shape
    return seen, TextSeen(windows, window)


def inspect_artifact(
    artifact: Artifact, *, base: Path | None, watch: Watch, named: str = ""
) -> ArtifactInspection:
    """Look at the codes of every quantized matrix, beside those of ``base`` if it is given."""
    original = None if base is None else open_original(base)
    path = artifact.source.path
    notes: tuple[str, ...] = ()
    if original is not None:
        _refuse_other(artifact, original, path)
        if why := transformed(artifact, original):
            original, notes = None, (why,)
    report = watch(f"inspect {named or 'codes'}")
    weight_of = None if original is None else original.matrix

    def look(module: str) -> CodesView:
        weight = None if weight_of is None else weight_of(module)
        return codes_view(module, _role(module), quantized_matrix(artifact, module), weight)

    views: list[CodesView] = []
    for view in in_order(look, artifact.schemes):
        views.append(view)
        if report is not None:
            report(len(views), len(artifact.schemes))
    return ArtifactInspection(
        path, base, recipe_of(path), artifact.format.name, tuple(views), notes
    )


def _refuse_other(artifact: Artifact, original: Original, path: Path) -> None:
    missing = next((m for m in artifact.schemes if m not in original.holders), None)
    base = original.source.path
    if missing is not None:
        raise OptionError("base", f"{base} has no {missing}: it is not the original of {path}")
    shapes = {name: info.shape for name, info in original.source.tensors.items()}
    for module in artifact.schemes:
        mine, theirs = artifact.shapes[f"{module}.weight"], shapes.get(f"{module}.weight")
        if theirs is not None and mine != theirs:
            raise OptionError("base", f"{base}: {module} is {theirs}, in {path} {mine}")


def _block(architecture: Architecture, module: str) -> int | None:
    return architecture.block_of(f"{module}.weight")


def _place(architecture: Architecture, module: str) -> tuple[int, str]:
    block, relative = architecture.split(f"{module}.weight")
    assert block is not None
    return block, canonical(relative)


def _role(module: str) -> str:
    """The name of a module behind its block's number, or its last part."""
    parts = module.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    return canonical(".".join(parts[at + 1 :])) if at is not None else parts[-1]
