"""What the tensors of a decoder are called in a checkpoint."""

from collections.abc import Collection
from dataclasses import dataclass

from tersor.errors import SourceError

_FIRST = "layers.0.input_layernorm.weight"


@dataclass(frozen=True)
class DecoderNames:
    """Full names on disk. ``prefix``: of all that is in the decoder; empty for bare decoders."""

    prefix: str
    head: str

    @property
    def embedding(self) -> str:
        """The module of the embedding."""
        return f"{self.prefix}embed_tokens"

    @property
    def final_norm(self) -> str:
        """The module of the norm before the head."""
        return f"{self.prefix}norm"

    def layer(self, index: int, name: str) -> str:
        """A module of a layer."""
        return f"{self.prefix}layers.{index}.{name}"


def decoder_names(path: object, tensors: Collection[str]) -> DecoderNames:
    """The names of the decoder among ``tensors``; ``path`` is for errors.

    Causal models call it ``model``, bare ones (of embedding models) nothing, and those with other
    parts ``language_model``. Raises :class:`SourceError` if there is no decoder or more than one.
    """
    prefixes = [name.removesuffix(_FIRST) for name in tensors if name.endswith(_FIRST)]
    # Blocks that predict further tokens, and encoders, have no norm beside them.
    whole = [prefix for prefix in prefixes if f"{prefix}norm.weight" in tensors]
    if len(whole) != 1:
        found = "several decoders" if whole else "no decoder"
        raise SourceError(
            f"{path} holds {found} (…layers.0.input_layernorm.weight and …norm.weight)"
        )
    (prefix,) = whole
    *outer, last = prefix.removesuffix(".").split(".")
    parent = "".join(f"{part}." for part in outer) if last == "model" else ""
    return DecoderNames(prefix, f"{parent}lm_head")
