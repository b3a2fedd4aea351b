"""The format of a plan, and what is written in it for every tensor."""

from collections.abc import Iterable
from dataclasses import replace

from tersor.checkpoints.source import TensorInfo
from tersor.errors import SchemeError
from tersor.formats import Contents, Format, Formats, known_formats
from tersor.grids import Scheme
from tersor.pipeline.planning.plan import ModulePlan, TensorPlan, Unit


def chosen_format(contents: Contents, asked: Format | None) -> tuple[Format, str]:
    """The format that is ``asked`` for, or the first that can hold a model; and a note on it.

    Raises :class:`SchemeError` if it cannot.
    """
    if asked is None:
        return _first(contents, known_formats())
    obstacles = asked.obstacles(contents)
    if obstacles:
        raise SchemeError(
            f"the format {asked.name} cannot hold this model: {_counted(obstacles)}; choose "
            "another format or another scheme"
        )
    return asked, ""


def chosen_for_new(contents: Contents, asked: Format | None) -> tuple[Format, str]:
    """As :func:`chosen_format`, for a model whose codes are still to be made.

    Raises :class:`SchemeError` also where only values would tell whether it can hold the model.
    """
    found, note = chosen_format(contents, asked)
    for one in contents.matrices:
        reason = found.uncertain(one.scheme)
        if reason is not None:
            raise SchemeError(f"{one.module}: {reason}")
    return found, note


def _first(contents: Contents, formats: Formats) -> tuple[Format, str]:
    obstacles: list[str] = []
    for one in formats.preferred():
        found = one.obstacles(contents)
        if not found:
            return one, f"{one.instead}: {_counted(obstacles)}" if obstacles else ""
        obstacles = obstacles or found
    raise SchemeError(f"no format can hold this model: {_counted(obstacles)}; choose another")


def _counted(obstacles: list[str]) -> str:
    """The first, and how many there are."""
    more = f" (and {len(obstacles) - 1} more)" if len(obstacles) > 1 else ""
    return obstacles[0] + more


def laid_out(units: Iterable[Unit], format_: Format) -> tuple[Unit, ...]:
    """Units with everything that is written for them."""
    return tuple(
        replace(unit, tensors=tuple(_tensor(one, format_) for one in unit.tensors))
        for unit in units
    )


def with_scheme(
    tensor: TensorPlan, module: ModulePlan, scheme: Scheme, format_: Format
) -> ModulePlan:
    """A matrix of ``tensor`` quantized by another scheme, with everything written for it then."""
    return _module(replace(module, scheme=scheme, reason=""), tensor.source, format_)


def _tensor(plan: TensorPlan, format_: Format) -> TensorPlan:
    modules = tuple(_module(one, plan.source, format_) for one in plan.modules)
    return replace(plan, modules=modules, kept=format_.kept(plan.source))


def _module(plan: ModulePlan, source: TensorInfo, format_: Format) -> ModulePlan:
    if plan.scheme is None:
        shape = plan.shape[::-1] if plan.transposed else plan.shape
        kept = format_.kept(TensorInfo(f"{plan.module}.weight", source.dtype, shape))
        return replace(plan, outputs=(kept,))
    scale_type, scheme = format_.scale_type(source.dtype), format_.made(plan.scheme)
    entries = {
        f"{plan.module}.{suffix}": entry
        for suffix, entry in format_.layout(scheme, plan.shape, scale_type).items()
    }
    return replace(
        plan,
        scheme=scheme,
        scale_type=scale_type,
        outputs=tuple(TensorInfo(name, one.dtype, one.shape) for name, one in entries.items()),
        may_widen=tuple(name for name, one in entries.items() if one.model_type),
    )
