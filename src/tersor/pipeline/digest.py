"""Digests that say whether two tensors, or two quantized linears, are the same bits."""

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from tersor.formats import QuantizedLinear


def tensor_digest(tensors: Iterable[Tensor | None]) -> str:
    """BLAKE2b over types, shapes and bytes of the tensors, in order; ``None`` counts as absent."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        if tensor is None:
            digest.update(b"-")
            continue
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def linear_digest(linear: QuantizedLinear) -> str:
    """Digest of everything a quantized linear consists of."""
    weight, given = linear.weight, linear.input
    return tensor_digest(
        (
            weight.codes,
            weight.scale.data,
            weight.scale.global_scale,
            weight.zero_point,
            weight.codebook,
            None if given is None else given.scale,
            None if given is None else given.zero_point,
        )
    )


def combined_digest(digests: Mapping[str, str]) -> str:
    """One digest for many named ones, independent of their order."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(digests):
        digest.update(f"{name} {digests[name]}\n".encode())
    return digest.hexdigest()
