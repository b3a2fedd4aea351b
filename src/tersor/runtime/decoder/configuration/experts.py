"""Experts of a decoder, by what its family says of them."""

from tersor.families.decoder import Decoder
from tersor.families.decoder import Experts as Facts
from tersor.runtime.decoder.configuration.fields import Fields
from tersor.runtime.decoder.plan import Experts


def has_experts(facts: Decoder, fields: Fields, layer: int) -> bool:
    """Whether the layer of that number has experts in place of an MLP."""
    if facts.experts is None:
        return False
    where = facts.experts.layers
    dense = [] if where.dense is None else fields.raw(where.dense) or []
    if not isinstance(dense, list):
        raise fields.refused(str(where.dense), "a list of numbers")
    if layer in dense or (where.every and (layer + 1) % fields.whole(where.every)):
        return False
    if where.first is not None and layer < fields.whole(where.first, least=0):
        return False
    last = None if where.last is None else fields.raw(where.last)
    if last is not None and not isinstance(last, int):
        raise fields.refused(str(where.last), "a whole number")
    return last is None or last < 0 or layer <= last


def experts_of(facts: Decoder, fields: Fields, activation: str) -> Experts:
    """The mixture that every layer with experts has."""
    given = facts.experts
    assert given is not None
    named, per_token = _present(fields, given.count), _present(fields, given.chosen)
    count, chosen = fields.whole(named), fields.whole(per_token)
    groups = fields.whole(given.groups) if given.groups else 1
    if count % groups:
        raise fields.refused(str(given.groups), f"a divisor of {named}, {count}")
    chosen_groups = fields.whole(given.chosen_groups) if given.chosen_groups else groups
    if chosen_groups > groups:
        raise fields.refused(str(given.chosen_groups), f"at most {given.groups}, {groups}")
    if chosen > count // groups * chosen_groups:
        raise fields.refused(per_token, "at most as many as can be chosen")
    normalized = given.normalized
    return Experts(
        count=count,
        chosen=chosen,
        size=fields.whole(given.size),
        activation=activation,
        router=given.routers,
        names=given.names,
        stacks=given.stacks,
        scores=given.scores,
        normalized=fields.switch(normalized) if isinstance(normalized, str) else normalized,
        least=float(fields.positive(given.least)) if given.least else 1e-20,
        scale=float(fields.number(given.scale)) if given.scale else 1.0,
        groups=groups,
        chosen_groups=chosen_groups,
        correction=given.correction,
        shared=given.shared if _has_shared(given, fields) else (),
        shared_gate=given.shared_gate,
    )


def _present(fields: Fields, names: tuple[str, ...]) -> str:
    """The name that a field has in this config."""
    return next((name for name in names if name in fields.values), names[0])


def _has_shared(given: Facts, fields: Fields) -> bool:
    if given.shared_count is not None:
        return bool(fields.optional_whole(given.shared_count))
    return bool(given.shared)
