"""The plan of a decoder, read from its ``config.json`` by what its family says of it."""

from collections.abc import Mapping
from reprlib import repr as clipped
from typing import Any

from tersor.errors import EngineError
from tersor.families.registry import OUTER, RUNNABLE
from tersor.families.runnable import Runnable
from tersor.runtime.decoder.configuration.fields import Fields
from tersor.runtime.decoder.configuration.layer_types import layer_types
from tersor.runtime.decoder.configuration.layers import Layers, head_size, norm_of
from tersor.runtime.decoder.configuration.rope_fields import rope_fields
from tersor.runtime.decoder.configuration.rotary import rotary
from tersor.runtime.decoder.plan import DecoderPlan

ARCHITECTURES = tuple(RUNNABLE)
"""Types of models that the engine runs."""


def decoder_plan(config: Mapping[str, Any], place: object = "config.json") -> DecoderPlan:
    """The plan that a ``config.json`` gives to a decoder, or to the text part of a model.

    ``place``: the file, for errors. A field is read only for families whose own code in
    transformers reads it; a missing one has the default of transformers' config class. Raises
    :class:`EngineError` for what the engine does not run: other architectures, activations or
    rotary embeddings; :class:`~tersor.errors.SourceError` for fields that make no model.
    """
    family, fields, tied = _text_part(config, str(place))
    facts = family.decoder
    _refuse(family, fields)
    hidden, size = fields.whole("hidden_size"), head_size(facts, fields)
    kinds = layer_types(facts, fields)
    names: list[str | None] = [*sorted(set(kinds))] if facts.ropes_by_type else [None]
    ropes = tuple(rotary(rope_fields(fields, facts, name), size, facts) for name in names)
    layers = Layers(
        facts, fields, kinds, [names.index(kind) if facts.ropes_by_type else 0 for kind in kinds]
    )
    return DecoderPlan(
        hidden=hidden,
        vocabulary=fields.whole("vocab_size"),
        positions=fields.whole("max_position_embeddings"),
        embedding_scale=_embedding_scale(family, fields, hidden),
        ropes=ropes,
        layers=layers.plans(),
        final_norm=norm_of(facts, fields, facts.final_norm),
        final_scale=_final_scale(family, fields),
        final_cap=layers.cap(facts.final_cap),
        embedding=facts.embedding,
        heads=facts.heads,
        head_biased=facts.head_biased,
        tied=tied,
        ends=fields.raw("eos_token_id"),
    )


def _embedding_scale(family: Runnable, fields: Fields, hidden: int) -> float:
    by = family.decoder.embedding_multiplier
    if by is not None:
        return float(fields.number(by))
    return hidden**0.5 if family.decoder.scaled_embedding else 1.0


def _final_scale(family: Runnable, fields: Fields) -> float:
    facts = family.decoder
    if facts.logits_multiplier is not None:
        return float(fields.number(facts.logits_multiplier))
    return 1.0 if facts.logits_divisor is None else 1 / fields.positive(facts.logits_divisor)


def _text_part(config: Mapping[str, Any], place: str) -> tuple[Runnable, Fields, bool]:
    """Family, fields of the text, and whether the head may be the embedding."""
    whole = Fields(config, place)
    kind = whole.name("model_type")
    if kind not in OUTER:
        family = _family(kind)
        renamed = next(
            (new for name, new in family.decoder.renamed.items() if name in config), None
        )
        if renamed is not None:
            raise _not_run(renamed)
        fields = Fields(config, place, family.defaults)
        return family, fields, fields.switch("tie_word_embeddings")
    outer = OUTER[kind]
    whole = Fields(config, place, {"tie_word_embeddings": outer.tied})
    part = whole.part("text_config")
    if part is None:
        raise whole.refused("text_config", "an object")
    named = Fields(part.values, place, {"model_type": outer.text}, part.prefix)
    family = _family(named.name("model_type"))
    text = Fields(part.values, place, family.defaults, part.prefix)
    tied = whole.switch("tie_word_embeddings")
    return family, text, tied or (outer.tied_by_text and text.switch("tie_word_embeddings"))


def _family(model_type: str) -> Runnable:
    family = RUNNABLE.get(model_type)
    if family is None:
        raise _not_run(model_type)
    return family


def _not_run(model_type: str) -> EngineError:
    return EngineError(f"architecture {clipped(model_type)}; it runs {', '.join(ARCHITECTURES)}")


def _refuse(family: Runnable, fields: Fields) -> None:
    """Refuse fields that change what is computed, and that the engine does not follow."""
    for name, said in family.decoder.refused.items():
        if fields.raw(name):
            raise EngineError(f"{said} ({name})")
    if fields.raw("is_causal") is False:
        raise EngineError("attention in both directions (is_causal)")
    if fields.raw("per_layer_config") is not None:
        raise EngineError("layers with a config of their own (per_layer_config)")
