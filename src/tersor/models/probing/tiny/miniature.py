"""A tiny model with the anatomy of a checkpoint: same class, same switches, small sizes.

What depends on transformers' version is here: names of sizes in configs, and how a model is built.
A field that is no known size stays as the checkpoint has it, so that every switch does.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tersor.checkpoints.gateway.models import causal_class, empty_model
from tersor.models.in_transformers import metamodel

LARGEST = 4_000_000
"""Parameters; above that some size was not known to be one."""

_HEAD_DIM = 16
_VOCABULARY = 61
_SIZES: dict[str, int] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), _VOCABULARY),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size", "d_inner",
         "intermediate_size_mlp", "dense_intermediate_size", "ff_dim", "block_ff_dim"), 152),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
         "n_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token",
         "top_k_experts", "moe_top_k"), 2),
    **dict.fromkeys(("moe_intermediate_size", "expert_intermediate_size",
         "moe_ffn_hidden_size"), 88),
    **dict.fromkeys(("shared_expert_intermediate_size", "shared_intermediate_size",
         "moe_shared_expert_intermediate_size"), 56),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    "q_lora_rank": 28, "kv_lora_rank": 20, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8,
    "qk_head_dim": 20, "rope_head_dim": 8, "v_head_dim": 18,
    "hidden_size_per_layer_input": 10, "laurel_rank": 6,
    "mamba_d_state": 12, "mamba_n_heads": 6, "mamba_d_head": 10, "mamba_n_groups": 1,
    "mamba_chunk_size": 16, "mamba_dt_rank": 6, "mamba_d_ssm": 60, "mamba_num_heads": 6,
    "mamba_head_dim": 10, "state_size": 12, "n_groups": 1, "chunk_size": 16, "time_step_rank": 6,
    "ssm_state_size": 12, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 12, "linear_value_head_dim": 14, "index_topk": 16, "index_head_dim": 8,
    "index_n_heads": 2, "num_nextn_predict_layers": 0, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "model_dim")
_AS_WIDE = ("word_embed_proj_dim", "embedding_size")  # of the embedding, mostly the same
_DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
_HEAD_DIMS = ("head_dim", "attention_head_dim", "global_head_dim")


class NoMiniature(Exception):
    """Why no tiny model can be built, in half a sentence."""


def miniature(config: Mapping[str, Any], depth: int) -> nn.Module:
    """A random fp64 model of ``config`` (of the text model), cut after ``depth`` blocks.

    Experts run one after the other and attention is plain, so that every product can be watched.
    The caller's random state stays. Raises :class:`NoMiniature`.
    """
    reason = ""
    for heads_divide_width in (False, True):
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = _build(typed_config(config), depth, heads_divide_width)
                randomize(model)
                with torch.no_grad():
                    model(input_ids=token_ids(), use_cache=False)
                return model
        except NoMiniature as error:
            reason = str(error)
        except Exception as error:  # a config is foreign data and may break anything in there
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    raise NoMiniature(f"no small model of {config.get('model_type')!r} could be built ({reason})")


def token_ids() -> torch.Tensor:
    """What the tiny model reads: int64 ``(2, 11)``."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, _VOCABULARY, (2, 11), generator=generator)


def randomize(model: nn.Module) -> None:
    """Draw every parameter anew: all channels differ, activations stay near unit size."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim > 1:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            elif "A_log" not in name and "dt_bias" not in name:
                parameter.add_(0.2 * noise)


def typed_config(config: Mapping[str, Any]) -> Any:
    """transformers' config object. Raises :class:`NoMiniature` for an unknown ``model_type``."""
    try:
        return metamodel.typed_config(config)
    except metamodel.Unbuildable as error:
        raise NoMiniature(str(error)) from error


def model_of(typed: Any, **settings: Any) -> nn.Module:
    """transformers' causal model of a config object. Raises :class:`NoMiniature`."""
    auto = causal_class(typed)
    if auto is None:
        raise NoMiniature(f"transformers has no causal language model for {typed.model_type}")
    return empty_model(auto, typed, **settings)


