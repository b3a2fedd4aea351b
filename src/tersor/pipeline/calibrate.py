"""Calibration text through the model, for recipes that look at activations."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tersor.calibration.capture import collect
from tersor.calibration.statistics import MeanSquare, MinMax, MovingMinMax, RunningHistogram
from tersor.calibration.statistics.statistic import Several
from tersor.calibration.text import builtin_text, read_text, windows
from tersor.checkpoints.files import write_json
from tersor.checkpoints.source import Source
from tersor.models.architecture import Role
from tersor.models.experts import unfused_shapes
from tersor.models.pairs import input_groups
from tersor.pipeline.activations import InputStatistics
from tersor.pipeline.plan import Plan
from tersor.ranges import MovingAverage
from tersor.recipes import Calibration
from tersor.runtime.load import load_tokenizer


def calibrate(
    source: Source,
    plan: Plan,
    texts: Sequence[Path],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, InputStatistics]:
    """Statistics of every quantized linear's input, by module; empty if the recipe needs none.

    ``texts``: files; without any, public-domain English that comes with tersor. A module that no
    token reached, such as an expert, is not among the results. ``progress`` counts blocks.

    Raises :class:`~tersor.errors.TextError` if the text is too short.
    """
    if not plan.recipe.needs_calibration:
        return {}
    text = read_text(texts) if texts else builtin_text("calibration")
    tokens = calibration_windows(source_tokenizer(source), text, plan.recipe.calibration)
    momentum = _momentum(plan)
    groups = list(_groups(source, plan))
    observers = {group[0]: _observer(momentum) for group in groups}
    seen = collect(source, observers, tokens, progress=progress)
    statistics: dict[str, InputStatistics] = {}
    for group in groups:
        if group[0] in seen:
            shared = _statistics(seen[group[0]])
            statistics |= {name.removesuffix(".weight"): shared for name in group}
    return statistics


def calibration_windows(tokenizer: Any, text: str, budget: Calibration) -> Tensor:
    """int64 ``(windows, budget.window)``, at most ``budget.tokens`` tokens, at least one window."""
    length = min(budget.window, budget.tokens)
    return windows(tokenizer, text, length, budget.tokens // length)


def source_tokenizer(source: Source) -> Any:
    """The tokenizer that travels with a source, whatever its format.

    Raises :class:`SourceError` if there is none.
    """
    with tempfile.TemporaryDirectory(prefix="tersor-") as directory:
        source.copy_companions(Path(directory))
        write_json(Path(directory) / "config.json", source.config)
        return load_tokenizer(directory, name=str(source.path))


def _groups(source: Source, plan: Plan) -> Iterator[tuple[str, ...]]:
    """Weights of quantized linears, those that read the same tensor together."""
    shapes: dict[str, tuple[int, ...]] = {}
    for info in source.tensors.values():
        shapes |= unfused_shapes(plan.architecture, info.name, info.shape)
    wanted = {
        f"{module.module}.weight"
        for module in plan.quantized()
        if plan.architecture.role(f"{module.module}.weight", module.shape) is not Role.EMBEDDING
    }
    for block in range(plan.architecture.blocks):
        for group in input_groups(plan.architecture, shapes, block):
            members = tuple(name for name in group if name in wanted)
            wanted.difference_update(members)
            if members:
                yield members
    for name in sorted(wanted):
        yield (name,)


def _momentum(plan: Plan) -> float:
    chosen = plan.recipe.activation_range
    return chosen.momentum if isinstance(chosen, MovingAverage) else MovingAverage().momentum


def _observer(momentum: float) -> Several:
    return Several(
        {
            "range": MinMax(),
            "moving": MovingMinMax(momentum),
            "histogram": RunningHistogram(),
            "mean_square": MeanSquare(),
        }
    )


def _statistics(seen: Mapping[str, Any]) -> InputStatistics:
    return InputStatistics(
        bounds=_bounds(seen["range"]),
        moving=_bounds(seen["moving"]),
        centres=seen["histogram"].centres.float(),
        counts=seen["histogram"].counts.float(),
        mean_square=seen["mean_square"].values.float(),
    )


def _bounds(seen: Any) -> tuple[Tensor, Tensor]:
    ends = (seen.tensor_minimum, seen.tensor_maximum)
    low, high = (Tensor([[end]]) for end in ends)
    return low, high
