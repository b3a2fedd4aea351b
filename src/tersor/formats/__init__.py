"""Codecs between quantized linears and on-disk layouts."""

from tersor.formats.kinds.compressed_tensors import description as compressed_tensors
from tersor.formats.kinds.own import description as own
from tersor.formats.sound import PARAMETERS, refuse_unsound
from tersor.formats.storage.codec import (
    InputParameters,
    QuantizedLinear,
    check,
    decode,
    decode_input,
    encode,
    stored_shape,
)
from tersor.formats.storage.layout import Entry, Storage, layout, storage_for

__all__ = [
    "PARAMETERS",
    "Entry",
    "InputParameters",
    "QuantizedLinear",
    "Storage",
    "check",
    "compressed_tensors",
    "decode",
    "decode_input",
    "encode",
    "layout",
    "own",
    "refuse_unsound",
    "storage_for",
    "stored_shape",
]
