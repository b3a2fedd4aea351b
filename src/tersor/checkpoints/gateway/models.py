"""Config and weights → transformers' model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn


def auto_class(config: Any) -> Any:
    """transformers' ``AutoModelFor…`` whose models of this config have logits for text, or None.

    With images or sound they are the whole model if there is no class for the text alone.
    """
    import transformers

    autos = (
        transformers.AutoModelForCausalLM,
        transformers.AutoModelForImageTextToText,
        transformers.AutoModelForMultimodalLM,
    )
    return next((auto for auto in autos if type(config) in auto._model_mapping), None)


def causal_class(config: Any) -> Any:
    """``AutoModelForCausalLM`` if it has a model for this config, else None."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM if type(config) in AutoModelForCausalLM._model_mapping else None


def empty_model(auto: Any, config: Any, **settings: Any) -> nn.Module:
    """The model of an :func:`auto_class` with weights at random, of a config from this gateway.

    ``settings``: transformers' own, as ``dtype``. Raises whatever transformers raises.
    """
    model: nn.Module = auto.from_config(config, trust_remote_code=False, **settings)
    return model


def stored_model(auto: Any, directory: Path, config: Any, **settings: Any) -> tuple[Any, Any]:
    """The model in a directory with the weights stored there, and what transformers says of them.

    Raises whatever transformers raises.
    """
    found: tuple[Any, Any] = auto.from_pretrained(
        directory,
        config=config,
        trust_remote_code=False,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        **settings,
    )
    return found


def given_model(
    auto: Any, config: Any, state: Mapping[str, Tensor], **settings: Any
) -> tuple[Any, Any]:
    """The same with the tensors of ``state``."""
    kind = auto._model_mapping[type(config)]
    found: tuple[Any, Any] = kind.from_pretrained(
        None,
        config=config,
        state_dict=state,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        **settings,
    )
    return found
