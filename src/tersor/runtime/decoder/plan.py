"""What a decoder is made of, as data: a list of layers between an embedding and a head.

Names are those of modules in a layer, without ``.weight``. A norm that is None is not there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tersor.runtime.decoder.configuration.rotary import Rope


@dataclass(frozen=True)
class Norm:
    """``offset`` is added to the stored weight."""

    name: str
    epsilon: float
    offset: float = 0.0


@dataclass(frozen=True)
class Attention:
    """A mixer: grouped queries on keys and values.

    ``input``: linears that make queries, keys and values, in this order. ``rope``: which of the
    decoder's turns them. ``window``: how many positions are seen; 0: all. A cap of 0 is none.
    """

    heads: int
    key_heads: int
    head_size: int
    input: tuple[str, ...]
    output: str
    query_norm: Norm | None
    key_norm: Norm | None
    rope: int
    window: int
    query_scale: float
    cap: float

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
class Layer:
    """A block: a mixer, then a feed-forward, with norms before and after each.

    ``biased``: linears that have a bias.
    """

    mixer: Attention
    feedforward: Gated
    mixer_norm: Norm | None
    mixer_output_norm: Norm | None
    feedforward_norm: Norm | None
    feedforward_output_norm: Norm | None
    biased: frozenset[str]

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

    ``final_norm``: without a name; it stands beside the layers. A cap of 0 is none. ``tied``: the
    head's weights may be the embedding's. ``ends``: what ``eos_token_id`` is, unchecked.
    """

    hidden: int
    vocabulary: int
    positions: int
    embedding_scale: float
    ropes: tuple[Rope, ...]
    layers: tuple[Layer, ...]
    final_norm: Norm
    final_cap: float
    tied: bool
    ends: Any

    @property
    def windows(self) -> tuple[int, ...]:
        """How many positions each layer sees; 0: all."""
        return tuple(layer.mixer.window for layer in self.layers)