def _build(typed: Any, depth: int, heads_divide_width: bool) -> nn.Module:
    values = {key: value for key, value in typed.to_dict().items() if key not in _LEFT_OUT}
    small = typed_config(
        {**shrunk(values, depth, heads_divide_width), "model_type": typed.model_type}
    )
    with torch.device("meta"):
        parameters = sum(p.numel() for p in model_of(small).parameters())
    if parameters > LARGEST:
        raise NoMiniature(f"{parameters} parameters")
    settings = {"attn_implementation": "eager", "experts_implementation": "eager"}
    return model_of(small, dtype=torch.float32, **settings).double().eval()


_LEFT_OUT = ("model_type", "transformers_version", "architectures", "dtype", "torch_dtype",
             "id2label", "label2id", "quantization_config", "auto_map")  # fmt: skip


def shrunk(values: Mapping[str, Any], depth: int, heads_divide_width: bool) -> dict[str, Any]:
    """``values`` of a config with small sizes, consistent with each other.

    Query heads stay three to a value head where they were grouped, and as many where they were
    not. With ``heads_divide_width`` the width is that of all heads together; otherwise all widths
    differ, which tells more.
    """
    heads = next((values[k] for k in _HEADS if values.get(k)), 1)
    kv_heads = next((values[k] for k in _KV_HEADS if values.get(k)), heads)
    grouped = isinstance(heads, int) and isinstance(kv_heads, int) and kv_heads != heads
    small_kv = 1 if kv_heads == 1 else 2
    small_heads = small_kv * 3 if grouped else 3
    width = small_heads * (_HEAD_DIM if heads_divide_width else 20)
    sizes = {
        **_SIZES,
        **dict.fromkeys(_WIDTHS, width),
        **dict.fromkeys(_DEPTHS, depth),
        **dict.fromkeys(_HEADS, small_heads),
        **dict.fromkeys(_KV_HEADS, small_kv if grouped else small_heads),
        **dict.fromkeys(_HEAD_DIMS, _HEAD_DIM),
    }
    wide = next((values[k] for k in _WIDTHS if values.get(k)), 0)
    sizes |= {key: width for key in _AS_WIDE if values.get(key) == wide}
    if values.get("head_dim") == values.get("qk_rope_head_dim"):  # latent attention
        sizes["head_dim"] = sizes["qk_rope_head_dim"]
    whole = next((values[k] for k in _DEPTHS if values.get(k)), depth)
    result: dict[str, Any] = {}
    for key, value in values.items():
        by_block = isinstance(value, list) and len(value) == whole and whole > 1
        result[key] = _small(key, value[:depth] if by_block else value, sizes)
    return result


def _small(key: str, value: Any, sizes: Mapping[str, int]) -> Any:
    if key in ("rope_parameters", "rope_scaling") and isinstance(value, Mapping):
        return _plain_rope(value)
    size = sizes.get(key)
    if size is None or isinstance(value, bool | Mapping) or value is None:
        return value
    if isinstance(value, list):
        numbers = [v for v in value if isinstance(v, int)]
        if key.endswith("token_id"):
            return size
        return [size] * len(value) if len(numbers) == len(value) else value
    if not isinstance(value, int):
        return value
    return size


def _plain_rope(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings without a factor for every frequency, of which there are fewer now."""
    if any(isinstance(value, Mapping) for value in parameters.values()):
        return {
            kind: _plain_rope(value) if isinstance(value, Mapping) else value
            for kind, value in parameters.items()
        }
    if not any(isinstance(value, list) for name, value in parameters.items() if "factor" in name):
        return dict(parameters)
    kept = ("rope_theta", "partial_rotary_factor")
    return {"rope_type": "default", **{key: parameters[key] for key in kept if key in parameters}}
