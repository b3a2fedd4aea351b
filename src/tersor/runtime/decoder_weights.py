"""A model directory → the native decoder's weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tersor import _native
from tersor.checkpoints.huggingface import open_directory
from tersor.checkpoints.source import Source
from tersor.errors import EngineError, SourceError
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding import nearest
from tersor.runtime.artifact import Artifact, open_artifact
from tersor.runtime.decoder_shape import DecoderShape
from tersor.runtime.kernels import FixedInput, PackedLinear, has_kernel, pack_linear, panels
from tersor.runtime.packed_cache import PackedCache
from tersor.runtime.static_input import fixed_input, with_zero
from tersor.runtime.use_kernels import ACTIVATION_GROUP, is_the_kernels, packed_of

_EMBEDDING, _FINAL_NORM = "embed_tokens", "norm"
_HEADS = ("lm_head", "language_model.lm_head")
# Where published checkpoints keep a decoder: a model with a head, the decoder alone, and the
# spellings inside multimodal ones.
_PREFIXES = ("model.", "", "model.language_model.", "language_model.model.", "language_model.")
_DENSE = TensorScheme(IntegerGrid(8, Symmetry.RESTRICTED), Granularity.CHANNEL)


@dataclass(frozen=True, eq=False)
class Weights:
    """Every linear of a decoder in native form, and the rest as tensors.

    Names are relative to the decoder: ``layers.0.mlp.up_proj``. ``bytes_per_token``: what is read
    of weights to make one token. ``products_per_token``: multiply-adds of a token in all linears
    but the head. ``notes``: what does not run in the form it is stored in.
    """

    linears: Mapping[str, _native.Weights]
    head: _native.Weights
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
    size: int = 0
    products: int = 0
    floats: dict[str, int] = field(default_factory=dict)
    narrowed: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.source.tensors or name in self.quantized

    @property
    def quantized(self) -> Mapping[str, object]:
        return {} if self.artifact is None else self.artifact.schemes

    def tensor(self, name: str) -> Tensor:
        if name not in self.source.tensors:
            raise SourceError(f"{self.source.path} holds no tensor {name}")
        return self.source.read([name])[name]

    def bias(self, name: str) -> "np.typing.NDArray[np.float32] | None":
        name = f"{name}.bias"
        return self.tensor(name).float().numpy() if name in self.source.tensors else None

    def dense(self, name: str) -> Tensor:
        """The weight ``(out, in)``, float32 or bfloat16."""
        if self.artifact is not None and name in self.quantized:
            return self.artifact.linear(name).weight.dequantize()
        weight = self.tensor(f"{name}.weight")
        return weight if weight.dtype == torch.bfloat16 else weight.float()

    def prefix(self) -> str:
        """What stands before the names of the decoder's parts on disk."""
        for prefix in _PREFIXES:
            if self.has(f"{prefix}{_EMBEDDING}") and f"{prefix}{_FINAL_NORM}.weight" in (
                self.source.tensors
            ):
                return prefix
        tried = ", ".join(f"{prefix}{_EMBEDDING}.weight" for prefix in _PREFIXES)
        raise SourceError(f"{self.source.path} holds no decoder by any of the names {tried}")

    def make(self, name: str) -> _native.Weights:
        """The linear ``name``, by its name on disk."""
        bias = self.bias(name)
        if self.artifact is not None and name in self.quantized:
            made, size = self._quantized(self.artifact, name, bias)
        elif self.artifact is not None and self.dense_bits == 8:
            packed = self.cache.linear(f"{name} at 8 bits", partial(self._narrow, name))
            made, size = _packed(packed, self.integer, None, bias)
            self.narrowed.append(name)
        else:
            made, size = _dense(self.dense(name), bias)
        self.size += size
        self.products += made.rows * made.columns
        return made

    def _narrow(self, name: str) -> PackedLinear:
        weight = self.dense(name)
        rounded = nearest(weight, _DENSE, MinMax(), scale_dtype=torch.float32)
        return pack_linear(rounded.tensor, ACTIVATION_GROUP)

    def notes(self) -> tuple[str, ...]:
        """What does not run in the form it is stored in."""
        floats = (
            f"{count} linears of {name} run on dequantized weights"
            for name, count in self.floats.items()
        )
        if not self.narrowed:
            return tuple(floats)
        more = f" and {len(self.narrowed) - 1} more" if len(self.narrowed) > 1 else ""
        said = f"{self.narrowed[0]}{more}: kept as they were in the model, multiplied at 8 bits"
        return (*floats, f"{said} per channel (--dense-bits 16 leaves them)")

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
            return _packed(packed, integer, fixed_input(artifact, name), bias)
        weight = artifact.linear(name).weight
        self.floats[weight.grid.name] = self.floats.get(weight.grid.name, 0) + 1
        return _dense(weight.dequantize(), bias)


