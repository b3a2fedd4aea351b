"""The model that transformers would build for a checkpoint, without weights.

Here and in ``names`` is what depends on the version of transformers. Code that a checkpoint brings
along (``auto_map``) is never run.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

# What a source is no longer once it has been read, or what would run code.
_LEFT_OUT = frozenset({"auto_map", "quantization_config", "compression_config"})


class Unbuildable(Exception):
    """transformers builds no such model; the message says why, without naming the checkpoint."""


def typed_config(config: Mapping[str, Any]) -> Any:
    """``config.json`` as transformers reads it from a directory: some types convert old fields.

    Raises :class:`Unbuildable`.
    """
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = str(config.get("model_type", ""))
    if model_type not in CONFIG_MAPPING:
        raise Unbuildable(f"transformers does not know model_type {model_type!r}")
    with tempfile.TemporaryDirectory(prefix="tersor-") as directory:
        (Path(directory) / "config.json").write_text(json.dumps(_plain(config)), encoding="utf-8")
        try:
            return AutoConfig.from_pretrained(directory, trust_remote_code=False)
        except Exception as error:  # a config is foreign data and may break anything in there
            raise Unbuildable(_said(model_type, error)) from error


def build(config: Mapping[str, Any]) -> nn.Module:
    """The model on the meta device, in float32; experts compute one by one.

    Raises :class:`Unbuildable`.
    """
    typed = typed_config(config)
    auto = auto_class(typed)
    if auto is None:
        raise Unbuildable(f"transformers has no causal language model for {config['model_type']}")
    try:
        with torch.device("meta"):
            model: nn.Module = auto.from_config(
                typed,
                dtype=torch.float32,
                trust_remote_code=False,
                # Expert by expert, each a product with a slice of the stored tensor.
                experts_implementation="eager",
            )
    except Exception as error:  # the same
        raise Unbuildable(_said(str(config["model_type"]), error)) from error
    return model


def auto_class(typed: Any) -> Any:
    """transformers' ``AutoModelFor…`` whose models of this config have logits for text, or None.

    With images or sound they are the whole model if there is no class for the text alone.
    """
    import transformers

    autos = (
        transformers.AutoModelForCausalLM,
        transformers.AutoModelForImageTextToText,
        transformers.AutoModelForMultimodalLM,
    )
    return next((auto for auto in autos if type(typed) in auto._model_mapping), None)


def longest_context(config: Any) -> int | None:
    """How many tokens a model of the config, or of its text part, reads at once.

    ``None`` where no field says it, or says that there is no limit, as −1 of XLNet.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(text, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def _plain(value: Any) -> Any:
    """A config without what may not be followed, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if key not in _LEFT_OUT}
    return value


def _said(model_type: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[:1]
    reason = f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
    return f"transformers cannot build {model_type} from config.json ({reason})"
