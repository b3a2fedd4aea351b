"""Hugging Face directories: ``config.json`` and safetensors, in one file or in shards."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tersor.checkpoints.adapters.settings import ADAPTER_CONFIG, refuse_adapter
from tersor.checkpoints.files import read_json
from tersor.checkpoints.huggingface.companions import copy_companions, refuse_pointers
from tersor.checkpoints.huggingface.config_fields import check_fields
from tersor.checkpoints.huggingface.mlx_config import with_method
from tersor.checkpoints.huggingface.safetensors_file import Infos, StoredTensor, read_header
from tersor.checkpoints.huggingface.shards import check_shard, read_index
from tersor.checkpoints.mistaken import refuse_mistaken
from tersor.checkpoints.source import Source, TensorInfo, block_order, unknown_tensor
from tersor.errors import SourceError, UnsafeSource

if TYPE_CHECKING:
    from torch import Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED_SINGLE = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"


class SafetensorsDirectory:
    """A ``Source`` over ``model.safetensors`` or its shards. Shards may be symbolic links.

    ``stored``: where every tensor lies, in block order. ``notes``: what lies beside the weights
    that are read and looks like weights too. Values of ``tensors`` and ``read`` need torch.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config
        stored = _single(path) if (path / SINGLE).exists() else _sharded(path)
        both = (path / SINGLE).exists() and (path / INDEX).exists()
        # transformers takes the single file as well.
        self.notes = (f"{SINGLE} is read; {INDEX} beside it is not",) if both else ()
        self.stored = {name: stored[name] for name in block_order(stored)}

        self.tensors: Mapping[str, TensorInfo] = Infos(self.stored)

    def read(self, names: Iterable[str]) -> "dict[str, Tensor]":
        """The named tensors, each mapped by itself: see ``Source.read``."""
        return {name: self.find(name).tensor() for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """Copy what is neither weights nor ``config.json``: see ``Source.copy_companions``."""
        return copy_companions(self.path, directory, self.config)

    def floats(self, name: str) -> NDArray[Any] | None:
        """See :class:`~tersor.checkpoints.source.FloatSource`."""
        return self.find(name).floats()

    def find(self, name: str) -> StoredTensor:
        """One of ``stored``. Raises :class:`SourceError` for an unknown name."""
        if name not in self.stored:
            raise unknown_tensor(self.path, name)
        return self.stored[name]


def open_directory(path: Path, *, allow_pickle: bool = False) -> Source:
    """Open a directory by what it holds; safetensors win over pickled weights.

    Raises:
        UnsafeSource: only pickled weights, and no ``allow_pickle``; an index that leaves ``path``.
        SourceError: no or corrupt ``config.json``, no weights, corrupt weights, an adapter, or no
            model directory at all (``mistaken``).
    """
    refuse_mistaken(path)
    refuse_adapter(path)
    return _as_stored(path, allow_pickle)


def open_published(path: Path, *, allow_pickle: bool = False) -> Source:
    """:func:`open_directory`; what is published in FP8 or MXFP4 is dequantized while it is read."""
    from tersor.checkpoints.published.reading import as_published

    return as_published(open_directory(path, allow_pickle=allow_pickle))


def open_merged(path: Path, *, allow_pickle: bool = False) -> Source:
    """:func:`open_published` with the adapter in the directory merged into its weights.

    Raises:
        UnsafeSource: pickled weights of the adapter too.
        SourceError: no adapter, or one that cannot be merged.
    """
    from tersor.checkpoints.adapters.merging import merged
    from tersor.checkpoints.published.reading import as_published

    if path.is_file():
        raise SourceError(
            f"{path}: a file, so no adapter lies beside the weights; leave out --merge-adapter"
        )
    refuse_mistaken(path)
    if not (path / ADAPTER_CONFIG).exists():
        raise SourceError(f"{path}: holds no {ADAPTER_CONFIG}; leave out --merge-adapter")
    return merged(as_published(_as_stored(path, allow_pickle)))


def _as_stored(path: Path, allow_pickle: bool) -> Source:
    config = with_method(read_json(path / "config.json"))
    check_fields(path / "config.json", config)
    refuse_pointers(path)
    _refuse_other_weights(path, config)
    if (path / SINGLE).exists() or (path / INDEX).exists():
        return SafetensorsDirectory(path, config)
    pickled = PICKLED_SINGLE if (path / PICKLED_SINGLE).exists() else PICKLED_INDEX
    if not allow_pickle:
        raise UnsafeSource(
            f"{path / pickled}: pickled weights can run code while loading; "
            "convert them to safetensors, or pass --allow-pickle if you trust their origin"
        )
    from tersor.checkpoints.huggingface.pickled import PickledDirectory

    return PickledDirectory(path, config)


def _refuse_other_weights(path: Path, config: Mapping[str, Any]) -> None:
    """``transformers_weights`` of a config names the file that transformers reads."""
    named = config.get("transformers_weights")
    read = SINGLE if (path / SINGLE).exists() else INDEX
    is_file = isinstance(named, str) and named.endswith((".safetensors", ".index.json"))
    if is_file and named != read:
        raise SourceError(
            f"{path / 'config.json'}: transformers_weights names {named!r}, and tersor reads "
            f"{read}; put a directory together in which the weights have that name"
        )


def _single(path: Path) -> dict[str, StoredTensor]:
    stored = read_header(path / SINGLE)
    if not stored:
        raise SourceError(f"{path / SINGLE}: holds no tensors; download it again")
    return stored


def _sharded(path: Path) -> dict[str, StoredTensor]:
    index = read_index(path / INDEX)
    stored: dict[str, StoredTensor] = {}
    for shard in sorted(set(index.values())):
        header = read_header(path / shard)
        check_shard(path / INDEX, index, shard, header)
        stored |= header
    return stored
