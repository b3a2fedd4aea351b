"""A model directory → the native decoder's weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.errors import EngineError, SourceError
from tersor.runtime.decoder.names import DecoderNames, decoder_names
from tersor.runtime.decoder.shape import DecoderShape
from tersor.runtime.decoder.tensors import float32, sound, tensor
from tersor.runtime.linears.native_weights import dense_weights, packed_weights
from tersor.runtime.linears.panels import Floats, PackedLinear
from tersor.runtime.opening import Opened

if TYPE_CHECKING:
    from tersor.grids import QuantizedTensor


@dataclass(frozen=True, eq=False)
class Weights:
    """Every linear of a decoder in native form, and the rest as arrays.

    ``embedding``: rows ``(vocabulary, hidden)`` in float32 or as bits of bfloat16, if they are not
    packed. ``bytes_per_token``: what is read of weights to make one token.
    ``products_per_token``: multiply-adds of a token in all linears but the head. ``notes``: what
    does not run in the form it is stored in.
    """

    names: DecoderNames
    linears: Mapping[str, _native.Weights]
    norms: Mapping[str, Floats]
    embedding: NDArray[Any] | _native.Weights
    bytes_per_token: int
    products_per_token: int
    notes: tuple[str, ...]


@dataclass(eq=False)
class _Reader:
    model: Opened
    integer: bool
    dense_bits: int
    threads: int
    names: DecoderNames
    linears: dict[str, _native.Weights] = field(default_factory=dict)
    size: int = 0
    products: int = 0
    floats: dict[str, int] = field(default_factory=dict)
    packed: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.model.source.tensors or name in self.model.quantized

    def bias(self, name: str, biased: bool) -> Floats | None:
        name = f"{name}.bias"
        if biased:
            return float32(sound(self.model.source, name))
        if name in self.model.source.tensors:
            self.unused.append(name)
        return None

    def dense(self, name: str) -> NDArray[Any]:
        """The weight ``(out, in)``, float32 or bits of bfloat16."""
        if name in self.model.quantized:
            return _dequantized(self.model.artifact.linear(name).weight)
        weight = sound(self.model.source, f"{name}.weight")
        if weight.ndim != 2:
            raise SourceError(
                f"{self.model.source.path}: tensor {name}.weight is {weight.shape}, no matrix; "
                "download the checkpoint again"
            )
        return weight

    def embedding(self) -> NDArray[Any] | _native.Weights:
        """The table of the embedding; if it is quantized and the head's too, the head's codes."""
        head, name = self.linears[self.names.head], self.names.embedding
        if name not in self.model.quantized:
            # Rows are looked up one by one, and not all are read: the sampler finds NaN in them.
            return tensor(self.model.source, f"{name}.weight")
        if head.is_packed and not self.has(self.names.head):
            return head
        packed = self.model.cache.held(name)
        if packed is None and self.model.artifact.schemes[name].activations is None:
            packed = self._packed(name)
        if packed is None:
            return self.dense(name)
        return packed_weights(packed, False, None, self.threads)[0]

    def add(self, name: str, biased: bool, weights_of: str | None = None) -> None:
        """Make the linear ``name``, whose weights may be another module's."""
        holder = weights_of or name
        bias = self.bias(name, biased)
        if holder in self.model.quantized:
            made, size = self._quantized(holder, bias)
        elif self.dense_bits == 8:
            packed = self.model.cache.linear(f"{holder} at 8 bits", partial(self._rounded, holder))
            made, size = packed_weights(packed, self.integer, bias, self.threads)
            self.packed.append(name)
        else:
            made, size = dense_weights(self.dense(holder), bias)
        self.linears[name] = made
        self.size += size
        self.products += made.rows * made.columns

    def add_head(self, tied: bool) -> None:
        """Make the head, which may be the embedding."""
        name = self.names.head
        if not self.has(name) and not tied:
            raise SourceError(
                f"{self.model.source.path} holds no tensor {name}.weight, and config.json does not "
                "tie the head to the embedding (tie_word_embeddings)"
            )
        self.add(name, False, None if self.has(name) else self.names.embedding)

    def notes(self) -> tuple[str, ...]:
        """What does not run as it is stored."""
        notes = [
            f"{count} linears of {name} run on dequantized weights"
            for name, count in self.floats.items()
        ]
        if self.packed:
            what = self.packed[0] if len(self.packed) == 1 else f"{len(self.packed)} linears"
            notes.append(
                f"{what} stored as floats at 8 bits per channel; --dense-bits 16 leaves them"
            )
        if self.unused:
            notes.append(
                f"{len(self.unused)} biases that this architecture does not have are left out, "
                f"{self.unused[0]} first"
            )
        return tuple(notes)

    def _quantized(self, name: str, bias: Floats | None) -> tuple[_native.Weights, int]:
        packed = self._packed(name)
        if packed is not None:
            integer = packed.levels is None and (self.integer or packed.rounded)
            return packed_weights(packed, integer, bias, self.threads)
        weight = self.model.artifact.linear(name).weight
        self.floats[weight.grid.name] = self.floats.get(weight.grid.name, 0) + 1
        return dense_weights(_dequantized(weight), bias)

    def _packed(self, name: str) -> PackedLinear | None:
        """A quantized linear as it was kept, or packed now; None if no kernel runs it."""
        held = self.model.cache.held(name)
        if held is not None:
            return held
        from tersor.runtime.linears.packing import has_kernel
        from tersor.runtime.linears.replacing import is_the_kernels, packed_of

        artifact = self.model.artifact
        scheme = artifact.schemes[name]
        if scheme.activations is not None and not is_the_kernels(scheme):
            raise EngineError(f"activations {scheme.activations}")
        if not has_kernel(scheme.weights.grid):
            return None
        return self.model.cache.linear(name, partial(packed_of, artifact, name))

    def _rounded(self, name: str) -> PackedLinear:
        """A matrix of floats at 8 bits."""
        import torch

        from tersor.runtime.linears.packing import eight_bits

        weight = torch.from_numpy(self.dense(name))
        bits = weight.dtype == torch.uint16
        return eight_bits(weight.view(torch.bfloat16) if bits else weight)


