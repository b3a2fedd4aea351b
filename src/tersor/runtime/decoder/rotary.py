"""Rotary embeddings of a decoder, as the modules of transformers compute them."""

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.gateway.complaint import complaint
from tersor.errors import EngineError, SourceError

_KINDS = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True, eq=False)
class Rope:
    """Angles are positions times ``frequencies`` ``(half,)``; ``scale`` is of cosines and sines."""

    frequencies: Tensor
    scale: float

    def table(self, positions: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines, float32 ``(positions, half)``, as transformers computes them."""
        angles = torch.arange(positions).float()[:, None] * self.frequencies.float()
        return (angles.cos() * self.scale).contiguous(), (angles.sin() * self.scale).contiguous()


def rotary(config: Any, layer_type: str | None, head_size: int, *, partial: bool) -> Rope:
    """The rotary embedding of a model's layers, or of those of one type.

    ``layer_type``: only for families with parameters for each type. ``partial``: the family's code
    can leave dimensions as they are. Raises :class:`EngineError` for kinds that change with the
    length of a text, and for angles that do not fit the heads; :class:`SourceError` for parameters
    that transformers cannot compute with.
    """
    parameters = config.rope_parameters
    kind = (parameters if layer_type is None else parameters[layer_type])["rope_type"]
    if kind not in _KINDS:
        raise EngineError(f"rotary embedding of type {kind!r}")
    module = _module(config)
    prefix = "" if layer_type is None else f"{layer_type}_"
    frequencies = getattr(module, f"{prefix}inv_freq").float()
    turned = 2 * len(frequencies)
    if turned > head_size or (turned < head_size and not partial):
        raise EngineError(f"{turned} dimensions that turn in heads of {head_size}")
    return Rope(frequencies, float(getattr(module, f"{prefix}attention_scaling")))


def _module(config: Any) -> Any:
    """The family's own module: what it reads of a configuration is what counts."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    code = sys.modules[MODEL_MAPPING[type(config)].__module__]
    names = [name for name in vars(code) if name.endswith("RotaryEmbedding")]
    try:
        return vars(code)[names[0]](config)
    except Exception as error:  # it computes with whatever a foreign config says
        raise SourceError(
            f"{config.name_or_path}: transformers makes no rotary embedding of rope_parameters in "
            f"config.json ({complaint(error)}); take the config.json that belongs to the weights"
        ) from error
