"""Keywords of transformers' ``from_pretrained`` that ``load`` hands on, and why not the others."""

from collections.abc import Mapping
from typing import Any, TypedDict

import torch

from tersor.errors import OptionError
from tersor.options import nearest

DeviceMap = str | int | torch.device | Mapping[str, str | int | torch.device] | None
Implementation = str | Mapping[str, str] | None


class PretrainedKeywords(TypedDict, total=False):
    """What ``load`` hands on; transformers and accelerate say what the values mean."""

    device_map: DeviceMap
    max_memory: Mapping[str | int, str | int] | None
    offload_folder: str | None
    offload_buffers: bool
    attn_implementation: Implementation
    experts_implementation: Implementation


_FETCHED = "has no use here: nothing is looked for outside of the directory"
_OF_CHECKPOINT = "cannot be given: the directory says it"
_ALWAYS_SO = "has no use here: transformers 5 loads that way always"
_REFUSED = {
    "trust_remote_code": "cannot be given: code of a checkpoint is never run",
    "use_safetensors": "cannot be given: pickled weights are never loaded; tersor.quantize reads "
    "them with allow_pickle",
    "weights_only": "has no use here: pickled weights are never loaded",
    "quantization_config": "cannot be given: the directory says how it is quantized; "
    "tersor.quantize makes a quantized one",
    "load_in_8bit": "cannot be given: tersor.quantize makes a quantized directory",
    "load_in_4bit": "cannot be given: tersor.quantize makes a quantized directory",
    "output_loading_info": "has no use here: a tensor that is missing is an error",
    "ignore_mismatched_sizes": "cannot be given: weights of another shape would be random ones",
    "torch_dtype": "has no effect: it is called dtype",
    "use_kernels": "cannot be given: it fetches kernels; tersor's own are used unless kernels is "
    "False",
    **dict.fromkeys(("config", "state_dict", "generation_config", "key_mapping"), _OF_CHECKPOINT),
    **dict.fromkeys(("variant", "gguf_file"), _OF_CHECKPOINT),
    **dict.fromkeys(("cache_dir", "force_download", "local_files_only", "token"), _FETCHED),
    **dict.fromkeys(("revision", "subfolder", "proxies"), _FETCHED),
    **dict.fromkeys(("low_cpu_mem_usage", "offload_state_dict"), _ALWAYS_SO),
    **dict.fromkeys(
        ("tp_plan", "tp_size", "device_mesh", "distributed_config"),
        "cannot be given: a model is loaded into one process",
    ),
}


def checked_keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords as transformers takes them.

    Raises :class:`OptionError` for one that conflicts with how models are loaded, with the reason,
    and for one that there is not.
    """
    known = PretrainedKeywords.__annotations__
    for name, value in given.items():
        if name in _REFUSED:
            raise OptionError(name, _REFUSED[name])
        if name not in known:
            hint = nearest(name, known) or "; fields of the config are set on model.config"
            raise OptionError(name, f"is no keyword of load{hint}")
        if name.endswith("_implementation"):
            _refuse_remote(name, value)
    # accelerate writes into the mappings that it is given.
    return {k: dict(value) if isinstance(value, Mapping) else value for k, value in given.items()}


def _refuse_remote(name: str, value: Implementation) -> None:
    """Names with a slash are repositories, from which transformers would fetch code."""
    values = value.values() if isinstance(value, Mapping) else [value]
    if any(isinstance(one, str) and "/" in one for one in values):
        raise OptionError(name, f"must be one that is installed, not {value!r}: it is fetched")


def chosen_dtype(dtype: torch.dtype | str, config: Any) -> torch.dtype:
    """A type of numbers by itself or its name; ``auto``: the one that the weights are stored in.

    Raises :class:`OptionError` for what is no float type.
    """
    found: Any = getattr(config, "dtype", None) or torch.float32 if dtype == "auto" else dtype
    if isinstance(found, str):
        found = getattr(torch, found.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise OptionError("dtype", f"must be torch.float32 or another float type, not {dtype!r}")
    return found
