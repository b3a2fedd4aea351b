"""Where every tensor of a safetensors file lies, known before any of them is there."""

import json
from collections.abc import Mapping, Sequence

from tersor.checkpoints.huggingface.safetensors_file import kind_of
from tersor.checkpoints.source import TensorInfo

_ALIGNMENT = 8


class Layout:
    """The header of a file with these tensors, and where each of them begins.

    Wide types come first, so that every tensor is aligned; among types of one width the order is
    that of ``infos``. The same tensors give the same bytes.

    Attributes:
        header: the bytes before the values.
        offsets: name → where its values begin in the file.
        size: of the file.
    """

    def __init__(self, infos: Sequence[TensorInfo], metadata: Mapping[str, str]) -> None:
        fields: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
        starts, end = {}, 0
        for info in sorted(infos, key=lambda info: -info.dtype.itemsize):
            starts[info.name] = end
            end += info.nbytes
            fields[info.name] = {
                "dtype": kind_of(info.dtype),
                "shape": list(info.shape),
                "data_offsets": [starts[info.name], end],
            }
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
        text = text.ljust(-(-len(text) // _ALIGNMENT) * _ALIGNMENT)
        self.header = len(text).to_bytes(8, "little") + text
        self.offsets = {name: len(self.header) + start for name, start in starts.items()}
        self.size = len(self.header) + end
