"""What the engine must know of a decoder, read from its ``config.json``."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.errors import EngineError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3")
_GEMMA = ("gemma2", "gemma3_text")
# A field of config.json counts for a family only if that family's own modules read it: others carry
# what an earlier model left there.
_LAYERS_OF_KINDS = ("qwen2", "qwen3", "gemma2", "gemma3_text")
_ONE_WINDOW = ("mistral", "phi3")
_PARTIAL_ROTATION = ("phi3",)
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


@dataclass(frozen=True, eq=False)
class Rope:
    """Angles are positions times ``frequencies`` ``(half,)``; ``scale`` is of cosines and sines."""

    frequencies: Tensor
    scale: float

    def table(self, positions: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines, float32 ``(positions, half)``, as transformers computes them."""
        angles = torch.arange(positions).float()[:, None] * self.frequencies.float()
        return (angles.cos() * self.scale).contiguous(), (angles.sin() * self.scale).contiguous()


@dataclass(frozen=True, eq=False)
class DecoderShape:
    """Sizes and switches of a decoder.

    ``windows`` and ``layer_ropes``: for every layer, how many positions it sees (0: all) and which
    of ``ropes`` turns it. ``norm_offset`` is added to the weights of norms. ``sandwich``: outputs
    of attention and MLP are normed too. ``fused``: q, k and v are one linear, gate and up another.
    A cap of 0 is none.
    """

    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    mlp_size: int
    vocabulary: int
    positions: int
    epsilon: float
    query_scale: float
    attention_cap: float
    final_cap: float
    embedding_scale: float
    activation: str
    norm_offset: float
    query_norms: bool
    sandwich: bool
    fused: bool
    ropes: tuple[Rope, ...]
    layer_ropes: tuple[int, ...]
    windows: tuple[int, ...]


def decoder_shape(config: Any) -> DecoderShape:
    """The shape of a transformers configuration.

    Raises :class:`EngineError` for what the engine does not run: other architectures, activations
    or rotary embeddings.
    """
    family = config.model_type
    if family not in FAMILIES:
        raise EngineError(f"architecture {family!r}; it runs {', '.join(FAMILIES)}")
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kinds = _layer_types(config)
    names = sorted(set(kinds))
    gemma = family in _GEMMA
    if gemma and getattr(config, "use_bidirectional_attention", False):
        raise EngineError("attention in both directions")
    if family == "phi3" and config.intermediate_size % 16:
        raise EngineError(f"gate and up in one linear, {config.intermediate_size} rows each")
    return DecoderShape(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=heads,
        key_heads=config.num_key_value_heads or heads,
        head_size=size,
        mlp_size=config.intermediate_size,
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings,
        epsilon=config.rms_norm_eps,
        query_scale=(config.query_pre_attn_scalar if gemma else size) ** -0.5,
        # Gemma 3's modules keep such a setting but do not apply it.
        attention_cap=(config.attn_logit_softcapping or 0.0) if family == "gemma2" else 0.0,
        final_cap=(config.final_logit_softcapping or 0.0) if gemma else 0.0,
        embedding_scale=config.hidden_size**0.5 if gemma else 1.0,
        activation=_activation(config),
        norm_offset=1.0 if gemma else 0.0,
        query_norms=family in ("qwen3", "gemma3_text"),
        sandwich=gemma,
        fused=family == "phi3",
        ropes=tuple(_rope(config, name, size) for name in names),
        layer_ropes=tuple(names.index(kind) for kind in kinds),
        windows=tuple(_window(config, kind) for kind in kinds),
    )


def _layer_types(config: Any) -> list[str]:
    if config.model_type in _LAYERS_OF_KINDS:
        kinds = config.layer_types
    else:
        sliding = config.model_type in _ONE_WINDOW and config.sliding_window is not None
        kinds = ["sliding_attention" if sliding else "full_attention"] * config.num_hidden_layers
    unknown = set(kinds) - {"sliding_attention", "full_attention"}
    if unknown:
        raise EngineError(f"layers of type {unknown.pop()!r}")
    return list(kinds)


def _window(config: Any, kind: str) -> int:
    if kind != "sliding_attention":
        return 0
    if config.sliding_window is None:
        raise EngineError("layers with a window that config.json does not give (sliding_window)")
    return int(config.sliding_window)


def _activation(config: Any) -> str:
    name = config.hidden_activation if config.model_type in _GEMMA else config.hidden_act
    if name not in _ACTIVATIONS:
        raise EngineError(f"activation {name!r}; it runs {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def _rope(config: Any, layer_type: str, head_size: int) -> Rope:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = config.rope_parameters
    by_type = layer_type in parameters
    mine = parameters[layer_type] if by_type else parameters
    kind = mine["rope_type"]
    part = mine.get("partial_rotary_factor", 1.0)
    if kind == "default":
        size = int(head_size * part) if config.model_type in _PARTIAL_ROTATION else head_size
        powers = torch.arange(0, size, 2, dtype=torch.float) / size
        return Rope(1.0 / (mine["rope_theta"] ** powers), 1.0)
    if kind not in ("linear", "llama3", "yarn"):
        raise EngineError(f"rotary embedding of type {kind!r}")
    if part != 1.0 and config.model_type not in _PARTIAL_ROTATION:
        # transformers' function for these types reads it whatever the family, and its modules do
        # not expect it.
        raise EngineError(f"rotary embedding of type {kind!r} with partial_rotary_factor {part}")
    named = {"layer_type": layer_type} if by_type else {}
    frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), **named)
    return Rope(frequencies, float(scale))
