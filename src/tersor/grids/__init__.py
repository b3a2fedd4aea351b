"""The numbers: grids, schemes, quantized tensors, packing. Pure functions on tensors."""

from tersor.grids.error import ErrorParts, error_parts, value_parts
from tersor.grids.fit import Parameters, ScaleStorage, fit
from tersor.grids.grid import BaseGrid, Grid, IntegerCodes
from tersor.grids.kinds.affine import AffineGrid
from tersor.grids.kinds.codebook import CodebookGrid, fp4, kmeans, log2, nf4
from tersor.grids.kinds.integer import IntegerGrid, Symmetry
from tersor.grids.kinds.small_float import FloatGrid
from tersor.grids.packing import pack, unpack
from tersor.grids.scales import ScaleFormat, StoredScale
from tersor.grids.scheme import ActivationScheme, Granularity, Scheme, TensorScheme
from tersor.grids.super_blocks import SuperScales
from tersor.grids.tensor import QuantizedTensor

__all__ = [
    "ActivationScheme",
    "AffineGrid",
    "BaseGrid",
    "CodebookGrid",
    "ErrorParts",
    "FloatGrid",
    "Granularity",
    "Grid",
    "IntegerCodes",
    "IntegerGrid",
    "Parameters",
    "QuantizedTensor",
    "ScaleFormat",
    "ScaleStorage",
    "Scheme",
    "StoredScale",
    "SuperScales",
    "Symmetry",
    "TensorScheme",
    "error_parts",
    "fit",
    "fp4",
    "kmeans",
    "log2",
    "nf4",
    "pack",
    "unpack",
    "value_parts",
]
