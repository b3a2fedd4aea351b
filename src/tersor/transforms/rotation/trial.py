"""A rotation tried on the tiny model in which a family without a table was looked at."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tersor.checkpoints.source import Source, TensorInfo
from tersor.errors import SourceError
from tersor.models.probing import Probe, tiny_logits

_EQUAL = 1e-4


@dataclass(frozen=True, eq=False)
class TinySource:
    """The tiny model as a ``Source``; ``path`` is that of the checkpoint, for messages."""

    path: Path
    found: Probe

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """See ``Source.tensors``; without a second name for a tied head."""
        named = self.found.model.named_parameters()
        return {name: TensorInfo(name, torch.float32, tuple(p.shape)) for name, p in named}

    @property
    def config(self) -> Mapping[str, Any]:
        """What a rotation looks at."""
        return {"tie_word_embeddings": self.found.tiny.tied}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See ``Source.read``; fp64."""
        parameters = dict(self.found.model.named_parameters())
        return {name: parameters[name].detach() for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """Nothing to copy."""
        del directory
        return ()


def refuse_another_function(tiny: TinySource, turned: Source) -> None:
    """Raise :class:`SourceError` if the ``turned`` tiny model computes something else."""
    model = copy.deepcopy(tiny.found.model)
    expected = tiny_logits(model)
    for name, tensor in turned.read(turned.tensors).items():
        owner, _, leaf = name.rpartition(".")
        setattr(
            model.get_submodule(owner), leaf, nn.Parameter(tensor.double(), requires_grad=False)
        )
    error = (tiny_logits(model) - expected).abs().max() / expected.abs().max()
    if not bool(error <= _EQUAL):  # true for what is not a number as well
        raise SourceError(
            f"{tiny.path}: a rotation changes what a small random {tiny.found.tiny.model_type} "
            f"computes (logits by {float(error):.1e}); choose a recipe without a rotation, or "
            "rotate the values only (residual: false)"
        )
