"""Random orthogonal matrices that spread every channel over all others.

A Hadamard matrix with random signs (QuaRot, https://arxiv.org/abs/2404.00456, section 4): all its
entries have the same magnitude, so that a single large channel comes out flat. It exists for powers
of two; for other sizes its Kronecker product with a random orthogonal matrix takes its place, as
in ``576 = 64 · 9``. Products are cheap because the matrix is never formed.
"""

from dataclasses import dataclass
from functools import reduce
from hashlib import sha256

import torch
from torch import Tensor

from tersor.errors import SchemeError

# Factors above this size cost more multiplications than they save passes over the data.
_LARGEST_FACTOR = 64


@dataclass(frozen=True, eq=False)
class Orthogonal:
    """The matrix ``Q = diag(signs) · (F₁ ⊗ F₂ ⊗ …) · (I − 2·m·mᵀ)``, all fp64.

    ``signs`` ``(n,)`` are ±1; ``factors`` are orthogonal, their sizes multiply to n; ``mirror``
    ``(n,)`` is the unit vector m of a reflection, or None for no reflection.
    """

    signs: Tensor
    factors: tuple[Tensor, ...]
    mirror: Tensor | None = None

    @property
    def size(self) -> int:
        """n."""
        return len(self.signs)

    def turn(self, rows: Tensor) -> Tensor:
        """``rows @ Q`` in fp64, for ``rows`` ``(…, n)`` of any float type."""
        turned = rows.double() * self.signs
        for factor in self.factors:
            # Each step takes the leading factor's axis to the back; after all they are in order.
            split = turned.reshape(-1, len(factor), self.size // len(factor))
            turned = split.transpose(1, 2) @ factor
        turned = turned.reshape(rows.shape)
        if self.mirror is None:
            return turned
        return turned - 2 * (turned @ self.mirror).unsqueeze(-1) * self.mirror

    def matrix(self) -> Tensor:
        """Q itself, ``(n, n)`` fp64: what ``turn`` is held against."""
        product = self.signs.unsqueeze(1) * reduce(torch.kron, self.factors)
        if self.mirror is None:
            return product
        reflection = torch.eye(self.size, dtype=torch.float64)
        return product @ (reflection - 2 * torch.outer(self.mirror, self.mirror))


def random_orthogonal(
    size: int, seed: int, purpose: str, *, keeps_ones: bool = False
) -> Orthogonal:
    """A random rotation of ``size`` channels; the same for the same ``seed`` and ``purpose``.

    ``keeps_ones``: the all-ones vector is mapped onto itself, so that the rotation commutes with
    subtracting the mean. Raises :class:`SchemeError` unless ``size`` is positive.
    """
    if size < 1:
        raise SchemeError(f"a rotation of {size} channels makes no sense")
    digest = sha256(f"{seed}/{purpose}/{size}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    signs = torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
    plain = Orthogonal(signs, _factors(size, generator))
    return _keeping_ones(plain) if keeps_ones else plain


def hadamard(size: int) -> Tensor:
    """Sylvester's matrix of a power of two, scaled to be orthogonal: fp64 ``(size, size)``."""
    if size < 1 or size & (size - 1):
        raise SchemeError(f"{size} is not a power of two")
    matrix = torch.ones(1, 1, dtype=torch.float64)
    smallest = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.kron(matrix, smallest)
    normalised: Tensor = matrix * size**-0.5
    return normalised


def _factors(size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Hadamard matrices for the power of two in ``size``, a random one for its odd part."""
    power = size & -size
    odd = size // power
    factors = []
    while power > 1:
        factor = min(power, _LARGEST_FACTOR)
        factors.append(hadamard(factor))
        power //= factor
    if odd > 1 or not factors:
        factors.append(_haar(odd, generator))
    return tuple(factors)


def _haar(size: int, generator: torch.Generator) -> Tensor:
    """Uniform over the orthogonal matrices: Mezzadri, https://arxiv.org/abs/math-ph/0609050."""
    gaussian = torch.randn(size, size, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    # By columns, as LAPACK leaves it, torch.kron could not read it.
    uniform: Tensor = (q * torch.where(r.diagonal() < 0, -1.0, 1.0)).contiguous()
    return uniform


def _keeping_ones(plain: Orthogonal) -> Orthogonal:
    """``plain`` followed by the reflection that takes the ones back to where they were.

    A reflection differs from the identity by rank one, so the entries stay as flat as they were.
    """
    ones = torch.full((plain.size,), plain.size**-0.5, dtype=torch.float64)
    moved = plain.turn(ones)
    difference = moved - ones
    length = torch.linalg.vector_norm(difference)
    if float(length) < 1e-12:
        return plain
    return Orthogonal(plain.signs, plain.factors, difference / length)
