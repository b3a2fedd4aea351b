"""Scaling of rotary position embeddings: GGUF metadata and factor tensors → ``config.json``.

llama.cpp stores Llama 3's and Phi-3's long-context scaling as tensors of factors. A config without
them would load and run, and be wrong beyond the original context only: so they are recovered, or
the file is refused.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tersor.checkpoints.gguf.header import GGUFHeader
from tersor.checkpoints.gguf.values import all_values
from tersor.errors import SourceError

DEFAULT_THETA = 10000.0

# Every Llama 3.1 to 3.3 has these; only the factor differs.
LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def rope_fields(header: GGUFHeader, head_dim: int) -> dict[str, Any]:
    """The config keys about rotary embeddings, in the spelling that every transformers reads.

    Raises:
        SourceError: a scaling that ``config.json`` cannot express.
    """
    theta = header.number("rope.freq_base") or DEFAULT_THETA
    fields: dict[str, Any] = {"rope_theta": theta}
    rotated = header.number("rope.dimension_count")
    if rotated and head_dim and rotated != head_dim:
        fields["partial_rotary_factor"] = rotated / head_dim
    kind = header.field("rope.scaling.type") or "none"
    original = header.number("rope.scaling.original_context_length")
    if "rope_factors_long.weight" in header.tensors:
        fields["rope_scaling"] = _scaling("longrope", **_longrope(header))
        fields["original_max_position_embeddings"] = original
    elif "rope_freqs.weight" in header.tensors:
        factors = all_values(header.path, header.tensors["rope_freqs.weight"]).reshape(-1)
        fields |= _llama3(header, factors, theta)
    elif kind == "linear":
        fields["rope_scaling"] = _scaling("linear", factor=_factor(header))
    elif kind == "yarn":
        fields["rope_scaling"] = _scaling(
            "yarn", factor=_factor(header), original_max_position_embeddings=original
        )
    elif kind != "none":
        raise SourceError(f"{header.path}: rope.scaling.type {kind!r} is not supported")
    return fields


def llama3_factors(theta: float, factor: float, count: int) -> npt.NDArray[np.float64]:
    """By what Llama 3 divides each of ``count`` rotary frequencies.

    Short wavelengths stay, long ones are divided by ``factor``, those between are interpolated:
    with s = (original / wavelength − low) / (high − low), 1 / ((1 − s) / factor + s).
    """
    low, high, original = (float(value) for value in LLAMA3.values())
    wavelength = 2 * math.pi * theta ** (np.arange(count) / count)
    smooth = np.clip((original / wavelength - low) / (high - low), 0.0, 1.0)
    return np.asarray(1.0 / ((1.0 - smooth) / factor + smooth), dtype=np.float64)


def _llama3(header: GGUFHeader, factors: npt.NDArray[np.float32], theta: float) -> dict[str, Any]:
    factor = float(factors.max())
    if factor == 1.0 and float(factors.min()) == 1.0:
        return {}
    if not np.allclose(factors, llama3_factors(theta, factor, factors.size), rtol=1e-3):
        raise SourceError(
            f"{header.path}: tensor 'rope_freqs.weight' is not the scaling of Llama 3, "
            "so config.json cannot express it; start from the original model"
        )
    return {"rope_scaling": _scaling("llama3", factor=factor, **LLAMA3)}


def _longrope(header: GGUFHeader) -> dict[str, list[float]]:
    # As float32 text: the factors were short decimals in the original config.
    def factors(name: str) -> list[float]:
        if name not in header.tensors:
            raise SourceError(f"{header.path}: holds no tensor {name!r}; download it again")
        values = all_values(header.path, header.tensors[name]).reshape(-1)
        return [float(str(value)) for value in values]

    return {
        "long_factor": factors("rope_factors_long.weight"),
        "short_factor": factors("rope_factors_short.weight"),
    }


def _factor(header: GGUFHeader) -> float:
    factor = header.number("rope.scaling.factor")
    if factor is None or not factor > 0:
        raise SourceError(f"{header.path}: rope.scaling.factor is {factor!r}, not positive")
    return float(factor)


def _scaling(kind: str, **parameters: Any) -> dict[str, Any]:
    # transformers reads rope_type; readers older than 4.45 read type.
    return {"rope_type": kind, "type": kind, **parameters}
