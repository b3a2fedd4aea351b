"""Pickled weights (``pytorch_model*.bin``), only on request and only tensors.

``torch.load(weights_only=True)`` accepts no classes but tensors and plain containers, so nothing
in the file is called. Files older than torch 1.6 cannot be mapped and are read whole.
"""

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.files import reading, refuse_lfs_pointer
from tersor.checkpoints.huggingface.companions import copy_companions
from tersor.checkpoints.huggingface.directory import PICKLED_INDEX as INDEX
from tersor.checkpoints.huggingface.directory import PICKLED_SINGLE as SINGLE
from tersor.checkpoints.huggingface.shards import check_shard, read_index
from tersor.checkpoints.source import TensorInfo, block_order, unknown_tensor
from tersor.errors import SourceError, UnsafeSource


class PickledDirectory:
    """A ``Source`` over ``pytorch_model.bin`` or its shards."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config
        self._files = _single(path) if (path / SINGLE).exists() else _sharded(path)
        infos = {
            name: TensorInfo(name, tensor.dtype, tuple(tensor.shape))
            for file in sorted(set(self._files.values()))
            for name, tensor in load_pickle(file).items()
        }
        self.tensors = {name: infos[name] for name in block_order(infos)}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The named tensors, copied out of the mapped file: see ``Source.read``."""
        wanted = list(names)
        for name in wanted:
            if name not in self._files:
                raise unknown_tensor(self.path, name)
        found: dict[str, Tensor] = {}
        for file in sorted({self._files[name] for name in wanted}):
            tensors = load_pickle(file)
            # A copy, because a view would keep the whole file mapped.
            here = [name for name in wanted if self._files[name] == file]
            found |= {
                name: tensors[name].clone(memory_format=torch.contiguous_format) for name in here
            }
        return {name: found[name] for name in wanted}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """Copy what is neither weights nor ``config.json``: see ``Source.copy_companions``."""
        return copy_companions(self.path, directory, self.config)


def load_pickle(path: Path) -> dict[str, Tensor]:
    """The state dictionary in a pickled file, mapped where its format allows.

    Raises:
        UnsafeSource: it holds anything that ``weights_only`` does not allow.
        SourceError: corrupt, or not a flat dictionary of tensors.
    """
    refuse_lfs_pointer(path)
    try:
        with reading(path):
            mapped = zipfile.is_zipfile(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise UnsafeSource(
            f"{path}: holds more than tensors and could run code; it is refused even with "
            "--allow-pickle, convert it to safetensors where you trust it"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SourceError(f"{path}: not a sound pickle of weights; download it again") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise SourceError(f"{path}: not a flat dictionary of tensors; convert it to safetensors")
    return state


def _single(path: Path) -> dict[str, Path]:
    file = path / SINGLE
    return dict.fromkeys(load_pickle(file), file)


def _sharded(path: Path) -> dict[str, Path]:
    index = read_index(path / INDEX)
    for shard in sorted(set(index.values())):
        check_shard(path / INDEX, index, shard, load_pickle(path / shard))
    return {name: path / shard for name, shard in index.items()}
