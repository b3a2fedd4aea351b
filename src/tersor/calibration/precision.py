"""In which float type products of a calibration run are computed.

bfloat16 halves the time where the processor multiplies it faster than float32. Having the
instruction is not enough: on Intel cores without AMX it was measured slower than float32, on AMD
Zen 4 twice as fast (205 against 91 GFLOP/s on a core; ``benchmarks/speed/products.py``).
"""

from enum import StrEnum
from functools import cache
from pathlib import Path

import torch


class Precision(StrEnum):
    """What linears and attention compute in; residual stream, norms and statistics are float32."""

    AUTO = "auto"
    """bfloat16 where the processor is known to be faster with it, else float32."""
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    def dtype(self) -> torch.dtype:
        """The type on this machine; the same at every call."""
        if self is Precision.AUTO:
            return torch.bfloat16 if _fast_bfloat16() else torch.float32
        return torch.bfloat16 if self is Precision.BFLOAT16 else torch.float32


@cache
def _fast_bfloat16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "amx_bf16" in flags or ("AuthenticAMD" in text and "avx512_bf16" in flags)