def _packed(
    packed: PackedLinear,
    integer: bool,
    fixed: FixedInput | None,
    bias: "np.typing.NDArray[np.float32] | None",
) -> tuple[_native.Weights, int]:
    shifted = with_zero(packed, fixed, None if bias is None else torch.from_numpy(bias))
    made = _native.Weights.packed(
        packed.codes.numpy(),
        packed.native_scales(),
        None if packed.zeros is None else packed.zeros.numpy(),
        packed.zero,
        packed.rows,
        packed.columns,
        packed.group,
        packed.bits,
        integer,
        fixed,
        None if packed.levels is None else packed.levels.numpy(),
        None if shifted is None else shifted.numpy(),
    )
    zeros = 0 if packed.zeros is None else packed.zeros.nbytes
    return made, packed.codes.nbytes + packed.scales.nbytes + zeros


def _dense(
    weight: Tensor, bias: "np.typing.NDArray[np.float32] | None"
) -> tuple[_native.Weights, int]:
    rows = panels(weight, *weight.shape)
    if rows.dtype == torch.bfloat16:
        rows = rows.view(torch.uint16)
    return _native.Weights.dense(rows.numpy(), weight.shape[0], bias), rows.nbytes


def read_weights(
    directory: Path, shape: DecoderShape, *, integer: bool, dense_bits: int, tied: bool
) -> Weights:
    """Read and pack a model directory.

    ``integer``: round activations to int8 for integer weights; schemes that quantize activations
    themselves always do. ``dense_bits``: 8 packs what a quantized model keeps as it was. ``tied``:
    the embedding is the head where no head is stored. Raises :class:`EngineError` for schemes that
    no kernel runs, and :class:`SourceError` or :class:`~tersor.errors.FormatError` for directories
    that cannot be read.
    """
    source = open_directory(directory)
    artifact = open_artifact(directory) if "quantization_config" in source.config else None
    reader = _Reader(source, artifact, integer, dense_bits, PackedCache(directory))
    prefix = reader.prefix()
    linears = {
        f"layers.{layer}.{name}": reader.make(f"{prefix}layers.{layer}.{name}")
        for layer in range(shape.layers)
        for name in linear_names(shape)
    }
    products = reader.products
    embedding = f"{prefix}{_EMBEDDING}"
    own_head = next((name for name in _HEADS if reader.has(name)), None)
    if own_head is None and not tied:
        raise SourceError(
            f"{directory} holds no {_HEADS[0]}.weight though config.json does not tie the head to "
            "the embedding: an embedding model makes no text"
        )
    head = reader.make(own_head or embedding)
    shared = own_head is None and embedding in reader.quantized and head.is_packed
    table = head if shared else reader.dense(embedding)
    reader.cache.save()
    norms = {
        name: reader.tensor(f"{prefix}{name}.weight").float() + shape.norm_offset
        for name in _norm_names(shape)
    }
    return Weights(linears, head, norms, table, reader.size, products, reader.notes())


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


def _norm_names(shape: DecoderShape) -> list[str]:
    layers = (
        f"layers.{layer}.{name}"
        for layer in range(shape.layers)
        for name in norm_names(shape).values()
    )
    return [*layers, _FINAL_NORM]


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
        builder.add_rope(cosines.numpy(), sines.numpy())
    for layer in range(shape.layers):
        _add_layer(builder, shape, weights, layer)
    builder.set_head(weights.norms[_FINAL_NORM].numpy(), weights.head)
    return builder


def _add_layer(
    builder: _native.DecoderBuilder, shape: DecoderShape, weights: Weights, layer: int
) -> None:
    prefix = f"layers.{layer}."
    *attention, output = [
        weights.linears[prefix + n] for n in linear_names(shape) if n.startswith("self_attn")
    ]
    *mlp, down = [weights.linears[prefix + n] for n in linear_names(shape) if n.startswith("mlp")]
    norms = {
        native: weights.norms[prefix + name].numpy() for native, name in norm_names(shape).items()
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
