"""A model directory → the native decoder's weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tersor import _native
from tersor.checkpoints.finite import is_finite
from tersor.checkpoints.source import Source
from tersor.errors import EngineError, NonFiniteWeight, SourceError
from tersor.runtime.artifact import Artifact, Stored
from tersor.runtime.decoder.names import DecoderNames, decoder_names
from tersor.runtime.decoder.shape import DecoderShape
from tersor.runtime.linears.kernels import has_kernel
from tersor.runtime.linears.native_weights import dense_weights, eight_bits, packed_weights
from tersor.runtime.linears.replacing import is_the_kernels, packed_of
from tersor.runtime.linears.static_input import fixed_input
from tersor.runtime.packed.cache import PackedCache


@dataclass(frozen=True, eq=False)
class Weights:
    """Every linear of a decoder in native form, and the rest as tensors.

    ``bytes_per_token``: what is read of weights to make one token. ``products_per_token``:
    multiply-adds of a token in all linears but the head. ``notes``: what does not run in the form
    it is stored in.
    """

    names: DecoderNames
    linears: Mapping[str, _native.Weights]
    norms: Mapping[str, Tensor]
    embedding: Tensor | _native.Weights
    bytes_per_token: int
    products_per_token: int
    notes: tuple[str, ...]


@dataclass(eq=False)
class _Reader:
    source: Source
    artifact: Artifact | None
    integer: bool
    dense_bits: int
    cache: PackedCache
    names: DecoderNames
    linears: dict[str, _native.Weights] = field(default_factory=dict)
    size: int = 0
    products: int = 0
    floats: dict[str, int] = field(default_factory=dict)
    packed: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.source.tensors or name in self.quantized

    @property
    def quantized(self) -> Mapping[str, object]:
        return {} if self.artifact is None else self.artifact.schemes

    def tensor(self, name: str) -> Tensor:
        if name not in self.source.tensors:
            raise SourceError(f"{self.source.path} holds no tensor {name}")
        return self.source.read([name])[name]

    def sound(self, name: str) -> Tensor:
        """A tensor that is read whole in any case, if it is finite."""
        tensor = self.tensor(name)
        if not is_finite(tensor):
            raise NonFiniteWeight(
                f"{self.source.path}: tensor {name!r} holds NaN or infinity; "
                "make or download the model again"
            )
        return tensor

    def bias(self, name: str, biased: bool) -> "np.typing.NDArray[np.float32] | None":
        name = f"{name}.bias"
        if biased:
            return self.sound(name).float().numpy()
        if name in self.source.tensors:
            self.unused.append(name)
        return None

    def dense(self, name: str) -> Tensor:
        """The weight ``(out, in)``, float32 or bfloat16."""
        if self.artifact is not None and name in self.quantized:
            return self.artifact.linear(name).weight.dequantize()
        weight = self.sound(f"{name}.weight")
        if weight.ndim != 2:
            raise SourceError(
                f"{self.source.path}: tensor {name}.weight is {tuple(weight.shape)}, no matrix; "
                "download the checkpoint again"
            )
        return _float32_or_bfloat16(weight)

    def embedding(self) -> Tensor | _native.Weights:
        """The table of the embedding; if it is quantized and the head's too, the head's codes."""
        head, name = self.linears[self.names.head], self.names.embedding
        shared = name in self.quantized and not self.has(self.names.head)
        if shared and head.is_packed:
            return head
        if name in self.quantized:
            return self.dense(name)
        # Rows are looked up one by one, and not all are read: the sampler finds NaN in them.
        return _float32_or_bfloat16(self.tensor(f"{name}.weight"))

    def add(self, name: str, biased: bool, weights_of: str | None = None) -> None:
        """Make the linear ``name``, whose weights may be another module's."""
        holder = weights_of or name
        bias = self.bias(name, biased)
        if self.artifact is not None and holder in self.quantized:
            made, size = self._quantized(self.artifact, holder, bias)
        elif self.dense_bits == 8:
            packed = self.cache.linear(
                f"{holder} at 8 bits", lambda: eight_bits(self.dense(holder))
            )
            made, size = packed_weights(packed, self.integer, None, bias)
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
                f"{self.source.path} holds no tensor {name}.weight, and config.json does not tie "
                "the head to the embedding (tie_word_embeddings)"
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

    def _quantized(
        self, artifact: Artifact, name: str, bias: "np.typing.NDArray[np.float32] | None"
    ) -> tuple[_native.Weights, int]:
        scheme = artifact.schemes[name]
        activations = scheme.activations
        if activations is not None and not is_the_kernels(scheme):
            raise EngineError(f"activations {activations}")
        if has_kernel(scheme.weights.grid):
            packed = self.cache.linear(name, partial(packed_of, artifact, name))
            integer = packed.levels is None and (self.integer or activations is not None)
            return packed_weights(packed, integer, fixed_input(artifact, name), bias)
        weight = artifact.linear(name).weight
        self.floats[weight.grid.name] = self.floats.get(weight.grid.name, 0) + 1
        return dense_weights(weight.dequantize(), bias)


