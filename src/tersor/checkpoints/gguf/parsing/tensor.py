"""One tensor as the header tells of it."""

from dataclasses import dataclass
from pathlib import Path

from tersor.checkpoints.gguf.block_types import BLOCK_TYPES
from tersor.errors import SourceError


@dataclass(frozen=True)
class GGUFTensor:
    """One stored tensor: ``shape`` in torch's order (slowest dimension first)."""

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int
    nbytes: int


def row_bytes(path: Path, name: str, ggml_type: int, columns: int) -> int:
    """Bytes of one row of ``columns`` values of a ggml type.

    Raises:
        SourceError: an unknown type, or columns that do not fill whole blocks.
    """
    known = BLOCK_TYPES.get(ggml_type)
    if known is None:
        raise SourceError(f"{path}: tensor {name!r} has the unknown type {ggml_type}")
    if columns % known.values:
        raise SourceError(
            f"{path}: tensor {name!r} has rows of {columns}, not whole blocks of {known.values} "
            f"({known.name}); download it again"
        )
    return columns // known.values * known.nbytes
