"""``quantization_config`` of a GPTQ checkpoint."""

from collections.abc import Mapping
from typing import Any

from tersor.errors import FormatError
from tersor.grids import Granularity, IntegerGrid, Scheme, Symmetry, TensorScheme

WIDTHS = (2, 3, 4, 8)
V1, V2 = "gptq", "gptq_v2"


def scheme_of(settings: Mapping[str, Any]) -> Scheme:
    """The scheme of all quantized linears; zero points are always read.

    Raises :class:`FormatError` for what is no such description, and for parts with another one.
    """
    bits, size = settings.get("bits"), settings.get("group_size")
    if bits not in WIDTHS or not isinstance(bits, int):
        raise FormatError(f"quantization_config: bits is {bits!r}, not one of 2, 3, 4 and 8")
    if not isinstance(size, int) or isinstance(size, bool) or size == 0 or size < -1 or size == 1:
        raise FormatError(
            f"quantization_config: group_size is {size!r}, not -1 or a whole number from 2"
        )
    if settings.get("dynamic"):
        raise FormatError(
            "quantization_config: dynamic gives modules schemes of their own, which is not read"
        )
    grid = IntegerGrid(bits, Symmetry.NONE, signed=False)
    if size == -1:
        return Scheme(TensorScheme(grid, Granularity.CHANNEL))
    return Scheme(TensorScheme(grid, Granularity.GROUP, size))


def label_of(settings: Mapping[str, Any]) -> str:
    """Which version the checkpoint says it is. Raises :class:`FormatError`."""
    label = settings.get("checkpoint_format") or V1
    if label not in (V1, V2):
        raise FormatError(
            f"quantization_config: checkpoint_format is {label!r}; tersor reads {V1} and {V2}"
        )
    return str(label)
