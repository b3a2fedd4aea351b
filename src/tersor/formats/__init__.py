"""Formats: how quantized models lie on disk. One value for each, found by its name."""

from tersor.formats.contents import Contents, Description, Matrix, StackedExperts
from tersor.formats.entry import Entry, shape_of_codes
from tersor.formats.format import METHOD, QUANTIZATION, Format
from tersor.formats.linear import InputParameters, QuantizedLinear
from tersor.formats.mixture import Mixture
from tersor.formats.reading import Reading, readings_line
from tersor.formats.registry import Formats, known_formats

__all__ = [
    "METHOD",
    "QUANTIZATION",
    "Contents",
    "Description",
    "Entry",
    "Format",
    "Formats",
    "InputParameters",
    "Matrix",
    "Mixture",
    "QuantizedLinear",
    "Reading",
    "StackedExperts",
    "known_formats",
    "readings_line",
    "shape_of_codes",
]
