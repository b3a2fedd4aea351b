"""What others store in more words than are needed: the plainest scheme that says the same.

GPTQ and AWQ store zero points in any case, MLX minima; where all zero points are in the middle
there are none here, and where all minima are whole multiples of their scales they are zero points.
How a format stores scales is no property of a scheme here: they are floats, of the model's type if
that holds them. All linears of one scheme stay of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tersor.formats import QuantizedLinear
from tersor.grids import (
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    StoredScale,
    Symmetry,
)
from tersor.grids.kinds.integer import WIDTHS
from tersor.runtime.artifact import Artifact


def simplest(artifact: Artifact) -> dict[str, Scheme]:
    """The scheme of every module as it is written."""
    found: dict[str, Scheme] = {}
    for scheme in dict.fromkeys(artifact.schemes.values()):
        modules = [module for module, own in artifact.schemes.items() if own == scheme]
        found |= dict.fromkeys(modules, _simplest(artifact, scheme, modules))
    return {module: found[module] for module in artifact.schemes}


def float_types(config: Mapping[str, Any]) -> list[torch.dtype]:
    """What scales may be stored as, that of the model first."""
    own = config.get("dtype") or config.get("torch_dtype")
    return sorted((torch.bfloat16, torch.float16), key=lambda one: str(one) != f"torch.{own}")


def simplified(
    linear: QuantizedLinear, scheme: Scheme, types: Sequence[torch.dtype]
) -> QuantizedLinear:
    """The linear by a scheme that :func:`simplest` found for it.

    Scales are of the first of ``types`` that holds every one; those with minima are as wide as
    they were, because GGUF's types have products in float32 or numbers in float16.
    """
    weight = linear.weight
    scale = weight.scale
    if scheme.weights.scale_format is ScaleFormat.FLOAT:
        minima = scheme.weights.grid.has_minima
        data = scale.data if minima else _narrowed(scale.data, types)
        scale = StoredScale(data, ScaleFormat.FLOAT)
    if weight.grid == scheme.weights.grid:
        return QuantizedLinear(
            replace(weight, scheme=scheme.weights, scale=scale), scheme, linear.input
        )
    zeros = None
    if not scheme.weights.grid.symmetric:
        zeros = _zeros(weight)
        assert zeros is not None
    weight = replace(weight, zero_point=zeros, scheme=scheme.weights, scale=scale)
    return replace(linear, weight=weight, scheme=scheme)


def _simplest(artifact: Artifact, scheme: Scheme, modules: list[str]) -> Scheme:
    scheme = _with_floats(scheme)
    candidates = _plainer(scheme)
    for module in modules:
        if not candidates:
            break
        zeros = _zeros(artifact.linear(module).weight)
        if zeros is None:
            return scheme
        if candidates[0].weights.grid.symmetric and not _centred(zeros, scheme):
            candidates = candidates[1:]
    return candidates[0] if candidates else scheme


def _with_floats(scheme: Scheme) -> Scheme:
    if scheme.weights.scale_format in (ScaleFormat.E8M0, ScaleFormat.E4M3):
        return scheme
    return replace(scheme, weights=replace(scheme.weights, scale_format=ScaleFormat.FLOAT))


def _plainer(scheme: Scheme) -> list[Scheme]:
    """Without zero points, and for minima with zero points; none for other grids."""
    grid, weights = scheme.weights.grid, scheme.weights
    signed = grid.code_dtype is torch.int8
    kinds: list[Symmetry] = []
    if grid.has_minima and grid.bits in WIDTHS:
        kinds = [Symmetry.FULL, Symmetry.NONE]
    elif not grid.symmetric and grid.name == f"int{grid.bits}":
        kinds = [Symmetry.FULL]
    return [
        replace(scheme, weights=replace(weights, grid=IntegerGrid(grid.bits, kind, signed)))
        for kind in kinds
    ]


def _zeros(weight: QuantizedTensor) -> Tensor | None:
    """Zero points, of minima too if ``s·q + m`` is ``s·(q − z)`` to the bit; else ``None``."""
    assert weight.zero_point is not None
    if not weight.grid.has_minima:
        return weight.zero_point
    scale, minima = weight.scale.value().double(), weight.zero_point.double()
    # A scale of 0 has a minimum of 0 if it means what a zero point means: any will do.
    middle = 1 << (weight.grid.bits - 1)
    zeros = torch.where(scale == 0, middle, (-minima / scale).round())
    inside = (zeros >= 0) & (zeros < 1 << weight.grid.bits)
    if not bool(inside.all()) or not torch.equal(-zeros * scale, minima):
        return None
    codes = zeros.to(torch.uint8)
    integers = IntegerGrid(weight.grid.bits, Symmetry.NONE, signed=False)
    plain = replace(weight, zero_point=codes, scheme=replace(weight.scheme, grid=integers))
    return codes if torch.equal(plain.dequantize(), weight.dequantize()) else None


def _centred(zeros: Tensor, scheme: Scheme) -> bool:
    grid = scheme.weights.grid
    middle = 0 if grid.code_dtype is torch.int8 else 1 << (grid.bits - 1)
    return bool((zeros == middle).all())


def _narrowed(scale: Tensor, types: Sequence[torch.dtype]) -> Tensor:
    for dtype in types:
        narrow = scale.to(dtype)
        if torch.equal(narrow.float(), scale.float()):
            return narrow
    return scale
