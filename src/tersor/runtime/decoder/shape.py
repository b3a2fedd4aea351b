"""What the engine must know of a decoder, read from its ``config.json``."""

from dataclasses import dataclass
from typing import Any

from tersor.errors import EngineError
from tersor.runtime.decoder.rotary import Rope, rotary

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3")
# Models whose text part runs as if it were alone when there is no image.
OUTER = (
    *("gemma3", "mistral3", "internvl", "idefics3", "smolvlm"),
    *("llava", "llava_next", "llava_onevision"),
)
_GEMMA = ("gemma2", "gemma3_text")
# Families that read a window for every layer, and those that read types of layers.
_ONE_WINDOW, _TYPED = ("mistral", "phi3"), ("qwen2", "qwen3", *_GEMMA)
_QUERIES, _ATTENTION = ("q_proj", "k_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


@dataclass(frozen=True, eq=False)
class DecoderShape:
    """Sizes and switches of a decoder.

    ``windows`` and ``layer_ropes``: for every layer, how many positions it sees (0: all) and which
    of ``ropes`` turns it. ``norm_offset`` is added to the weights of norms. ``sandwich``: outputs
    of attention and MLP are normed too. ``fused``: q, k and v are one linear, gate and up another.
    A cap of 0 is none. ``biased``: the linears of a layer that have a bias. ``tied``: the head's
    weights may be the embedding's.
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
    biased: frozenset[str]
    tied: bool


def decoder_shape(config: Any) -> DecoderShape:
    """The shape of a transformers configuration, or of the text part of one.

    A field is read only for families whose own code in transformers reads it. Raises
    :class:`EngineError` for what the engine does not run: other architectures, activations or
    rotary embeddings.
    """
    tied = bool(getattr(config, "tie_word_embeddings", True))
    config = _text_part(config)
    family = config.model_type
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kinds = _layer_types(config)
    by_type = family == "gemma3_text"
    names: list[str | None] = [*sorted(set(kinds))] if by_type else [None]
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
        activation=_activation(config, gemma),
        norm_offset=1.0 if gemma else 0.0,
        query_norms=family in ("qwen3", "gemma3_text"),
        sandwich=gemma,
        fused=family == "phi3",
        ropes=tuple(rotary(config, name, size, partial=family == "phi3") for name in names),
        layer_ropes=tuple(names.index(kind) if by_type else 0 for kind in kinds),
        windows=tuple(_window(config, kind) for kind in kinds),
        biased=_biased(config),
        tied=tied,
    )


def _text_part(config: Any) -> Any:
    if config.model_type in FAMILIES:
        return config
    if config.model_type not in OUTER:
        raise EngineError(f"architecture {config.model_type!r}; it runs {', '.join(FAMILIES)}")
    text = config.text_config
    if text.model_type not in FAMILIES:
        raise EngineError(f"architecture {text.model_type!r}; it runs {', '.join(FAMILIES)}")
    return text


def _biased(config: Any) -> frozenset[str]:
    """The linears of a layer to which the family's code gives a bias."""
    family = config.model_type
    attention: tuple[str, ...] = _QUERIES if family == "qwen2" else ()
    if family in ("llama", "qwen3", *_GEMMA) and config.attention_bias:
        attention = _ATTENTION
    mlp = _MLP if family == "llama" and config.mlp_bias else ()
    return frozenset([*(f"self_attn.{n}" for n in attention), *(f"mlp.{n}" for n in mlp)])


def _layer_types(config: Any) -> list[str]:
    family, count = config.model_type, config.num_hidden_layers
    if family not in _TYPED:
        sliding = family in _ONE_WINDOW and config.sliding_window is not None
        return ["sliding_attention" if sliding else "full_attention"] * count
    kinds = list(config.layer_types)
    unknown = set(kinds) - {"sliding_attention", "full_attention"}
    if unknown:
        raise EngineError(f"layers of type {unknown.pop()!r}")
    if "sliding_attention" in kinds and config.sliding_window is None:
        raise EngineError("layers with a window, but config.json has no sliding_window")
    return kinds[:count]


def _window(config: Any, kind: str) -> int:
    return int(config.sliding_window) if kind == "sliding_attention" else 0


def _activation(config: Any, gemma: bool) -> str:
    name = config.hidden_activation if gemma else config.hidden_act
    if name not in _ACTIVATIONS:
        raise EngineError(f"activation {name!r}; it runs {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]
