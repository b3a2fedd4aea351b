"""What the codes of a quantized matrix use of their grid."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.grids import QuantizedTensor


@dataclass(frozen=True)
class CodeUse:
    """Codes and scales of one quantized matrix.

    ``bits``: width of a code; ``possible``: how many codes the grid has; ``used``: how many occur;
    ``entropy``: of the codes, in bits per code: fewer bits could hold them if they were compressed.
    ``at_ends``: share of the weights on the lowest or the highest code. ``counts``: how often each
    code occurs, from the lowest to the highest value that it stands for. ``lowest_scale``,
    ``median_scale``, ``highest_scale``: magnitudes; ``scales``: how many there are.
    """

    bits: int
    possible: int
    used: int
    entropy: float
    at_ends: float
    counts: tuple[int, ...]
    scales: int
    lowest_scale: float
    median_scale: float
    highest_scale: float

    @property
    def share_used(self) -> float:
        """Of the codes that there are."""
        return self.used / self.possible

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"counts": list(self.counts), "share_used": self.share_used}


def code_use(quantized: QuantizedTensor) -> CodeUse:
    """Of all codes and scales of a quantized matrix."""
    counts = _counts(quantized)
    total = int(counts.sum())
    shares = counts[counts > 0].double() / total
    scales = quantized.scale.value().abs().flatten()
    return CodeUse(
        quantized.grid.bits,
        len(counts),
        int((counts > 0).sum()),
        float(-(shares * shares.log2()).sum()) + 0.0,
        float(counts[0] + counts[-1]) / total if len(counts) > 1 else 1.0,
        tuple(counts.tolist()),
        scales.numel(),
        float(scales.min()),
        float(scales.median()),
        float(scales.max()),
    )


def _counts(quantized: QuantizedTensor) -> Tensor:
    """How often each value of the grid occurs, ascending; codes of one value count together."""
    grid, codes = quantized.grid, quantized.codes
    integers = grid.integers
    if integers is not None:
        shifted = codes.flatten().to(torch.int16) - integers.lowest
        possible = integers.highest - integers.lowest + 1
        # A foreign file may have the code that a restricted grid leaves out.
        return torch.bincount((shifted.clamp(0, possible - 1)).int(), minlength=possible)
    plain = codes.view(torch.uint8) if codes.dtype.is_floating_point else codes
    by_code = torch.bincount(plain.flatten().int(), minlength=len(grid.levels))
    ascending = sorted({level for level in grid.levels if abs(level) < float("inf")})
    place = {level: at for at, level in enumerate(ascending)}
    counts = torch.zeros(len(ascending), dtype=torch.int64)
    for code, level in enumerate(grid.levels):
        if level in place:
            counts[place[level]] += by_code[code]
    return counts
