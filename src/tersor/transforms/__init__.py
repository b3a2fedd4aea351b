"""Rewrites that keep a model's function and make it easier to quantize. One method per file.

    smoothquant     a scale that moves activation outliers into the weights
    awq             a scale that spends the grid on the columns that matter
    clip            ranges that keep the output, not the weights
    bias_correction biases that take back the mean of what rounding adds
    rotation        orthogonal matrices that spread outliers over all channels

The first two choose scales for the pairs of ``models.pairs``, which ``models.folding`` folds in.
"""

from tersor.transforms.awq import Awq, awq_scale
from tersor.transforms.bias_correction import BiasCorrection
from tersor.transforms.biases import BiasedSource, with_biases
from tersor.transforms.clip import ClipSearch, OutputClip
from tersor.transforms.rotation.fold import RotatedSource, Rotation, rotated
from tersor.transforms.rotation.hadamard import Orthogonal, random_orthogonal
from tersor.transforms.round_trip import RoundTrip, round_rows
from tersor.transforms.smoothquant import SmoothQuant, smoothquant_scale

__all__ = [
    "Awq",
    "BiasCorrection",
    "BiasedSource",
    "ClipSearch",
    "Orthogonal",
    "OutputClip",
    "RotatedSource",
    "Rotation",
    "RoundTrip",
    "SmoothQuant",
    "awq_scale",
    "random_orthogonal",
    "rotated",
    "round_rows",
    "smoothquant_scale",
    "with_biases",
]
