"""The plans of a decoder's layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as clipped

from tersor.errors import EngineError
from tersor.families.decoder import Decoder, Spans, Turned
from tersor.runtime.decoder.configuration.experts import experts_of, has_experts
from tersor.runtime.decoder.configuration.fields import Fields
from tersor.runtime.decoder.configuration.layer_types import WINDOW, window_of
from tersor.runtime.decoder.plan import Attention, FeedForward, Gated, Layer, Norm, Plain

_GATES = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
}
_ALONE = {**_GATES, "gelu_new": "gelu_tanh", "gelu": "gelu", "relu": "relu", "relu2": "relu2"}
_ALONE["xielu"] = "xielu"
_PANEL = 16


@dataclass(frozen=True)
class Layers:
    """What ``fields`` give to every layer; ``kinds`` and ``ropes`` are those of each."""

    facts: Decoder
    fields: Fields
    kinds: Sequence[str]
    ropes: Sequence[int]

    def plans(self) -> tuple[Layer, ...]:
        """A plan for each layer; those that are alike are the same."""
        made: dict[tuple[str, int | None, bool], Layer] = {}
        found = []
        for index, kind in enumerate(self.kinds):
            rope = self.ropes[index] if self._turns(index) else None
            sparse = has_experts(self.facts, self.fields, index)
            key = (kind, rope, sparse)
            if key not in made:
                made[key] = self._layer(*key)
            found.append(made[key])
        return tuple(found)

    def cap(self, name: str | None) -> float:
        """A soft cap; 0 for none."""
        return 0.0 if name is None else float(self.fields.optional_number(name) or 0.0)

    def _turns(self, index: int) -> bool:
        turned, windowed = self.facts.turned, self.kinds[index] == WINDOW
        if turned is Turned.WINDOWED_IF_ANY:
            return windowed or self.fields.raw("sliding_window") is None
        if turned is Turned.LISTED:
            return self._is_listed(index)
        return turned is Turned.ALL or windowed

    def _is_listed(self, index: int) -> bool:
        listed = self.fields.raw("no_rope_layers")
        if not listed:
            return (index + 1) % self.fields.whole("no_rope_layer_interval") != 0
        if not isinstance(listed, list) or len(listed) != len(self.kinds):
            raise self.fields.refused("no_rope_layers", "a list with a number for each layer")
        return bool(listed[index])

    def _layer(self, kind: str, rope: int | None, sparse: bool) -> Layer:
        facts, fields = self.facts, self.fields
        by = facts.residual_multiplier
        parallel = facts.parallel
        side_by_side = fields.switch(parallel) if isinstance(parallel, str) else parallel
        norms = {name: norm_of(facts, fields, module) for name, module in facts.norms.items()}
        if isinstance(parallel, str) and side_by_side and facts.parallel_norms is not None:
            norms |= {"mlp_norm": norm_of(facts, fields, facts.parallel_norms)}
        return Layer(
            mixer=self._attention(kind, rope),
            feedforward=experts_of(facts, fields, gate_of(facts, fields))
            if sparse
            else self._feedforward(),
            mixer_norm=norms.get("attention_norm"),
            mixer_output_norm=norms.get("attention_output_norm"),
            feedforward_norm=norms.get("mlp_norm"),
            feedforward_output_norm=norms.get("mlp_output_norm"),
            biased=self._biased(),
            scale=1.0 if by is None else float(fields.number(by)),
            parallel=side_by_side,
        )

    def _attention(self, kind: str, rope: int | None) -> Attention:
        facts, fields = self.facts, self.fields
        heads, size = fields.whole("num_attention_heads"), head_size(facts, fields)
        key_heads = heads
        if not facts.heads_fused:
            key_heads = fields.optional_whole("num_key_value_heads") or heads
        if heads % key_heads:
            wanted = f"a divisor of num_attention_heads, {heads}"
            raise fields.refused("num_key_value_heads", wanted)
        *made, output = facts.attention
        return Attention(
            heads=heads,
            key_heads=key_heads,
            head_size=size,
            input=tuple(made),
            output=output,
            query_norm=self._head_norm("query_norm"),
            key_norm=self._head_norm("key_norm"),
            rope=rope,
            window=window_of(fields, kind),
            query_scale=self._query_scale(size),
            cap=self.cap(facts.attention_cap),
            fused=facts.heads_fused,
            turns_first=facts.turns_first,
        )

    def _query_scale(self, size: int) -> float:
        by = self.facts.attention_multiplier
        if by is not None:
            return float(self.fields.number(by))
        scalar = self.facts.query_scalar
        return float((self.fields.positive(scalar) if scalar else size) ** -0.5)

    def _head_norm(self, name: str) -> Norm | None:
        facts, fields = self.facts, self.fields
        module = facts.norms.get(name)
        if module is None or (facts.head_norms_if and not fields.switch(facts.head_norms_if)):
            return None
        return norm_of(facts, fields, module, facts.spans is Spans.ALL)

    def _feedforward(self) -> FeedForward:
        facts, fields = self.facts, self.fields
        *made, output = facts.mlp
        size = fields.whole("intermediate_size")
        if not facts.gated:
            (only,) = made
            return Plain(_named(fields, facts.activation, _ALONE), only, output)
        if len(made) == 1 and size % _PANEL:
            raise EngineError(f"gate and up in one linear, {size} rows each")
        return Gated(size, gate_of(facts, fields), tuple(made), output)

    def _biased(self) -> frozenset[str]:
        """The linears of a layer to which the family's code gives a bias."""
        return frozenset(
            linear
            for biases in self.facts.biases
            if biases.switch is None or self.fields.switch(biases.switch)
            for linear in biases.linears
        )


def head_size(facts: Decoder, fields: Fields) -> int:
    """Dimensions of a head."""
    heads, given = fields.whole("num_attention_heads"), facts.head_size
    named = None if given is None else fields.optional_whole(given)
    size = named or fields.whole("hidden_size") // heads
    if not size:
        raise fields.refused("hidden_size", f"at least num_attention_heads, {heads}")
    return size


def norm_of(facts: Decoder, fields: Fields, name: str, spans_all: bool = False) -> Norm:
    """A norm of that name."""
    epsilon = float(fields.number(facts.epsilon))
    return Norm(name, epsilon, facts.norm_offset, facts.centred, facts.norm_biases, spans_all)


def gate_of(facts: Decoder, fields: Fields) -> str:
    """The activation of gates."""
    return _named(fields, facts.activation, _GATES)


def _named(fields: Fields, field: str, known: dict[str, str]) -> str:
    name = fields.name(field)
    if name not in known:
        raise EngineError(f"activation {clipped(name)}; it runs {', '.join(known)}")
    return known[name]
