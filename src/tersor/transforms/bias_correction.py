"""Bias correction: take back the mean of what rounding adds to every output.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
https://arxiv.org/abs/1906.04721, section 4.2: ``b ← b + E[x]·(W − Ŵ)ᵀ``, with the inputs' mean
measured instead of derived.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.machine.parallel import one_thread_each
from tersor.ranges import Need, Needs, Observation


@dataclass(frozen=True)
class BiasCorrection:
    """Settings of bias correction: there are none."""

    @property
    def needs(self) -> Needs:
        """``E[x]``."""
        return frozenset({Need.MEAN})

    def corrected(
        self, bias: Tensor, weight: Tensor, quantized: Tensor, observed: Observation
    ) -> Tensor:
        """See :func:`corrected_bias`."""
        assert observed.mean is not None
        return corrected_bias(bias, weight, quantized, observed.mean)


def corrected_bias(bias: Tensor, weight: Tensor, quantized: Tensor, mean: Tensor) -> Tensor:
    """The bias ``(out,)`` fp32 with which the mean output is what it was.

    ``weight``, ``quantized``: ``(out, in)``; ``mean``: ``E[x]``, ``(in,)``.
    """
    with one_thread_each():  # the same bits on any number of cores
        shift = (weight.double() - quantized.double()) @ mean.double()
    return (bias.double() + shift).to(torch.float32)
