"""Codecs between quantized linears and on-disk layouts."""

from tersor.formats import compressed_tensors, own
from tersor.formats.codec import (
    InputParameters,
    QuantizedLinear,
    check,
    decode,
    decode_input,
    encode,
    stored_shape,
)
from tersor.formats.layout import Entry, Storage, layout, storage_for
from tersor.formats.sound import PARAMETERS, refuse_unsound

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
