"""What the engine must know of a decoder, read from its ``config.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as clipped
from typing import Any

from tersor.errors import EngineError
from tersor.families.decoder import Decoder, Windows
from tersor.families.family import Family
from tersor.families.registry import FAMILIES, OUTER
from tersor.runtime.decoder.fields import Fields
from tersor.runtime.decoder.rope_fields import rope_fields
from tersor.runtime.decoder.rotary import Rope, rotary

ARCHITECTURES = tuple(name for name, family in FAMILIES.items() if family.decoder is not None)
"""Types of models that the engine runs."""
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_WINDOW, _ALL = "sliding_attention", "full_attention"
# What transformers calls otherwise by now.
_OLD_TYPES = {"attention": _ALL}


@dataclass(frozen=True, eq=False)
class DecoderShape:
    """Sizes and switches of a decoder.

    ``windows`` and ``layer_ropes``: for every layer, how many positions it sees (0: all) and which
    of ``ropes`` turns it. A cap of 0 is none. ``norm_offset`` is added to the weights of norms.
    ``linears`` and ``norms`` of a layer by name, the latter by what the engine calls them; of the
    linears ``biased`` have a bias. ``tied``: the head's
    weights may be the embedding's. ``ends``: what ``eos_token_id`` is, unchecked.
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
    linears: tuple[str, ...]
    norms: Mapping[str, str]
    ropes: tuple[Rope, ...]
    layer_ropes: tuple[int, ...]
    windows: tuple[int, ...]
    biased: frozenset[str]
    tied: bool
    ends: Any


def decoder_shape(config: Mapping[str, Any], place: object = "config.json") -> DecoderShape:
    """The shape that a ``config.json`` gives to a decoder, or to the text part of a model.

    ``place``: the file, for errors. A field is read only for families whose own code in
    transformers reads it; a missing one has the default of transformers' config class. Raises
    :class:`EngineError` for what the engine does not run: other architectures, activations or
    rotary embeddings; :class:`SourceError` for fields that make no model.
    """
    family, facts, fields, tied = _text_part(config, str(place))
    _refuse(facts, fields)
    heads, hidden = fields.whole("num_attention_heads"), fields.whole("hidden_size")
    key_heads = fields.optional_whole("num_key_value_heads") or heads
    if heads % key_heads:
        raise fields.refused("num_key_value_heads", f"a divisor of num_attention_heads, {heads}")
    size = fields.optional_whole("head_dim") or hidden // heads
    if not size:
        raise fields.refused("hidden_size", f"at least num_attention_heads, {heads}")
    kinds = _layer_types(facts, fields)
    names: list[str | None] = [*sorted(set(kinds))] if facts.ropes_by_type else [None]
    blocks = family.blocks
    mlp_size = fields.whole("intermediate_size")
    if "mlp.gate_up_proj" in blocks.linears and mlp_size % 16:
        raise EngineError(f"gate and up in one linear, {mlp_size} rows each")
    return DecoderShape(
        hidden=hidden,
        layers=len(kinds),
        heads=heads,
        key_heads=key_heads,
        head_size=size,
        mlp_size=mlp_size,
        vocabulary=fields.whole("vocab_size"),
        positions=fields.whole("max_position_embeddings"),
        epsilon=float(fields.number("rms_norm_eps")),
        query_scale=(fields.positive(facts.query_scalar) if facts.query_scalar else size) ** -0.5,
        attention_cap=_cap(fields, facts.attention_cap),
        final_cap=_cap(fields, facts.final_cap),
        embedding_scale=hidden**0.5 if facts.scaled_embedding else 1.0,
        activation=_activation(fields, facts.activation),
        norm_offset=blocks.norm_offset,
        linears=blocks.linears,
        norms=facts.norms,
        ropes=tuple(rotary(rope_fields(fields, facts, name), size, facts) for name in names),
        layer_ropes=tuple(names.index(kind) if facts.ropes_by_type else 0 for kind in kinds),
        windows=tuple(_window(fields, kind) for kind in kinds),
        biased=_biased(facts, fields),
        tied=tied,
        ends=fields.raw("eos_token_id"),
    )


