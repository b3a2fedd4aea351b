"""The numbers of xIELU, which every layer has of its own: https://arxiv.org/abs/2411.13010."""

import numpy as np

from tersor.checkpoints.source import Source
from tersor.runtime.decoder.stored.tensors import float32, sound

_USUAL = {"beta": 0.5, "eps": -1e-6}


def xielu_numbers(source: Source, module: str) -> list[float]:
    """Factors of the square and of x above 0, of the exponential and of x below, and its end."""

    def number(name: str) -> float:
        full = f"{module}.{name}"
        if name in _USUAL and full not in source.tensors:
            return _USUAL[name]
        return float(float32(sound(source, full)).reshape(-1)[0])

    beta = number("beta")
    above, below = (float(np.logaddexp(0.0, number(name))) for name in ("alpha_p", "alpha_n"))
    return [above, beta, beta + below, beta, number("eps")]
