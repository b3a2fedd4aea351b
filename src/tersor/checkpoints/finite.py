"""Refusing NaN and infinity by name, wherever the tensor goes: rounded, copied or calibrated on."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.source import Source
from tersor.errors import NonFiniteWeight


class FiniteSource:
    """A ``Source`` that looks at every tensor when it is first read.

    Masks are no weights and may hold −∞: see :func:`is_mask`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sound: set[str] = set()
        self.path: Path = source.path
        self.config: Mapping[str, Any] = source.config
        self.tensors = source.tensors
        self.notes: tuple[str, ...] = getattr(source, "notes", ())

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See ``Source.read``; raises :class:`NonFiniteWeight` too."""
        found = self._source.read(names)
        for name, tensor in found.items():
            if name in self._sound:
                continue
            if not is_finite(tensor) and not is_mask(name, tensor, self.tensors):
                raise NonFiniteWeight(
                    f"{self.path}: tensor {name!r} holds NaN or infinity; "
                    "download the checkpoint again"
                )
            self._sound.add(name)
        return found

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """See ``Source.copy_companions``."""
        return self._source.copy_companions(directory)


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor of any type is free of NaN and infinity."""
    if not tensor.numel() or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    if tensor.is_complex() or tensor.dtype.itemsize == 1:
        return bool(tensor.to(torch.complex64).isfinite().all())
    # One pass without a second tensor; NaN is the smallest and the largest.
    low, high = tensor.aminmax()
    return bool(low.isfinite() & high.isfinite())


def is_mask(name: str, tensor: Tensor, names: Collection[str]) -> bool:
    """Whether a tensor that is not finite is a mask of attention that somebody stored.

    Values tell: nothing but −∞ and one other. No name of a weight must say otherwise, which are
    ``….weight`` and the ``….bias`` of a module with a weight (GPT-2's mask is a ``bias`` without
    one): a bias all of −∞ is damage.
    """
    module, _, leaf = name.rpartition(".")
    if leaf == "weight" or (leaf == "bias" and f"{module}.weight" in names):
        return False
    others = tensor[~tensor.isneginf()]
    return not others.numel() or bool((others == others[0]).all() & others[0].isfinite())
