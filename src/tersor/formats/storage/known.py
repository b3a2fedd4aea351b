"""The ways of storing codes, and which of them a scheme is stored in."""

from collections.abc import Iterable

from tersor.errors import SchemeError
from tersor.formats.storage.half_bytes import HalfBytes
from tersor.formats.storage.kind import Storage
from tersor.formats.storage.packed_words import PackedWords
from tersor.formats.storage.plain_codes import Float8, Int8
from tersor.grids import ScaleFormat, Scheme

PACKED = PackedWords("pack-quantized")
INT8 = Int8("int-quantized")
FP8 = Float8("float-quantized", activations=True)
FP8_WEIGHT_ONLY = Float8("naive-quantized", activations=False)
MXFP4 = HalfBytes("mxfp4-pack-quantized", ScaleFormat.E8M0)
NVFP4 = HalfBytes("nvfp4-pack-quantized", ScaleFormat.E4M3)

STORAGES: tuple[Storage, ...] = (FP8, FP8_WEIGHT_ONLY, MXFP4, NVFP4, INT8, PACKED)
"""The first that holds a scheme is the one it is stored in."""


def find_storage(scheme: Scheme) -> Storage | None:
    """The storage of a scheme; ``None`` if there is none."""
    return next((storage for storage in STORAGES if storage.holds(scheme)), None)


def storage_for(scheme: Scheme) -> Storage:
    """The storage of a scheme. Raises :class:`SchemeError` if there is none."""
    found = find_storage(scheme)
    if found is None:
        raise SchemeError(f"no way of storing {scheme} is known: {no_storage(scheme)}")
    return found


def no_storage(scheme: Scheme) -> str:
    """Why there is no storage for a scheme."""
    weights = scheme.weights
    return (
        f"codes of {weights.grid.bits} bits and type {weights.grid.code_dtype}, "
        f"scales {weights.scale_format}"
    )


def one_way(schemes: Iterable[Scheme]) -> bool:
    """Whether all weights are stored in one way, whatever happens to activations."""
    return len({(find_storage(scheme), scheme.weights) for scheme in schemes}) <= 1
