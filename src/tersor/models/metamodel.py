"""What transformers knows of an architecture: its modules, built without weights.

Everything here that depends on the version of transformers stays here. Code that a checkpoint
brings along (``auto_map``) is never run.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import torch
from torch import nn

from tersor.models.values import canonical

_BY_NAME = "linears found by name and shape, taken to be stored (out, in)"


class ModuleKind(StrEnum):
    """What holds a parameter called ``….weight``."""

    LINEAR = "nn.Linear"
    CONV1D = "Conv1D"
    OTHER = "other"


def module_kinds(config: Mapping[str, Any], on_disk: set[str]) -> tuple[dict[str, ModuleKind], str]:
    """Canonical block-relative module name → kind, for the blocks that ``on_disk`` came from.

    ``config`` is the whole ``config.json``; ``on_disk`` are canonical block-relative names of
    matrices. A model may hold several lists of blocks (vision and text): the one that shares most
    names with the disk is taken. The mapping is empty if transformers does not know the
    ``model_type``, cannot build the model, or shares no name; the second value says in a sentence
    where the knowledge comes from.
    """
    model, reason = _build(config)
    if model is None:
        return {}, f"{_BY_NAME}, because {reason}"
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    kinds = max(map(_kinds, lists), key=lambda k: len(on_disk & k.keys()), default={})
    if not on_disk & kinds.keys():
        return {}, f"{_BY_NAME}, because {type(model).__name__} has other names"
    return kinds, f"linears are those of transformers' {type(model).__name__}"


def _kinds(blocks: nn.ModuleList) -> dict[str, ModuleKind]:
    return {
        canonical(name): _kind(module)
        for block in blocks
        for name, module in block.named_modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor)
    }


def _kind(module: nn.Module) -> ModuleKind:
    if isinstance(module, nn.Linear):
        return ModuleKind.LINEAR
    return ModuleKind.CONV1D if type(module).__name__ == "Conv1D" else ModuleKind.OTHER


def _build(config: Mapping[str, Any]) -> tuple[nn.Module | None, str]:
    """The model on the meta device, or None and why not."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = str(config.get("model_type", ""))
    if model_type not in CONFIG_MAPPING:
        return None, f"transformers does not know model_type {model_type!r}"
    values = {key: value for key, value in config.items() if key != "model_type"}
    try:
        typed = AutoConfig.for_model(model_type, **values)
        for auto in (AutoModelForCausalLM, AutoModelForImageTextToText):
            if type(typed) in auto._model_mapping:
                with torch.device("meta"):
                    return auto.from_config(typed, trust_remote_code=False), ""
    except Exception as error:  # a config is foreign data; whatever it breaks, names still work
        return None, f"transformers could not build {model_type} ({type(error).__name__})"
    return None, f"transformers has no causal language model for {model_type}"
