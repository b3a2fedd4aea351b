"""Which published checkpoints are dequantized while they are read."""

from collections.abc import Mapping
from typing import Any

from tersor.checkpoints.derived import DerivedSource
from tersor.checkpoints.published.fp8 import fp8_tensors
from tersor.checkpoints.published.mxfp4 import mxfp4_tensors
from tersor.checkpoints.source import Source

_KEY = "quantization_config"


def as_published(source: Source) -> Source:
    """``source`` as a model of bfloat16 tensors if it is published in FP8 or MXFP4, else itself.

    FP8: DeepSeek V3, Qwen and others (``quant_method`` ``fp8``); MXFP4: gpt-oss (``mxfp4``). The
    view's config has no ``quantization_config``. Reads no values.

    Raises:
        SourceError: a scale that is missing, or a tensor of another type or shape.
    """
    settings = _settings(source.config)
    match settings.get("quant_method"):
        case "fp8":
            derived, hidden, notes = fp8_tensors(source, settings)
        case "mxfp4":
            derived, hidden, notes = mxfp4_tensors(source)
        case _:
            return source
    config = _without(source.config)
    return DerivedSource(source, derived, hidden=hidden, config=config, notes=notes)


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for part in (config, config.get("text_config")):
        settings = part.get(_KEY) if isinstance(part, Mapping) else None
        if isinstance(settings, Mapping):
            return settings
    return {}


def _without(config: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in config.items() if key != _KEY}
    if isinstance(plain.get("text_config"), Mapping):
        text = plain["text_config"]
        plain["text_config"] = {key: value for key, value in text.items() if key != _KEY}
    return plain
