"""What a source of weights is, whatever its format."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tersor.errors import SourceError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True)
class TensorInfo:
    """Name, dtype and shape of one stored tensor."""

    name: str
    dtype: "torch.dtype"
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return prod(self.shape) * self.dtype.itemsize


class Source(Protocol):
    """A model that can be read tensor by tensor, under its Hugging Face names.

    Opening reads headers only.
    """

    @property
    def path(self) -> Path:
        """The directory or GGUF file."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """``config.json`` as a dictionary; for GGUF rebuilt from the metadata."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Everything the checkpoint holds, in block order (``block_order``)."""
        ...

    def read(self, names: Iterable[str]) -> "dict[str, Tensor]":
        """The named tensors, as ``tensors`` describes them.

        Memory is held, or pages stay mapped, only while the tensor itself lives: each can be let
        go separately.

        Raises:
            SourceError: an unknown name, or a file that changed since it was opened.
        """
        ...

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """Put tokenizer, generation config, chat template and the like into ``directory``.

        Never weights and never ``config.json``. Returns the file names, relative to ``directory``.

        Raises:
            SourceError: a companion that cannot be read or rebuilt.
            OutputError: disk full, no permission.
        """
        ...


@runtime_checkable
class FloatSource(Source, Protocol):
    """A source whose values need no torch."""

    def floats(self, name: str) -> "NDArray[Any] | None":
        """A tensor in float32, or as uint16 the bits of bfloat16; ``None`` for other types.

        Mapped if possible. Raises as :meth:`read`.
        """
        ...


def shapes_of(source: Source) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of ``source``, by its name."""
    return {name: info.shape for name, info in source.tensors.items()}


def refuse_quantized(source: Source) -> None:
    """Refuse weights that are quantized already: rounding twice loses more than once.

    Raises:
        SourceError: the config has a ``quantization_config`` or ``compression_config``.
    """
    for part in (source.config, source.config.get("text_config")):
        if not isinstance(part, Mapping):
            continue
        for key in ("quantization_config", "compression_config"):
            if part.get(key):
                settings = part[key]
                method = settings.get("quant_method") if isinstance(settings, Mapping) else None
                raise SourceError(
                    f"{source.path}: already quantized ({method or key} in config.json); "
                    "give the original model"
                )


# Tensors outside the blocks that are used before all blocks, and after everything else.
_BEFORE_BLOCKS = (
    "embed_tokens", "embed_in", "embed_positions", "embeddings", "project_in", "wte", "wpe",
)  # fmt: skip
_LAST = ("lm_head", "embed_out", "score")


def block_order(names: Iterable[str]) -> list[str]:
    """Sort names the way a model runs: embeddings, block 0, 1, …, 10, …, final norm, head.

    A file stores them by alignment and alphabet (``layers.10`` before ``layers.2``, ``lm_head``
    first), which would keep the shards of a streamed result open until the end.
    """
    return sorted(names, key=_order)


def _order(name: str) -> tuple[int, str, int, tuple[tuple[int, int, str], ...]]:
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    if number is not None:
        return 1, ".".join(parts[:number]), int(parts[number]), _natural(parts[number + 1 :])
    if any(part in _BEFORE_BLOCKS for part in parts):
        return 0, "", 0, _natural(parts)
    return (3 if parts[0] in _LAST else 2), "", 0, _natural(parts)


def _natural(parts: list[str]) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def is_embedding(name: str) -> bool:
    """Whether a tensor is used before all blocks."""
    return any(part in _BEFORE_BLOCKS for part in name.split("."))


def is_head(name: str) -> bool:
    """Whether a tensor is used after everything else."""
    return any(part in _LAST for part in name.split("."))


def unknown_tensor(path: Path, name: str) -> SourceError:
    """The error for a name the source does not hold."""
    return SourceError(f"{path}: holds no tensor named {name!r}")
