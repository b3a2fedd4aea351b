"""The native decoder from its plan and its weights."""

from dataclasses import dataclass

from tersor import _native
from tersor.runtime.decoder.plan import Attention, DecoderPlan, Gated, Layer, Norm
from tersor.runtime.decoder.stored.weights import Weights


def build(plan: DecoderPlan, weights: Weights, positions: int) -> _native.DecoderBuilder:
    """The native decoder's parts, for contexts of up to ``positions`` tokens."""
    builder = _native.DecoderBuilder(hidden=plan.hidden)
    table = weights.embedding
    if isinstance(table, _native.Weights):
        builder.set_packed_embedding(table, plan.embedding_scale)
    else:
        builder.set_embedding(table, plan.embedding_scale)
    ropes = [_native.Rope(*rope.table(positions)) for rope in plan.ropes]
    for index, layer in enumerate(plan.layers):
        _Assembly(weights, index, ropes).add(builder, layer)
    names = weights.names
    builder.set_head(
        norm=weights.norms[names.final_norm],
        linear=weights.linears[names.head],
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
            feedforward=self.gated(layer.feedforward),
            mixer_norm=self.norm(layer.mixer_norm),
            mixer_output_norm=self.norm(layer.mixer_output_norm),
            feedforward_norm=self.norm(layer.feedforward_norm),
            feedforward_output_norm=self.norm(layer.feedforward_output_norm),
        )

    def attention(self, plan: Attention) -> _native.Mixer:
        return _native.Mixer.attention(
            heads=plan.heads,
            key_heads=plan.key_heads,
            head_size=plan.head_size,
            input=[self.linear(name) for name in plan.input],
            output=self.linear(plan.output),
            query_norm=self.norm(plan.query_norm),
            key_norm=self.norm(plan.key_norm),
            rope=self.ropes[plan.rope],
            window=plan.window,
            query_scale=plan.query_scale,
            cap=plan.cap,
        )

    def gated(self, plan: Gated) -> _native.FeedForward:
        return _native.FeedForward.gated(
            activation=plan.activation,
            input=[self.linear(name) for name in plan.input],
            output=self.linear(plan.output),
        )

    def linear(self, name: str) -> _native.Weights:
        return self.weights.linears[self.weights.names.layer(self.index, name)]

    def norm(self, norm: Norm | None) -> _native.Norm | None:
        if norm is None:
            return None
        return self.weights.norms[self.weights.names.layer(self.index, norm.name)]
