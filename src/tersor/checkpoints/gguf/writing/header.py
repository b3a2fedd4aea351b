"""Metadata and tensors of a GGUF file → the bytes before its tensors' values."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor


def write_header(
    path: Path, architecture: str, metadata: Mapping[str, Any], tensors: Iterable[GGUFTensor]
) -> None:
    """Make the file ``path``, which ends where values begin but for padding.

    Integers are uint32, those in arrays int32; floats are float32.
    """
    from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter

    kinds = {
        bool: (GGUFValueType.BOOL, GGUFValueType.BOOL),
        int: (GGUFValueType.UINT32, GGUFValueType.INT32),
        float: (GGUFValueType.FLOAT32, GGUFValueType.FLOAT32),
        str: (GGUFValueType.STRING, GGUFValueType.STRING),
    }
    writer = GGUFWriter(path, architecture)
    for key, value in metadata.items():
        if isinstance(value, list):
            if value:
                of = kinds[type(value[0])][1]
                writer.add_key_value(key, value, GGUFValueType.ARRAY, of)
            continue
        writer.add_key_value(key, value, kinds[type(value)][0])
    for tensor in tensors:
        # Of bytes the package would make another shape of the one that it is given.
        kind = GGMLQuantizationType(tensor.ggml_type)
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
