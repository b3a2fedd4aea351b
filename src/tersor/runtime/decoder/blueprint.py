"""The plan of a decoder, read from its ``config.json`` by what its family says of it."""

from collections.abc import Mapping
from reprlib import repr as clipped
from typing import Any

from tersor.errors import EngineError
from tersor.families.decoder import Decoder
from tersor.families.family import Family
from tersor.families.registry import FAMILIES, OUTER
from tersor.runtime.decoder.configuration.fields import Fields
from tersor.runtime.decoder.configuration.layer_types import layer_types, window_of
from tersor.runtime.decoder.configuration.rope_fields import rope_fields
from tersor.runtime.decoder.configuration.rotary import rotary
from tersor.runtime.decoder.plan import Attention, DecoderPlan, Gated, Layer, Norm

ARCHITECTURES = tuple(name for name, family in FAMILIES.items() if family.decoder is not None)
"""Types of models that the engine runs."""
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_PANEL = 16


def decoder_plan(config: Mapping[str, Any], place: object = "config.json") -> DecoderPlan:
    """The plan that a ``config.json`` gives to a decoder, or to the text part of a model.

    ``place``: the file, for errors. A field is read only for families whose own code in
    transformers reads it; a missing one has the default of transformers' config class. Raises
    :class:`EngineError` for what the engine does not run: other architectures, activations or
    rotary embeddings; :class:`~tersor.errors.SourceError` for fields that make no model.
    """
    family, facts, fields, tied = _text_part(config, str(place))
    _refuse(facts, fields)
    hidden, size = fields.whole("hidden_size"), _head_size(fields)
    kinds = layer_types(facts, fields)
    names: list[str | None] = [*sorted(set(kinds))] if facts.ropes_by_type else [None]
    ropes = tuple(rotary(rope_fields(fields, facts, name), size, facts) for name in names)
    of_kind = {
        kind: _layer(family, facts, fields, kind, names.index(kind) if facts.ropes_by_type else 0)
        for kind in sorted(set(kinds))
    }
    return DecoderPlan(
        hidden=hidden,
        vocabulary=fields.whole("vocab_size"),
        positions=fields.whole("max_position_embeddings"),
        embedding_scale=hidden**0.5 if facts.scaled_embedding else 1.0,
        ropes=ropes,
        layers=tuple(of_kind[kind] for kind in kinds),
        final_norm=_norm(family, fields, ""),
        final_cap=_cap(fields, facts.final_cap),
        tied=tied,
        ends=fields.raw("eos_token_id"),
    )


def _layer(family: Family, facts: Decoder, fields: Fields, kind: str, rope: int) -> Layer:
    norms = {name: _norm(family, fields, module) for name, module in facts.norms.items()}
    return Layer(
        mixer=_attention(family, facts, fields, norms, window_of(fields, kind), rope),
        feedforward=_feedforward(family, facts, fields),
        mixer_norm=norms.get("attention_norm"),
        mixer_output_norm=norms.get("attention_output_norm"),
        feedforward_norm=norms.get("mlp_norm"),
        feedforward_output_norm=norms.get("mlp_output_norm"),
        biased=_biased(facts, fields),
    )


def _attention(
    family: Family,
    facts: Decoder,
    fields: Fields,
    norms: Mapping[str, Norm],
    window: int,
    rope: int,
) -> Attention:
    heads, size = fields.whole("num_attention_heads"), _head_size(fields)
    key_heads = fields.optional_whole("num_key_value_heads") or heads
    if heads % key_heads:
        raise fields.refused("num_key_value_heads", f"a divisor of num_attention_heads, {heads}")
    *made, output = (name for name in family.blocks.linears if name.startswith("self_attn"))
    return Attention(
        heads=heads,
        key_heads=key_heads,
        head_size=size,
        input=tuple(made),
        output=output,
        query_norm=norms.get("query_norm"),
        key_norm=norms.get("key_norm"),
        rope=rope,
        window=window,
        query_scale=(fields.positive(facts.query_scalar) if facts.query_scalar else size) ** -0.5,
        cap=_cap(fields, facts.attention_cap),
    )


def _feedforward(family: Family, facts: Decoder, fields: Fields) -> Gated:
    size = fields.whole("intermediate_size")
    *made, output = (name for name in family.blocks.linears if name.startswith("mlp"))
    if len(made) == 1 and size % _PANEL:
        raise EngineError(f"gate and up in one linear, {size} rows each")
    return Gated(size, _activation(fields, facts.activation), tuple(made), output)


def _head_size(fields: Fields) -> int:
    heads = fields.whole("num_attention_heads")
    size = fields.optional_whole("head_dim") or fields.whole("hidden_size") // heads
    if not size:
        raise fields.refused("hidden_size", f"at least num_attention_heads, {heads}")
    return size


def _norm(family: Family, fields: Fields, name: str) -> Norm:
    return Norm(name, float(fields.number("rms_norm_eps")), family.blocks.norm_offset)


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


def _cap(fields: Fields, name: str | None) -> float:
    return 0.0 if name is None else float(fields.optional_number(name) or 0.0)


def _activation(fields: Fields, field: str) -> str:
    name = fields.name(field)
    if name not in _ACTIVATIONS:
        raise EngineError(f"activation {clipped(name)}; it runs {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]
