"""The tensors that a format stores for one linear, described without values and held against it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.checkpoints.finite import is_finite
from tersor.errors import FormatError
from tersor.grids import Scheme

MODEL_TYPES = (torch.bfloat16, torch.float16, torch.float32)
"""The float types that models have."""

# Of the exponents E8M0; float8 has its own.
_NAN_EXPONENT = 255


@dataclass(frozen=True)
class Entry:
    """Type and shape of one stored tensor.

    ``model_type``: it has the model's float type, or float32 where that is float16 and cannot hold
    its values. ``parameter``: a scale or the like, in which NaN and infinity mean nothing;
    ``divisor``: one that others divide by, so it must be positive.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    model_type: bool = False
    parameter: bool = False
    divisor: bool = False


def check_entries(
    tensors: Mapping[str, Tensor], entries: Mapping[str, Entry], scheme: Scheme, module: str
) -> None:
    """Hold suffix → tensor of a linear against what its scheme needs; codes are not read.

    Raises :class:`FormatError` if a tensor is missing, is one too many, has another type or shape,
    or values that it cannot have.
    """
    for suffix in tensors.keys() - entries.keys():
        raise FormatError(f"tensor {module}.{suffix} does not belong to its scheme ({scheme})")
    for suffix, entry in entries.items():
        found = needed_tensor(tensors, suffix, module)
        free = entry.model_type and found.dtype in MODEL_TYPES
        dtype = found.dtype if free else entry.dtype
        if found.dtype != dtype or tuple(found.shape) != entry.shape:
            raise FormatError(
                f"{module}.{suffix} is {found.dtype} {tuple(found.shape)}; "
                f"its scheme ({scheme}) needs {dtype} {entry.shape}"
            )
        refuse_unsound(f"{module}.{suffix}", found, entry)


def needed_tensor(tensors: Mapping[str, Tensor], suffix: str, module: str) -> Tensor:
    """One of suffix → tensor. Raises :class:`FormatError` if it is missing."""
    if suffix not in tensors:
        raise FormatError(f"tensor {module}.{suffix} is missing")
    return tensors[suffix]


def shape_of_codes(tensors: Mapping[str, Tensor], suffix: str, module: str) -> tuple[int, int]:
    """``(rows, columns)`` of a tensor that holds codes. Raises :class:`FormatError`."""
    codes = needed_tensor(tensors, suffix, module)
    if codes.ndim != 2 or codes.numel() == 0:
        raise FormatError(f"{module}.{suffix} is {tuple(codes.shape)}, not a matrix (out, in)")
    rows, columns = codes.shape
    return rows, columns


def refuse_unsound(name: str, tensor: Tensor, entry: Entry) -> None:
    """Look at the values of a tensor that no artifact can mean, whatever the model says.

    Signs of weight scales are meant: a grid may be turned round. A weight scale of 0 makes zeros.

    Raises :class:`FormatError` for NaN and infinity in parameters, and for divisors that are not
    positive.
    """
    if not entry.parameter:
        return
    exponents = not tensor.is_floating_point()
    if bool((tensor == _NAN_EXPONENT).any()) if exponents else not is_finite(tensor):
        raise _damaged(name, "holds NaN or infinity")
    if entry.divisor and not bool((tensor.float() > 0).all()):
        raise _damaged(name, "holds a scale that is not positive")


def _damaged(name: str, what: str) -> FormatError:
    return FormatError(f"tensor {name} {what}; make or download the artifact again")
