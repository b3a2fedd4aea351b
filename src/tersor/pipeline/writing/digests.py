"""Digests that say whether two quantized linears, or many, are the same bits."""

import hashlib
from collections.abc import Mapping

from tersor.digest import tensor_digest
from tersor.formats import QuantizedLinear


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
