"""What a machine computes in, as far as the bits of a calibrated result depend on it."""

import torch

from tersor.calibration.precision import Precision
from tersor.machine.instructions import level


def arithmetic(precision: Precision) -> str:
    """``bfloat16 by AVX512, amx``: type of products, torch's instructions, tersor's own.

    The number of threads is no part of it: it changes no bit.
    """
    dtype = str(precision.dtype()).removeprefix("torch.")
    return f"{dtype} by {torch.backends.cpu.get_cpu_capability()}, {level()}"
