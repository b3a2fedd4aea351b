"""The divergence itself: parts of the model quantized, and everything behind them run again."""

from collections.abc import Mapping

from torch import Tensor

from tersor.grids import QuantizedTensor
from tersor.pipeline.sensitivity.original import Original


def exact_divergence(original: Original, quantized: Mapping[str, QuantizedTensor]) -> float:
    """Mean KL divergence in nats with some linears of blocks quantized, by weight name.

    The model is as it was afterwards.
    """
    blocks = [original.architecture.block_of(name) for name in quantized]
    first = min(block for block in blocks if block is not None)
    kept = {name: original.weight(name).clone() for name in quantized}
    try:
        for name, tensor in quantized.items():
            original.weight(name).copy_(tensor.dequantize())
        return original.divergence_from(first)
    finally:
        for name, weight in kept.items():
            original.weight(name).copy_(weight)


def outside_divergence(original: Original, name: str, changed: Tensor) -> float:
    """The same for the head, the embedding, or a matrix ``(vocab, hidden)`` that is both.

    Before the blocks are in memory for good.
    """
    if name == original.architecture.head:
        return original.divergence(original.output, changed)
    tied = original.architecture.head is None
    return original.divergence_of_embedding(changed, changed if tied else original.head)
