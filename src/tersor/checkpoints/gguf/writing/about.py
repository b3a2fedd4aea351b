"""What a GGUF file says of itself: ``general.*``."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import read_json
from tersor.checkpoints.gguf.block_types import BLOCK_TYPES
from tersor.checkpoints.gguf.companions import ABOUT, told_of_model
from tersor.checkpoints.gguf.header import read_gguf_header
from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor
from tersor.checkpoints.hub.card_header import licence_of
from tersor.checkpoints.source import Source

# llama.cpp's number for a file most of whose weights are of a type (``enum llama_ftype``).
_FILE_TYPES: Mapping[str, int] = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10,
    "Q3_K": 12, "Q4_K": 15, "Q5_K": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32,
    "MXFP4": 38,
}  # fmt: skip
_LAYOUT_VERSION = 2


def about(source: Source, tensors: Iterable[GGUFTensor]) -> dict[str, Any]:
    """Name and licence of the model of ``source``, and of what type most values of a file are."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        kind = BLOCK_TYPES[tensor.ggml_type].name
        sizes[kind] = sizes.get(kind, 0) + tensor.nbytes
    most = max(sizes, key=lambda kind: sizes[kind])
    return {
        **dict(sorted(_of_model(source).items())),
        "general.quantization_version": _LAYOUT_VERSION,
        "general.file_type": _FILE_TYPES[most],
    }


def _of_model(source: Source) -> dict[str, Any]:
    if source.path.is_file():
        return told_of_model(read_gguf_header(source.path))
    if (source.path / ABOUT).is_file():
        said = read_json(source.path / ABOUT)
        return {key: value for key, value in said.items() if _is_value(value)}
    licence = licence_of(source.path, source.config)
    named = {"general.type": "model", "general.name": _name(source.path)}
    return {**named, **({"general.license": licence} if isinstance(licence, str) else {})}


def _is_value(value: Any) -> bool:
    """Whether GGUF has it, of all that JSON may hold."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) for one in value)
    return isinstance(value, str | float) or (isinstance(value, int) and 0 <= value < 1 << 32)


def _name(directory: Path) -> str:
    """Of the model that was quantized, if that is known."""
    record = directory / "tersor.json"
    source = read_json(record).get("source") if record.is_file() else None
    named = source.get("name") if isinstance(source, dict) else source
    name = named if isinstance(named, str) and named else directory.resolve().name
    return name.removesuffix(".gguf")
