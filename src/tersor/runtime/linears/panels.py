"""Weights as the native kernels read them, and products with them; numpy only.

Kernels: :func:`product`: activations become int8 codes per token and group; products and sums are
exact integers, scaled in float32 (``native/kernels``). The level of instructions is
:func:`tersor.machine.instructions.level`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.machine.instructions import level

# Columns of a token that share a scale where the weight does not say: few enough for a token's
# largest value not to drown the others.
ACTIVATION_GROUP = 64
PANEL = 16

Bytes: TypeAlias = NDArray[np.uint8]
Values: TypeAlias = NDArray[np.uint16] | NDArray[np.float16] | NDArray[np.float32]
Steps: TypeAlias = NDArray[np.int8]
Floats: TypeAlias = NDArray[np.float32]


class GroupNumbers(NamedTuple):
    """A number for each group of each row, as scales are: float32, float16 or the bits of bfloat16.

    ``(out, groups)``, or in panels ``(panels, groups, 16)``. With ``steps``, which are like that,
    ``values`` are float16, and those of super-blocks: a group's number is a step times one of them.
    """

    values: Values
    steps: Steps | None = None

    @property
    def nbytes(self) -> int:
        """In memory."""
        return self.values.nbytes + (0 if self.steps is None else self.steps.nbytes)


class _Native(TypedDict):
    packed: Bytes
    scales: GroupNumbers
    zeros: Bytes | None
    zero: int
    group: int
    bits: int
    minima: GroupNumbers | None


class FixedInput(NamedTuple):
    """Activations that become ``clip(round(x / scale) + zero)``, from ``lowest`` to 127.

    ``zero`` and ``lowest`` are int8 codes.
    """

    scale: float
    zero: int
    lowest: int


@dataclass(frozen=True, eq=False)
class PackedLinear:
    """A weight ``(rows, columns)`` as the kernels read it, and what its scheme does to activations.

    ``codes``: panels of 16 rows. ``scales``: in panels; ``zeros``: uint8 ``(panels, groups, 16)``,
    or ``None`` if ``zero`` is every group's. ``group``: columns that share a scale, of weights and
    of activations. ``levels``: float32 ``(16,)``, what the codes of a codebook stand for; ``None``
    if they are integers. ``rounded``: the scheme rounds activations itself; ``fixed``: how, if it
    does not go by their range. ``minima``: what is added to all weights of a group, or ``None``.
    """

    codes: Bytes
    scales: GroupNumbers
    zeros: Bytes | None
    zero: int
    rows: int
    columns: int
    group: int
    bits: int
    levels: Floats | None = None
    rounded: bool = False
    fixed: FixedInput | None = None
    minima: GroupNumbers | None = None

    @property
    def nbytes(self) -> int:
        """Of what is read to multiply it."""
        parts = (self.codes, self.scales, self.zeros, self.minima)
        return sum(part.nbytes for part in parts if part is not None)

    def native(self) -> _Native:
        """What the native linears take of it."""
        return {
            "packed": self.codes,
            "scales": self.scales,
            "zeros": self.zeros,
            "zero": self.zero,
            "group": self.group,
            "bits": self.bits,
            "minima": self.minima,
        }


def pack_codes(
    codes: Bytes,
    scales: GroupNumbers,
    zeros: Bytes | None,
    *,
    zero: int,
    bits: int,
    group: int,
    threads: int,
    levels: Floats | None = None,
    minima: GroupNumbers | None = None,
) -> PackedLinear:
    """Codes ``(out, in)`` of ``bits`` bits, not negative, in panels.

    ``scales``, ``zeros`` and ``minima``: ``(out, groups)``, ``(out, 1)`` or ``(1, 1)``, and values
    of super-blocks ``(out, super-blocks)``; ``zero``: the code of 0 where there are no zeros.
    ``group``: columns that share a scale, of activations too.
    """
    rows, columns = codes.shape
    groups = -(-columns // group)
    packed = np.empty(_native.packed_bytes(rows, columns, group, bits), np.uint8)
    _native.pack_panels(np.ascontiguousarray(codes), packed, group, bits, threads)
    return PackedLinear(
        packed,
        _in_panels(scales, rows, groups),
        None if zeros is None else panels(zeros, rows, groups),
        zero,
        rows,
        columns,
        group,
        bits,
        levels,
        minima=None if minima is None else _in_panels(minima, rows, groups),
    )


def _in_panels(numbers: GroupNumbers, rows: int, groups: int) -> GroupNumbers:
    values, steps = numbers
    if steps is None:
        return GroupNumbers(panels(values, rows, groups))
    return GroupNumbers(panels(values, rows, values.shape[1]), panels(steps, rows, groups))


def panels(parameter: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """``(rows or 1, columns or 1)`` → ``(panels, columns, 16)``; rows that are missing hold 0."""
    count = -(-rows // PANEL)
    whole = np.zeros((count * PANEL, columns), parameter.dtype)
    whole[:rows] = parameter
    return np.ascontiguousarray(whole.reshape(count, PANEL, columns).transpose(0, 2, 1))


def product(x: Floats, packed: PackedLinear, fixed: FixedInput | None, threads: int) -> Floats:
    """``x Wᵀ``: ``(tokens, in)`` → ``(tokens, out)``, with integer weights.

    ``fixed``: how activations become codes, if not by their own range; its zero is not taken away.
    """
    y = np.empty((len(x), packed.rows), np.float32)
    _native.linear(level=level(), x=x, **packed.native(), fixed=fixed, y=y, threads=threads)
    return y


def with_zero(
    packed: PackedLinear, fixed: FixedInput | None, bias: Floats | None, threads: int
) -> Floats | None:
    """The bias ``(out,)`` less what the zero of a fixed input adds to every product.

    With codes ``a = clip(round(x/s) + z)`` a linear is ``s·W·a − s·z·W·1 + b``: the kernels compute
    the first term, and no token changes the second.
    """
    if fixed is None or fixed.zero == 0:
        return bias
    sums = product(np.ones((1, packed.columns), np.float32), packed, None, threads)[0]
    added: Floats = sums * np.float32(fixed.scale * fixed.zero)
    return -added if bias is None else bias - added