def _dequantized(weight: "QuantizedTensor") -> NDArray[Any]:
    values: NDArray[Any] = weight.dequantize().numpy()
    return values


def read_weights(
    model: Opened,
    shape: DecoderShape,
    *,
    integer: bool,
    threads: int,
    dense_bits: int | None = None,
) -> Weights:
    """Read a model, and pack what was not packed before, on so many ``threads``.

    ``integer``: round activations to int8 for integer weights; schemes that quantize activations
    themselves always do. ``dense_bits``: 8 packs what is stored as floats, 16 leaves it; by default
    8 where a directory is quantized and activations are rounded too, and 16 for a GGUF file.
    Raises :class:`EngineError` for schemes that no kernel runs, and :class:`SourceError` or
    :class:`~tersor.errors.FormatError` for models that cannot be read.
    """
    source = model.source
    dense = dense_bits or (8 if model.rounds_floats and integer else 16)
    names = decoder_names(source.path, source.tensors)
    reader = _Reader(model, integer, dense, threads, names)
    for layer in range(shape.layers):
        for name in shape.linears:
            reader.add(names.layer(layer, name), name in shape.biased)
    products = reader.products
    reader.add_head(shape.tied)
    norms = {name: float32(sound(source, f"{name}.weight")) for name in _norm_names(shape, names)}
    if shape.norm_offset:
        norms = {name: weight + np.float32(shape.norm_offset) for name, weight in norms.items()}
    embedding = reader.embedding()
    model.refuse_changed()
    model.cache.save()
    return Weights(names, reader.linears, norms, embedding, reader.size, products, reader.notes())


def _norm_names(shape: DecoderShape, names: DecoderNames) -> list[str]:
    layers = (
        names.layer(layer, name) for layer in range(shape.layers) for name in shape.norms.values()
    )
    return [*layers, names.final_norm]


def build(shape: DecoderShape, weights: Weights, positions: int) -> _native.DecoderBuilder:
    """The native decoder's parts, for contexts of up to ``positions`` tokens."""
    builder = _native.DecoderBuilder(
        hidden=shape.hidden,
        heads=shape.heads,
        key_heads=shape.key_heads,
        head_size=shape.head_size,
        mlp_size=shape.mlp_size,
        epsilon=shape.epsilon,
        query_scale=shape.query_scale,
        attention_cap=shape.attention_cap,
        final_cap=shape.final_cap,
        activation=shape.activation,
    )
    table = weights.embedding
    if isinstance(table, _native.Weights):
        builder.set_packed_embedding(table, shape.embedding_scale)
    else:
        builder.set_embedding(table, shape.embedding_scale)
    for rope in shape.ropes:
        cosines, sines = rope.table(positions)
        builder.add_rope(cosines, sines)
    for layer in range(shape.layers):
        _add_layer(builder, shape, weights, layer)
    names = weights.names
    builder.set_head(weights.norms[names.final_norm], weights.linears[names.head])
    return builder


def _add_layer(
    builder: _native.DecoderBuilder, shape: DecoderShape, weights: Weights, layer: int
) -> None:
    def linears(part: str) -> list[_native.Weights]:
        found = (name for name in shape.linears if name.startswith(part))
        return [weights.linears[weights.names.layer(layer, name)] for name in found]

    *attention, output = linears("self_attn")
    *mlp, down = linears("mlp")
    norms = {
        native: weights.norms[weights.names.layer(layer, name)]
        for native, name in shape.norms.items()
    }
    builder.add_layer(
        attention_norm=norms["attention_norm"],
        attention=attention,
        query_norm=norms.get("query_norm"),
        key_norm=norms.get("key_norm"),
        attention_output=output,
        attention_output_norm=norms.get("attention_output_norm"),
        mlp_norm=norms["mlp_norm"],
        mlp=mlp,
        mlp_output=down,
        mlp_output_norm=norms.get("mlp_output_norm"),
        window=shape.windows[layer],
        rope=shape.layer_ropes[layer],
    )
