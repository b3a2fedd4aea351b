"""What an artifact shall hold, and what a description tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tersor.grids import Scheme
from tersor.models.architecture import Architecture, Role


@dataclass(frozen=True)
class Matrix:
    """One quantized matrix ``(out, in)``; ``transposed``: its dense weight is ``(in, out)``."""

    module: str
    shape: tuple[int, int]
    role: Role
    scheme: Scheme
    transposed: bool = False


@dataclass(frozen=True)
class Contents:
    """A model as it shall be stored. ``kept``: modules of the matrices that are not quantized."""

    architecture: Architecture
    matrices: tuple[Matrix, ...]
    kept: tuple[str, ...] = ()

    def groups(self) -> dict[Scheme, list[str]]:
        """Scheme → modules that have it."""
        found: dict[Scheme, list[str]] = {}
        for one in self.matrices:
            found.setdefault(one.scheme, []).append(one.module)
        return found


@dataclass(frozen=True)
class StackedExperts:
    """How matrices of single experts, which tersor alone names, make one tensor in memory.

    ``parameter``: the tensor, ``(experts, rows, in)`` or with ``transposed`` ``(experts, in,
    rows)``. ``parts``: the matrices ``(rows, in)`` that it holds of every expert, ``*`` for the
    number, one below the other or with ``interleaved`` row by row in turn. Names are those inside a
    block.
    """

    parameter: str
    parts: tuple[str, ...]
    transposed: bool
    interleaved: bool


@dataclass(frozen=True)
class Description:
    """What the config of an artifact says of its quantized modules.

    ``schemes``: of each. ``transposed``: those whose dense weight is ``(in, out)``. ``experts``:
    how to put those together that tersor alone names.
    """

    schemes: Mapping[str, Scheme]
    transposed: frozenset[str] = field(default_factory=frozenset)
    experts: tuple[StackedExperts, ...] = ()


def beyond_linears(contents: Contents, name: str) -> list[str]:
    """What a format called ``name``, of linears with one scheme, does not hold of a model."""
    found = []
    if len(contents.groups()) > 1:
        found.append(f"{name} has one scheme for all linears; quantize with one")
    odd = (m.module for m in contents.matrices if m.transposed or m.role is Role.EMBEDDING)
    return found + [f"{module}: {name} holds linears alone" for module in odd]
