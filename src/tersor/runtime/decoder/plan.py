"""What a decoder is made of, as data: a list of layers between an embedding and a head.

Names are those of modules in a layer, without ``.weight``. A norm that is None is not there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tersor.families.blocks import FusedExperts
from tersor.runtime.decoder.configuration.rotary import Rope


@dataclass(frozen=True)
class Norm:
    """``offset`` is added to the stored weight.

    ``centred``: the mean is subtracted. ``biased``: it has a bias. ``spans_all``: of queries or
    keys, it is of all heads at once.
    """

    name: str
    epsilon: float
    offset: float = 0.0
    centred: bool = False
    biased: bool = False
    spans_all: bool = False


@dataclass(frozen=True)
class Attention:
    """A mixer: grouped queries on keys and values.

    ``input``: linears that make queries, keys and values, in this order. ``rope``: which of the
    decoder's turns them, None for none. ``window``: how many positions are seen; 0: all. A cap of 0
    is none. ``fused``: query, key and value of a head lie together. ``turns_first``: queries and
    keys are normed after they turned.
    """

    heads: int
    key_heads: int
    head_size: int
    input: tuple[str, ...]
    output: str
    query_norm: Norm | None
    key_norm: Norm | None
    rope: int | None
    window: int
    query_scale: float
    cap: float
    fused: bool = False
    turns_first: bool = False

    @property
    def linears(self) -> tuple[str, ...]:
        """All linears."""
        return (*self.input, self.output)

    @property
    def norms(self) -> tuple[Norm | None, ...]:
        """Norms within it."""
        return (self.query_norm, self.key_norm)


@dataclass(frozen=True)
class Gated:
    """A feed-forward: ``output(activation(gate) · up)``.

    ``input``: linears that make gate and up, ``size`` rows each.
    """

    size: int
    activation: str
    input: tuple[str, ...]
    output: str

    @property
    def linears(self) -> tuple[str, ...]:
        """All linears."""
        return (*self.input, self.output)


@dataclass(frozen=True)
class Plain:
    """A feed-forward: ``output(activation(input))``."""

    activation: str
    input: str
    output: str

    @property
    def linears(self) -> tuple[str, ...]:
        """All linears."""
        return (self.input, self.output)


@dataclass(frozen=True)
class Experts:
    """A feed-forward: every token goes through ``chosen`` of ``count`` gated ones.

    ``router``: names that it may have. ``names``: gate, up and down of an expert, ``*`` for its
    number; ``stacks``: how a checkpoint may hold them otherwise. ``scores``, ``normalized``,
    ``least``, ``scale``, ``groups``, ``chosen_groups``, ``correction``: how weights come from the
    router's logits; see ``families.decoder``. ``shared``: gate, up and down of one for every token,
    ``shared_gate``: of one row.
    """

    count: int
    chosen: int
    size: int
    activation: str
    router: tuple[str, ...]
    names: tuple[str, ...]
    stacks: tuple[FusedExperts, ...]
    scores: str
    normalized: bool
    least: float
    scale: float
    groups: int
    chosen_groups: int
    correction: str | None
    shared: tuple[str, ...]
    shared_gate: str | None

    def of(self, expert: int) -> tuple[str, ...]:
        """Gate, up and down of an expert."""
        return tuple(name.replace("*", str(expert)) for name in self.names)

    @property
    def linears(self) -> tuple[str, ...]:
        """All linears but routers, and experts that tokens choose."""
        return self.shared


FeedForward: TypeAlias = Gated | Plain | Experts


@dataclass(frozen=True)
class Layer:
    """A block: a mixer, then a feed-forward, with norms before and after each.

    ``biased``: linears that have a bias. ``scale``: of what both add to the residual stream.
    ``parallel``: both read the same.
    """

    mixer: Attention
    feedforward: FeedForward
    mixer_norm: Norm | None
    mixer_output_norm: Norm | None
    feedforward_norm: Norm | None
    feedforward_output_norm: Norm | None
    biased: frozenset[str]
    scale: float = 1.0
    parallel: bool = False

    @property
    def linears(self) -> tuple[str, ...]:
        """All linears."""
        return (*self.mixer.linears, *self.feedforward.linears)

    def norms(self) -> Iterator[Norm]:
        """All norms."""
        around = (
            *(self.mixer_norm, self.mixer_output_norm),
            *(self.feedforward_norm, self.feedforward_output_norm),
        )
        return (norm for norm in (*around, *self.mixer.norms) if norm is not None)


@dataclass(frozen=True, eq=False)
class DecoderPlan:
    """Everything that a ``config.json`` says of a decoder.

    ``embedding`` and ``final_norm`` stand beside the layers; ``heads``: names that the head may
    have. A cap of 0 is none. ``tied``: the head's weights may be the embedding's. ``ends``: what
    ``eos_token_id`` is, unchecked.
    """

    hidden: int
    vocabulary: int
    positions: int
    embedding_scale: float
    ropes: tuple[Rope, ...]
    layers: tuple[Layer, ...]
    final_norm: Norm
    final_scale: float
    final_cap: float
    embedding: str
    heads: tuple[str, ...]
    head_biased: bool
    tied: bool
    ends: Any

    @property
    def windows(self) -> tuple[int, ...]:
        """How many positions each layer sees; 0: all."""
        return tuple(layer.mixer.window for layer in self.layers)
