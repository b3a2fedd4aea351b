"""Scales and levels that no artifact can mean: found on opening, not in what the model says."""

from torch import Tensor

from tersor.checkpoints.finite import is_finite
from tersor.errors import FormatError

PARAMETERS = ("weight_scale", "weight_global_scale", "weight_codebook", "input_scale")
# Others divide by these.
_DIVISORS = ("weight_global_scale", "input_scale")
# Of the exponents E8M0; float8 has its own.
_NAN_EXPONENT = 255


def refuse_unsound(name: str, tensor: Tensor) -> None:
    """Look at one of the ``PARAMETERS``; ``name`` ends in which.

    Signs of weight scales are meant: a grid may be turned round. A weight scale of 0 makes zeros.

    Raises :class:`FormatError` for NaN and infinity, and for what is divided by if it is not
    positive.
    """
    exponents = not tensor.is_floating_point()
    if bool((tensor == _NAN_EXPONENT).any()) if exponents else not is_finite(tensor):
        raise _damaged(name, "holds NaN or infinity")
    if name.endswith(_DIVISORS) and not bool((tensor.float() > 0).all()):
        raise _damaged(name, "holds a scale that is not positive")


def _damaged(name: str, what: str) -> FormatError:
    return FormatError(f"tensor {name} {what}; make or download the artifact again")
