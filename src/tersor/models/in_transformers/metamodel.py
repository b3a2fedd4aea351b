"""The model that transformers would build for a checkpoint, without weights.

Here and in ``names`` is what depends on the version of transformers.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tersor.checkpoints.gateway.complaint import complaint
from tersor.checkpoints.gateway.configuration import ConfigRefused, configuration_of
from tersor.checkpoints.gateway.models import auto_class, empty_model

_READ = frozenset({"quantization_config", "compression_config"})


class Unbuildable(Exception):
    """transformers builds no such model; the message says why, without naming the checkpoint."""


def typed_config(config: Mapping[str, Any]) -> Any:
    """``config.json`` as transformers reads it from a directory: some types convert old fields.

    Raises :class:`Unbuildable`.
    """
    try:
        return configuration_of(_unquantized(config), "the model")
    except ConfigRefused as error:
        raise Unbuildable(error.reason) from error


def build(config: Mapping[str, Any]) -> nn.Module:
    """The model on the meta device, in float32; experts compute one by one.

    Raises :class:`Unbuildable`.
    """
    typed = typed_config(config)
    auto = auto_class(typed)
    if auto is None:
        raise Unbuildable(f"transformers has no causal language model for {config['model_type']}")
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that are made here and never looked at
            return empty_model(
                auto,
                typed,
                dtype=torch.float32,
                # Expert by expert, each a product with a slice of the stored tensor.
                experts_implementation="eager",
            )
    except Exception as error:  # a config is foreign data and may break anything in there
        raise Unbuildable(
            f"transformers cannot build {config['model_type']} from config.json "
            f"({complaint(error)})"
        ) from error


def longest_context(config: Any) -> int | None:
    """How many tokens a model of the config, or of its text part, reads at once.

    ``None`` where no field says it, or says that there is no limit, as −1 of XLNet.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(text, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def _unquantized(value: Any) -> Any:
    """A config without what a source is no longer once it has been read, at any depth."""
    if isinstance(value, Mapping):
        return {key: _unquantized(item) for key, item in value.items() if key not in _READ}
    return value
