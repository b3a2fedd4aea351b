"""What the tensors of a decoder are called in a checkpoint."""

from collections.abc import Collection
from dataclasses import dataclass

from tersor.errors import SourceError


@dataclass(frozen=True)
class DecoderNames:
    """Full names on disk. ``prefix``: of all that is in the decoder; empty for bare decoders.

    ``embedding``, ``final_norm`` and ``head`` are modules.
    """

    prefix: str
    embedding: str
    final_norm: str
    head: str

    def layer(self, index: int, name: str) -> str:
        """A module of a layer."""
        return f"{self.prefix}layers.{index}.{name}"


def decoder_names(
    path: object,
    tensors: Collection[str],
    *,
    first_norm: str = "input_layernorm",
    final_norm: str = "norm",
    embedding: str = "embed_tokens",
    heads: tuple[str, ...] = ("lm_head",),
) -> DecoderNames:
    """The names of the decoder among ``tensors``; ``path`` is for errors.

    Causal models call it ``model``, bare ones (of embedding models) nothing, and those with other
    parts ``language_model``. ``first_norm`` is one of a layer, ``final_norm`` and ``embedding``
    stand beside the layers, and ``heads`` outside. Raises :class:`SourceError` if there is no
    decoder or more than one.
    """
    first = f"layers.0.{first_norm}.weight"
    prefixes = [name.removesuffix(first) for name in tensors if name.endswith(first)]
    # Blocks that predict further tokens, and encoders, have no norm beside them.
    whole = [prefix for prefix in prefixes if f"{prefix}{final_norm}.weight" in tensors]
    if len(whole) != 1:
        found = "several decoders" if whole else "no decoder"
        raise SourceError(f"{path} holds {found} (…{first} and …{final_norm}.weight)")
    (prefix,) = whole
    *outer, last = prefix.removesuffix(".").split(".")
    parent = "".join(f"{part}." for part in outer) if last == "model" else ""
    candidates = [f"{parent}{head}" for head in heads]
    head = next((name for name in candidates if _has(tensors, name)), candidates[0])
    return DecoderNames(prefix, f"{prefix}{embedding}", f"{prefix}{final_norm}", head)


def _has(tensors: Collection[str], module: str) -> bool:
    return any(name.startswith(f"{module}.") for name in tensors)
