"""The native decoder from its plan and its weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from tersor import _native
from tersor.runtime.decoder.plan import (
    Attention,
    DecoderPlan,
    Experts,
    FeedForward,
    Gated,
    Layer,
    Norm,
    Plain,
)
from tersor.runtime.decoder.stored.tensors import float32, sound
from tersor.runtime.decoder.stored.weights import Weights
from tersor.runtime.decoder.stored.xielu import xielu_numbers
from tersor.runtime.linears.panels import Floats


def build(plan: DecoderPlan, weights: Weights, positions: int) -> _native.DecoderBuilder:
    """The native decoder's parts, for contexts of up to ``positions`` tokens."""
    builder = _native.DecoderBuilder(hidden=plan.hidden)
    table = weights.embedding
    if isinstance(table, _native.Weights):
        builder.set_packed_embedding(table, plan.embedding_scale)
    else:
        builder.set_embedding(table, plan.embedding_scale)
    ropes = [_native.Rope(*rope.table(positions), rope.pairs) for rope in plan.ropes]
    for index, layer in enumerate(plan.layers):
        _Assembly(weights, index, ropes).add(builder, layer)
    names = weights.names
    builder.set_head(
        norm=weights.norms[names.final_norm],
        linear=weights.linears[names.head],
        scale=plan.final_scale,
        cap=plan.final_cap,
    )
    return builder


@dataclass(frozen=True, eq=False)
class _Assembly:
    """The parts of the layer ``index``."""

    weights: Weights
    index: int
    ropes: list[_native.Rope]

    def add(self, builder: _native.DecoderBuilder, layer: Layer) -> None:
        """Put the layer behind those that are there."""
        builder.add_block(
            mixer=self.attention(layer.mixer),
            feedforward=self.feedforward(layer.feedforward),
            mixer_norm=self.norm(layer.mixer_norm),
            mixer_output_norm=self.norm(layer.mixer_output_norm),
            feedforward_norm=self.norm(layer.feedforward_norm),
            feedforward_output_norm=self.norm(layer.feedforward_output_norm),
            scale=layer.scale,
            parallel=layer.parallel,
        )

    def attention(self, plan: Attention) -> _native.Mixer:
        return _native.Mixer.attention(
            heads=plan.heads,
            key_heads=plan.key_heads,
            head_size=plan.head_size,
            input=self.linears(plan.input),
            output=self.linear(plan.output),
            query_norm=self.norm(plan.query_norm),
            key_norm=self.norm(plan.key_norm),
            rope=None if plan.rope is None else self.ropes[plan.rope],
            window=plan.window,
            query_scale=plan.query_scale,
            cap=plan.cap,
            fused=plan.fused,
            turns_first=plan.turns_first,
        )

    def feedforward(self, plan: FeedForward) -> _native.FeedForward:
        if isinstance(plan, Gated):
            return _native.FeedForward.gated(
                activation=plan.activation,
                input=self.linears(plan.input),
                output=self.linear(plan.output),
            )
        if isinstance(plan, Experts):
            return self.experts(plan)
        return self.plain(plan)

    def plain(self, plan: Plain) -> _native.FeedForward:
        module = self.weights.names.layer(self.index, "mlp.act_fn")
        is_xielu = plan.activation == "xielu"
        return _native.FeedForward.plain(
            activation=plan.activation,
            numbers=xielu_numbers(self.weights.source, module) if is_xielu else [],
            input=self.linear(plan.input),
            output=self.linear(plan.output),
        )

    def experts(self, plan: Experts) -> _native.FeedForward:
        routing = _native.Routing(
            scores=plan.scores,
            experts=plan.count,
            chosen=plan.chosen,
            groups=plan.groups,
            chosen_groups=plan.chosen_groups,
            normalized=plan.normalized,
            least=plan.least,
            scale=plan.scale,
            correction=None if plan.correction is None else self.tensor(plan.correction),
        )
        experts = [self.linears(plan.of(expert)) for expert in range(plan.count)]
        if plan.shared:
            experts.append(self.linears(plan.shared))
        gate = plan.shared_gate if plan.shared else None
        return _native.FeedForward.experts(
            routing=routing,
            activation=plan.activation,
            router=self.weights.linears[self.weights.routers[self.index]],
            experts=experts,
            has_shared=bool(plan.shared),
            shared_gate=None if gate is None else self.linear(gate),
        )

    def tensor(self, name: str) -> Floats:
        found = sound(self.weights.source, self.weights.names.layer(self.index, name))
        return float32(found).reshape(-1)

    def linear(self, name: str) -> _native.Weights:
        return self.weights.linears[self.weights.names.layer(self.index, name)]

    def linears(self, names: Sequence[str]) -> list[_native.Weights]:
        return [self.linear(name) for name in names]

    def norm(self, norm: Norm | None) -> _native.Norm | None:
        if norm is None:
            return None
        return self.weights.norms[self.weights.names.layer(self.index, norm.name)]
