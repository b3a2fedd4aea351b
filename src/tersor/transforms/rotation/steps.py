"""What a rotation does to single tensors. A step reads what it needs and returns one tensor, fp32.

Hidden states are rows: ``x' = x·Q``. A linear ``y = x·Wᵀ`` that reads them becomes ``W·Q``, one
that writes them ``Qᵀ·W``; both are rows times Q, of W and of Wᵀ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tersor.errors import SourceError
from tersor.grids.blocks import row_chunks
from tersor.transforms.rotation.hadamard import Orthogonal

Read = Callable[[str], Tensor]
"""One tensor of the unrotated source, by name."""


class Step(Protocol):
    """How one tensor of the rotated model comes about."""

    def compute(self, read: Read) -> Tensor:
        """The tensor, fp32."""


@dataclass(frozen=True, eq=False)
class Turn:
    """A rotation of a row's channels, or of some of them.

    ``groups``: int64 ``(groups, n)``; each names channels that are rotated with each other. None
    stands for all of them in order.
    """

    rotation: Orthogonal
    groups: Tensor | None = None

    def apply(self, rows: Tensor) -> Tensor:
        """``rows`` ``(…, channels)`` rotated, fp64; channels outside the groups stay."""
        if self.groups is None:
            return self.rotation.turn(rows)
        turned = rows.double().clone()
        turned[..., self.groups] = self.rotation.turn(rows[..., self.groups])
        return turned


@dataclass(frozen=True)
class Norm:
    """A norm's tensors on disk; it computes ``x̂·(weight + offset) + bias``. None: not there."""

    weight: str | None
    bias: str | None
    offset: float

    def gain(self, read: Read) -> Tensor | None:
        """fp64 ``(n,)``; None if it is all ones."""
        return None if self.weight is None else read(self.weight).double() + self.offset


@dataclass(frozen=True, eq=False)
class Matrix:
    """A linear or an embedding ``(…, out, in)``; ``transposed`` if stored the other way round.

    The gain of ``norm`` is absorbed by its columns, then ``inputs`` and ``outputs`` are rotated.
    Each rotation is computed in fp64 and kept in fp32.
    """

    origin: str
    norm: Norm | None = None
    inputs: Turn | None = None
    outputs: Turn | None = None
    transposed: bool = False

    def compute(self, read: Read) -> Tensor:
        """See :class:`Step`."""
        stored = read(self.origin)
        matrix = stored.mT if self.transposed else stored
        gain = None if self.norm is None else self.norm.gain(read)
        if gain is not None or self.inputs is not None:
            matrix = _by_rows(matrix, gain, self.inputs)
        if self.outputs is not None:
            matrix = _by_rows(matrix.mT, None, self.outputs).mT
        return (matrix.mT if self.transposed else matrix).float().contiguous()


@dataclass(frozen=True, eq=False)
class Bias:
    """A linear's bias ``(out,)``, which absorbs the bias of the ``norm`` before the linear.

    ``weight``: the linear's, stored as ``transposed`` says.
    """

    origin: str
    weight: str
    norm: Norm | None = None
    outputs: Turn | None = None
    transposed: bool = False

    def compute(self, read: Read) -> Tensor:
        """See :class:`Step`."""
        bias = read(self.origin).double()
        if self.norm is not None and self.norm.bias is not None:
            stored = read(self.weight)
            matrix = stored.T if self.transposed else stored
            bias = bias + matrix.double() @ read(self.norm.bias).double()
        return (bias if self.outputs is None else self.outputs.apply(bias)).float()


@dataclass(frozen=True)
class Constant:
    """What is left of a norm once others have absorbed it."""

    origin: str
    value: float

    def compute(self, read: Read) -> Tensor:
        """See :class:`Step`."""
        return torch.full_like(read(self.origin), self.value, dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class NormBias:
    """The bias of a norm whose gain is absorbed by readers that have no bias.

    ``(x̂·g + b)·Wᵀ = (x̂ + b/g)·(W·diag(g))ᵀ``, and then all of it is rotated.
    """

    norm: Norm
    turn: Turn

    def compute(self, read: Read) -> Tensor:
        """See :class:`Step`; :class:`SourceError` where a gain of 0 leaves nothing to scale."""
        assert self.norm.bias is not None
        bias, gain = read(self.norm.bias).double(), self.norm.gain(read)
        if gain is not None:
            if bool(((gain == 0) & (bias != 0)).any()):
                raise SourceError(
                    f"{self.norm.weight} holds zeros and its readers have no bias to absorb "
                    f"{self.norm.bias}: rotate the values only (residual: false)"
                )
            bias = torch.where(bias == 0, 0.0, bias / gain)
        return self.turn.apply(bias).float()


def _by_rows(matrix: Tensor, gain: Tensor | None, turn: Turn | None) -> Tensor:
    """``matrix`` ``(…, rows, n)`` times the gain, then turned: fp32, few fp64 rows at a time."""
    rows = matrix.reshape(-1, matrix.shape[-1]) if matrix.ndim > 2 else matrix
    result = torch.empty(rows.shape, dtype=torch.float32)
    for chunk in row_chunks(*rows.shape):
        part = rows[chunk].double()
        part = part if gain is None else part * gain
        result[chunk] = part if turn is None else turn.apply(part)
    return result.reshape(matrix.shape)