def _text_part(config: Mapping[str, Any], place: str) -> tuple[Family, Decoder, Fields, bool]:
    """Family, its facts, fields of the text, and whether the head may be the embedding."""
    whole = Fields(config, place)
    kind = whole.name("model_type")
    if kind not in OUTER:
        family, facts = _family(kind)
        renamed = next((new for name, new in facts.renamed.items() if name in config), None)
        if renamed is not None:
            raise _not_run(renamed)
        fields = Fields(config, place, family.defaults)
        return family, facts, fields, fields.switch("tie_word_embeddings")
    outer = OUTER[kind]
    whole = Fields(config, place, {"tie_word_embeddings": outer.tied})
    part = whole.part("text_config")
    if part is None:
        raise whole.refused("text_config", "an object")
    named = Fields(part.values, place, {"model_type": outer.text}, part.prefix)
    family, facts = _family(named.name("model_type"))
    text = Fields(part.values, place, family.defaults, part.prefix)
    tied = whole.switch("tie_word_embeddings")
    return family, facts, text, tied or (outer.tied_by_text and text.switch("tie_word_embeddings"))


def _family(model_type: str) -> tuple[Family, Decoder]:
    family = FAMILIES.get(model_type)
    if family is None or family.decoder is None:
        raise _not_run(model_type)
    return family, family.decoder


def _not_run(model_type: str) -> EngineError:
    return EngineError(f"architecture {clipped(model_type)}; it runs {', '.join(ARCHITECTURES)}")


def _refuse(facts: Decoder, fields: Fields) -> None:
    """Refuse fields that change what is computed, and that the engine does not follow."""
    for name, said in facts.refused.items():
        if fields.raw(name):
            raise EngineError(f"{said} ({name})")
    if fields.raw("is_causal") is False:
        raise EngineError("attention in both directions (is_causal)")
    if fields.raw("per_layer_config") is not None:
        raise EngineError("layers with a config of their own (per_layer_config)")


def _biased(facts: Decoder, fields: Fields) -> frozenset[str]:
    """The linears of a layer to which the family's code gives a bias."""
    return frozenset(
        linear
        for biases in facts.biases
        if biases.switch is None or fields.switch(biases.switch)
        for linear in biases.linears
    )


def _layer_types(facts: Decoder, fields: Fields) -> list[str]:
    """What each layer sees."""
    count = fields.whole("num_hidden_layers")
    if facts.windows is Windows.NONE:
        return [_ALL] * count
    windowed = _sliding_window(facts, fields) is not None
    if facts.windows is Windows.ALL:
        return [_WINDOW if windowed else _ALL] * count
    given = fields.names("layer_types")
    kinds = _usual_types(facts, fields, count) if given is None else given
    kinds = [_OLD_TYPES.get(kind, kind) for kind in kinds]
    unknown = sorted(set(kinds) - {_WINDOW, _ALL})
    if unknown:
        raise EngineError(f"layers of type {clipped(unknown[0])}")
    if len(kinds) != count:
        raise fields.refused("layer_types", f"a list of num_hidden_layers, {count}, names")
    if _WINDOW in kinds and not windowed:
        raise EngineError("layers with a window, but config.json has no sliding_window")
    return kinds


def _usual_types(facts: Decoder, fields: Fields, count: int) -> list[str]:
    """The types of layers that the family's code gives to a config without them."""
    if facts.types.windows_from is not None:
        first = fields.whole(facts.types.windows_from, least=0)
        windowed = _sliding_window(facts, fields) is not None
        return [_WINDOW if windowed and layer >= first else _ALL for layer in range(count)]
    every = facts.types.full_every
    every = fields.whole(every) if isinstance(every, str) else every
    return [_ALL if every and (layer + 1) % every == 0 else _WINDOW for layer in range(count)]


def _sliding_window(facts: Decoder, fields: Fields) -> int | None:
    if facts.window_switch is not None and not fields.switch(facts.window_switch):
        return None
    return fields.optional_whole("sliding_window")


def _window(fields: Fields, kind: str) -> int:
    return fields.whole("sliding_window", least=0) if kind == _WINDOW else 0


def _cap(fields: Fields, name: str | None) -> float:
    return 0.0 if name is None else float(fields.optional_number(name) or 0.0)


def _activation(fields: Fields, field: str) -> str:
    name = fields.name(field)
    if name not in _ACTIVATIONS:
        raise EngineError(f"activation {clipped(name)}; it runs {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]
