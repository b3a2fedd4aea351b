"""Which type of blocks holds a linear, and the linear in that type's own terms."""

import numpy as np
import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.formats.kinds.gguf.block_type import Blocks, Parameters
from tersor.formats.kinds.gguf.types import TYPES
from tersor.formats.storage.kind import of_code_type
from tersor.grids import (
    Granularity,
    Grid,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    StoredScale,
    TensorScheme,
)

# What recipes round to, by bits.
_USUAL = ("Q4_0", "Q5_0", "Q8_0")


def types_for(weights: TensorScheme) -> list[Blocks]:
    """The types that have a scheme's codes and groups; values decide which of them hold a linear.

    Those whose scales and minima are float16 numbers come first.
    """
    found = [kind for kind in TYPES.values() if _takes(kind, weights)]
    return sorted(found, key=lambda kind: kind.products)


def obstacle(scheme: Scheme, shape: tuple[int, int]) -> str | None:
    """Why no type holds a linear ``(out, in)`` with this scheme, or ``None``; a sentence."""
    if scheme.activations is not None:
        return "GGUF has no quantized activations; choose a scheme of weights alone"
    found = types_for(scheme.weights)
    if not found:
        return (
            f"GGUF has no {scheme.weights}; the nearest that it has is {_nearest(scheme.weights)}"
        )
    if not any(shape[1] % kind.values == 0 for kind in found):
        return (
            f"rows of {shape[1]} are no whole blocks of {found[0].values}, which {found[0].name} "
            "has; choose another scheme for this linear, or exclude it"
        )
    return None


def uncertain(scheme: Scheme) -> str | None:
    """Why it is no scheme for new codes, or ``None``; a sentence."""
    weights, found = scheme.weights, types_for(scheme.weights)
    if not weights.grid.symmetric and not weights.grid.has_minima:
        return (
            "GGUF has float16 minima in place of zero points, and few multiples of a scale are "
            f"float16 numbers; quantize without zero points, to {_nearest(weights)}"
        )
    if all(kind.products for kind in found) and weights.scale_format is ScaleFormat.FLOAT:
        return (
            f"scales of {found[0].name} are integers times one number of {found[0].values} weights;"
            f" quantize to {_nearest(weights)}"
        )
    said = remark(scheme)
    return None if said is None else f"{said}; smaller groups cost nothing: {_nearest(weights)}"


def remark(scheme: Scheme) -> str | None:
    """What becomes larger than it was, or ``None``; a sentence."""
    weights, found = scheme.weights, types_for(scheme.weights)
    if not found or found[0].group == weights.group_size:
        return None
    of = f"group of {weights.group_size}" if weights.group_size else "row"
    return f"{found[0].name} has a scale for every {found[0].group} weights, also within a {of}"


def first_type(scheme: Scheme, shape: tuple[int, int]) -> Blocks:
    """The type of what is quantized by a scheme that has no :func:`obstacle`."""
    return next(kind for kind in types_for(scheme.weights) if shape[1] % kind.values == 0)


def matched(weight: QuantizedTensor) -> tuple[Blocks, QuantizedTensor, Tensor]:
    """The smallest type that holds a weight exactly, the weight in its terms, and its blocks.

    Types whose scales are products come last unless scales are float32, as theirs are. Blocks:
    uint8 ``(out, bytes of a row)``. Raises :class:`SchemeError` where no type holds it.
    """
    found = [kind for kind in types_for(weight.scheme) if weight.shape[1] % kind.values == 0]
    wide = weight.scale.data.dtype is torch.float32
    problems: dict[str, SchemeError] = {}
    for kind in sorted(found, key=lambda kind: (kind.products and not wide, kind.bits)):
        try:
            converted = as_type(kind, weight)
            return kind, converted, _blocks(kind, converted)
        except SchemeError as error:
            problems[kind.name] = error
    if not found:
        raise SchemeError(str(obstacle(Scheme(weight.scheme), weight.shape)))
    first = found[0].name
    raise SchemeError(
        f"{first} does not hold its numbers ({problems[first]}); quantize the model itself with "
        "--format gguf"
    )


def as_type(kind: Blocks, weight: QuantizedTensor) -> QuantizedTensor:
    """The same values with codes, scales and minima as a type has them.

    Raises :class:`SchemeError` for scales that float16 does not hold where the type has such.
    """
    scheme, grid, codes = kind.scheme.weights, weight.grid, weight.codes
    data = _of_blocks(kind, weight, weight.scale.data)
    if data.is_floating_point():
        data = data.float() if kind.products else _halves(data.float())
    if grid.integers is not None:
        codes = of_code_type(codes, scheme.grid.code_dtype, grid.bits)
    minima = weight.zero_point
    if minima is not None and not grid.has_minima:
        zeros = of_code_type(minima, torch.uint8, grid.bits)
        minima = -(weight.scale.value() * zeros)
        _halves(minima)
    if minima is not None:
        minima = _of_blocks(kind, weight, minima)
    return QuantizedTensor(codes, StoredScale(data, scheme.scale_format), minima, scheme)


def _of_blocks(kind: Blocks, weight: QuantizedTensor, each: Tensor) -> Tensor:
    """Values of a weight's groups ``(out, groups)`` → of a type's, which are no larger."""
    columns = weight.shape[1]
    repeats = (weight.scheme.group_size or columns) // kind.group
    return each.repeat_interleave(repeats, dim=1)[:, : columns // kind.group].contiguous()


def _blocks(kind: Blocks, weight: QuantizedTensor) -> Tensor:
    scale, minima = weight.scale.data, weight.zero_point
    groups = kind.values // kind.group
    parameters = Parameters(
        scale.numpy().reshape(-1, groups),
        None if minima is None else minima.numpy().reshape(-1, groups),
    )
    blocks = kind.encode(parameters, weight.codes.numpy().reshape(-1, kind.values))
    return torch.from_numpy(np.ascontiguousarray(blocks)).reshape(weight.shape[0], -1)


def _halves(values: Tensor) -> Tensor:
    narrow = values.to(torch.float16)
    lost = narrow.float() != values
    if bool(lost.any()):
        found = float(values[lost][0])
        raise SchemeError(f"float16 does not hold a scale or minimum of {found:.6g}")
    return narrow


def _takes(kind: Blocks, weights: TensorScheme) -> bool:
    """Groups of several blocks are blocks with one scale, where a block has a scale of its own."""
    own, size = kind.scheme.weights, weights.group_size
    whole = weights.granularity is Granularity.CHANNEL or (
        size is not None and size % kind.group == 0
    )
    fits = size == kind.group if kind.products else whole
    return fits and kind.takes_scales(weights.scale_format) and _takes_codes(own.grid, weights.grid)


def _takes_codes(own: Grid, given: Grid) -> bool:
    """Whether one grid's codes are among another's, or will be with zero points as minima."""
    if own == given:
        return True
    if own.integers is None or given.integers is None or own.bits != given.bits:
        return False
    return own.symmetric == given.symmetric


def _nearest(weights: TensorScheme) -> str:
    """What a recipe can make that has no fewer bits, if there is such, and how."""
    usual = [TYPES[name] for name in _USUAL]
    kind = next((one for one in usual if one.grid.bits >= weights.grid.bits), usual[-1])
    return f"{kind.scheme.weights} ({kind.name}): --bits {kind.grid.bits} --group-size {kind.group}"
