"""What a budget is: bits per weight, bytes in all, or a divergence."""

from dataclasses import dataclass
from reprlib import repr as clipped

from tersor.byte_sizes import parsed_bytes
from tersor.errors import OptionError
from tersor.options import limits

NEAR = 0.01
"""How far below its budget a result may be, as a share of it."""


@dataclass(frozen=True)
class Bits:
    """Bits stored per quantized weight, scales and zero points included."""

    value: float
    option = "target_bits"

    def said(self, value: float) -> str:
        """A value of this kind, for people."""
        return f"{value:.4g} bits per quantized weight"


@dataclass(frozen=True)
class Size:
    """Bytes of all files that hold the tensors of the result, their headers included."""

    value: int
    option = "target_size"

    def said(self, value: float) -> str:
        """A value of this kind, for people."""
        return f"{value / 1e6:.4g} MB"


@dataclass(frozen=True)
class Divergence:
    """Mean KL divergence from the original, in nats, measured on text that comes with tersor."""

    value: float
    option = "max_kl"

    def said(self, value: float) -> str:
        """A value of this kind, for people."""
        return f"a KL divergence of {value:.4g}"


Goal = Bits | Size | Divergence


def asked_goal(
    target_bits: float | None, target_size: str | int | None, max_kl: float | None
) -> Goal | None:
    """The one that is given, if any is. Raises :class:`OptionError` for two, and for no numbers."""
    given: list[Goal] = []
    if target_bits is not None:
        given.append(Bits(limits.TARGET_BITS(target_bits)))
    if target_size is not None:
        given.append(Size(_bytes(target_size)))
    if max_kl is not None:
        given.append(Divergence(limits.MAX_KL(max_kl)))
    if len(given) > 1:
        raise OptionError(given[0].option, "and {} are two goals; give one", given[1].option)
    return given[0] if given else None


def _bytes(given: str | int) -> int:
    plain = isinstance(given, int) and not isinstance(given, bool)
    found = given if plain else parsed_bytes(given) if isinstance(given, str) else None
    if not isinstance(found, int) or found < 1:
        raise OptionError("target_size", f"must be a size such as 90MB, not {clipped(given)}")
    return found
