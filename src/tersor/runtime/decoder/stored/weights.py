"""Everything that a decoder's plan names, read from a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.checkpoints.source import Source
from tersor.runtime.decoder.plan import DecoderPlan, Experts, Norm
from tersor.runtime.decoder.stored.experts import add_experts
from tersor.runtime.decoder.stored.linears import LinearReader
from tersor.runtime.decoder.stored.names import DecoderNames, decoder_names
from tersor.runtime.decoder.stored.tensors import float32, sound
from tersor.runtime.opening import Opened


@dataclass(frozen=True, eq=False)
class Weights:
    """Every linear and norm of a decoder in native form, by full names.

    ``source``: for the few tensors that are neither. ``routers``: what those of layers are called.
    ``embedding``: rows ``(vocabulary, hidden)`` in float32 or as bits of bfloat16, if they are not
    packed. ``bytes_per_token``: what is read of weights to make one token.
    ``products_per_token``: multiply-adds of a token in all linears but the head. ``notes``: what
    does not run in the form it is stored in.
    """

    source: Source
    names: DecoderNames
    linears: Mapping[str, _native.Weights]
    norms: Mapping[str, _native.Norm]
    routers: Mapping[int, str]
    embedding: NDArray[Any] | _native.Weights
    bytes_per_token: int
    products_per_token: int
    notes: tuple[str, ...]


def read_weights(
    model: Opened,
    plan: DecoderPlan,
    *,
    integer: bool,
    threads: int,
    dense_bits: int | None = None,
) -> Weights:
    """Read a model, and pack what was not packed before, on so many ``threads``.

    ``integer``: round activations to int8 for integer weights; schemes that quantize activations
    themselves always do. ``dense_bits``: 8 packs what is stored as floats, 16 leaves it; by default
    8 where a directory is quantized and activations are rounded too, and 16 for a GGUF file.
    Raises :class:`~tersor.errors.EngineError` for schemes that no kernel runs, and
    :class:`~tersor.errors.SourceError` or :class:`~tersor.errors.FormatError` for models that
    cannot be read.
    """
    source = model.source
    dense = dense_bits or (8 if model.rounds_floats and integer else 16)
    first = next(plan.layers[0].norms())
    names = decoder_names(
        source.path,
        source.tensors,
        first_norm=first.name,
        final_norm=plan.final_norm.name,
        embedding=plan.embedding,
        heads=plan.heads,
    )
    reader = LinearReader(model, integer, dense, threads, names)
    norms = {names.final_norm: plan.final_norm}
    routers: dict[int, str] = {}
    for index, layer in enumerate(plan.layers):
        for name in layer.linears:
            reader.add(names.layer(index, name), name in layer.biased)
        if isinstance(layer.feedforward, Experts):
            routers[index] = add_experts(reader, layer.feedforward, index)
        norms |= {names.layer(index, norm.name): norm for norm in layer.norms()}
    products = reader.products
    reader.add_head(plan.tied, plan.head_biased)
    made = {name: _norm(model, name, norm) for name, norm in norms.items()}
    embedding = reader.embedding()
    model.refuse_changed()
    model.cache.save()
    return Weights(
        source,
        names,
        reader.linears,
        made,
        routers,
        embedding,
        reader.size,
        products,
        reader.notes(),
    )


def _norm(model: Opened, name: str, norm: Norm) -> _native.Norm:
    # Sizes may be stored as (1, n) wherever they are (n,).
    weight = float32(sound(model.source, f"{name}.weight")).reshape(-1)
    if norm.offset:
        weight = weight + np.float32(norm.offset)
    return _native.Norm(
        weight=weight,
        bias=float32(sound(model.source, f"{name}.bias")).reshape(-1) if norm.biased else None,
        size=len(weight),
        epsilon=norm.epsilon,
        centred=norm.centred,
        spans_all=norm.spans_all,
    )
