"""Configs of MLX, which say how a model is quantized under a key of their own."""

from collections.abc import Mapping
from typing import Any

MLX = "mlx"
_KEY, _USUAL = "quantization", "quantization_config"


def with_method(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with that description where all others have theirs, named ``mlx``.

    Any other config as it is.
    """
    described = config.get(_KEY)
    if not isinstance(described, Mapping) or "bits" not in described:
        return config
    rest = {key: value for key, value in config.items() if key != _KEY}
    return {**rest, _USUAL: {"quant_method": MLX, **described}}
