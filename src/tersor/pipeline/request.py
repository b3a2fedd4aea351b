"""What ``quantize`` is asked for, all of it checked before a weight is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tersor.checkpoints.hub.fetching import model_path
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import Source
from tersor.errors import OptionError
from tersor.formats import Format, known_formats
from tersor.formats.targets import target_named
from tersor.options import AnyPath, of_kind, one_path, some_paths, yes_or_no
from tersor.pipeline.planning import Plan, make_plan
from tersor.pipeline.planning.prepare import prepared
from tersor.pipeline.quantize import output
from tersor.pipeline.whole_model.given_texts import refuse_texts
from tersor.recipes import Adjustments, AnyRecipe, known_recipe


@dataclass(frozen=True)
class Request:
    """A source, the plan for it, the texts, and the ``format`` that was asked for."""

    source: Source
    plan: Plan
    calibration: tuple[Path, ...]
    resume: bool
    format: Format | None = None


def requested(
    source: AnyPath,
    out: AnyPath | None,
    recipe: AnyRecipe,
    adjustments: Adjustments,
    *,
    calibration: AnyPath | Sequence[AnyPath] = (),
    resume: bool = False,
    format: str | None = None,  # noqa: A002 - as it is called in the field
    target: str | None = None,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
) -> Request:
    """The request that :func:`tersor.quantize` carries out, and :func:`tersor.plan` only shows.

    ``out``: where the result will go, if that is known. ``format``: the name of its format;
    ``target``: that of the engine that shall run it.

    Raises a :class:`~tersor.errors.TersorError` for a value out of its bounds, an option without
    effect, a source or text that cannot be read, a plan that cannot be made, and an output that
    cannot be written.
    """
    found = model_path("source", source)
    place = None if out is None else one_path("out", out)
    replace_it = yes_or_no("force", force)
    pickle = yes_or_no("allow_pickle", allow_pickle)
    merge = yes_or_no("merge_adapter", merge_adapter)
    texts = some_paths("calibration", calibration)
    resumed = yes_or_no("resume", resume)
    format_ = None if format is None else known_formats().named(of_kind("format", format, str))
    engine = None if target is None else target_named(of_kind("target", target, str))
    if engine is not None and format_ is not None:
        raise OptionError("format", "has no effect beside {}", "target")
    chosen = adjustments.apply(known_recipe("recipe", recipe))
    refuse_texts([chosen], texts)
    opened = prepared(open_source(found, allow_pickle=pickle, merge_adapter=merge), chosen)
    plan = make_plan(opened, chosen, format_, engine)
    _refuse_wide(adjustments, plan)
    plan.overhead(opened)  # what the files cannot say of the model is refused now
    if place is not None:
        output(plan, place, force=replace_it, source=opened, resume=resumed).check()
    return Request(opened, plan, tuple(texts), resumed, format_)


def _refuse_wide(adjustments: Adjustments, plan: Plan) -> None:
    """A group wider than any matrix is a channel, under another name and in fewer formats."""
    size = adjustments.group_size
    widest = max((module.shape[1] for module in plan.quantized()), default=0)
    if size is not None and size > widest > 0:
        raise OptionError(
            "group_size", f"{size} is more than the {widest} columns of the widest matrix; use 0"
        )