def _float32_or_bfloat16(weight: Tensor) -> Tensor:
    return weight if weight.dtype == torch.bfloat16 else weight.float()


def read_weights(
    stored: Stored,
    cache: PackedCache,
    shape: DecoderShape,
    *,
    integer: bool,
    dense_bits: int | None = None,
) -> Weights:
    """Read and pack a model.

    ``cache``: of its directory, made before that was opened.
    ``integer``: round activations to int8 for integer weights; schemes that quantize activations
    themselves always do. ``dense_bits``: 8 packs what is stored as floats, 16 leaves it; by default
    8 where the directory is quantized and activations are rounded too. Raises :class:`EngineError`
    for schemes that no kernel runs, and :class:`SourceError` or
    :class:`~tersor.errors.FormatError` for directories that cannot be read.
    """
    source, artifact = stored.source, stored.artifact
    dense = dense_bits or (8 if artifact is not None and integer else 16)
    names = decoder_names(source.path, source.tensors)
    reader = _Reader(source, artifact, integer, dense, cache, names)
    for layer in range(shape.layers):
        for name in linear_names(shape):
            reader.add(names.layer(layer, name), name in shape.biased)
    products = reader.products
    reader.add_head(shape.tied)
    reader.cache.save()
    norms = {name: reader.sound(f"{name}.weight").float() for name in _norm_names(shape, names)}
    if shape.norm_offset:
        norms = {name: weight + shape.norm_offset for name, weight in norms.items()}
    return Weights(
        names, reader.linears, norms, reader.embedding(), reader.size, products, reader.notes()
    )


def linear_names(shape: DecoderShape) -> Sequence[str]:
    """The linears of a layer."""
    attention = ("qkv_proj",) if shape.fused else ("q_proj", "k_proj", "v_proj")
    mlp = ("gate_up_proj",) if shape.fused else ("gate_proj", "up_proj")
    return (
        *(f"self_attn.{name}" for name in (*attention, "o_proj")),
        *(f"mlp.{name}" for name in (*mlp, "down_proj")),
    )


def norm_names(shape: DecoderShape) -> Mapping[str, str]:
    """Native name → name in the layer of the norms that a layer has."""
    names = {"attention_norm": "input_layernorm"}
    if shape.query_norms:
        names |= {"query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm"}
    if shape.sandwich:
        return names | {
            "attention_output_norm": "post_attention_layernorm",
            "mlp_norm": "pre_feedforward_layernorm",
            "mlp_output_norm": "post_feedforward_layernorm",
        }
    return names | {"mlp_norm": "post_attention_layernorm"}


def _norm_names(shape: DecoderShape, names: DecoderNames) -> list[str]:
    layers = (
        names.layer(layer, name)
        for layer in range(shape.layers)
        for name in norm_names(shape).values()
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
    if isinstance(table, Tensor):
        halves = table.view(torch.uint16) if table.dtype == torch.bfloat16 else table
        builder.set_embedding(halves.contiguous().numpy(), shape.embedding_scale)
    else:
        builder.set_packed_embedding(table, shape.embedding_scale)
    for rope in shape.ropes:
        cosines, sines = rope.table(positions)
        builder.add_rope(cosines, sines)
    for layer in range(shape.layers):
        _add_layer(builder, shape, weights, layer)
    names = weights.names
    builder.set_head(weights.norms[names.final_norm].numpy(), weights.linears[names.head])
    return builder


def _add_layer(
    builder: _native.DecoderBuilder, shape: DecoderShape, weights: Weights, layer: int
) -> None:
    def linears(part: str) -> list[_native.Weights]:
        found = (name for name in linear_names(shape) if name.startswith(part))
        return [weights.linears[weights.names.layer(layer, name)] for name in found]

    *attention, output = linears("self_attn")
    *mlp, down = linears("mlp")
    norms = {
        native: weights.norms[weights.names.layer(layer, name)].numpy()
        for native, name in norm_names(shape).items()
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
