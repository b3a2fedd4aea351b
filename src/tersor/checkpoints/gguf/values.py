"""Values of a GGUF tensor, dequantized a few rows at a time and read without mapping the file."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tersor.checkpoints.files import reading
from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor, row_bytes
from tersor.errors import SourceError

# gguf.dequantize needs several times its output while it works: 16 MB of float32 at a time.
_VALUES_AT_ONCE = 2**22
_FLOAT32 = 0


def float_rows(
    path: Path, tensor: GGUFTensor, first: int, rows: int
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Dequantize ``rows`` rows from row ``first`` on (all leading dimensions counted as rows).

    Yields:
        The position of a piece relative to ``first``, and the piece ``(rows, columns)``.

    Raises:
        SourceError: the file became shorter since its header was read.
    """
    columns = tensor.shape[-1]
    width = row_bytes(path, tensor.name, tensor.ggml_type, columns)
    step = max(1, _VALUES_AT_ONCE // max(columns, 1))
    for start in range(0, rows, step):
        count = min(step, rows - start)
        with reading(path):
            raw = np.fromfile(
                path, np.uint8, count * width, offset=tensor.offset + (first + start) * width
            )
        if raw.size != count * width:
            raise SourceError(f"{path}: changed while it was being read (tensor {tensor.name!r})")
        yield start, _values(raw, tensor.ggml_type, count).reshape(count, columns)


def _values(raw: npt.NDArray[np.uint8], ggml_type: int, rows: int) -> npt.NDArray[np.float32]:
    if ggml_type == _FLOAT32:
        return raw.view("<f4")
    from gguf import GGMLQuantizationType, dequantize

    # NaN and infinity are for the reader of the values to refuse; numpy would only warn.
    with np.errstate(all="ignore"):
        values: npt.NDArray[np.float32] = dequantize(
            raw.reshape(rows, -1), GGMLQuantizationType(ggml_type)
        )
    return values


def all_values(path: Path, tensor: GGUFTensor) -> npt.NDArray[np.float32]:
    """A small tensor whole, in its own shape."""
    pieces = [piece for _, piece in float_rows(path, tensor, 0, prod(tensor.shape[:-1]))]
    return np.concatenate(pieces).reshape(tensor.shape)


def refuse_unreadable_types(path: Path, tensors: Iterator[GGUFTensor]) -> None:
    """Refuse block types that the gguf package cannot dequantize, before any work is done.

    Raises:
        SourceError: names the first such tensor and its type.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    seen = set()
    for tensor in tensors:
        if tensor.ggml_type in seen:
            continue
        seen.add(tensor.ggml_type)
        kind = GGMLQuantizationType(tensor.ggml_type)
        try:
            dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
        except NotImplementedError as error:
            raise SourceError(
                f"{path}: tensor {tensor.name!r} has the type {kind.name}, which cannot be "
                "dequantized; convert the model again with another type"
            ) from error
