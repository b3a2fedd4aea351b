"""Biases of zero for linears that have none, where the architecture can carry them.

Bias correction needs a bias to put the correction into. Some architectures have a switch in
``config.json`` that gives their linears one; the checkpoint is then read as if the switch were on
and every bias 0, which is the same function. Which switches do that is tried on a tiny model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.source import Source, TensorInfo, block_order
from tersor.families.blocks import canonical
from tersor.models.describing import describe
from tersor.models.probing import bias_switches


class BiasedSource:
    """A ``Source`` with biases of zero that the checkpoint does not have.

    ``original``: the source. ``notes``: its own, and that there are biases now. ``untied``: its.
    """

    def __init__(
        self, source: Source, switches: Iterable[str], biases: Mapping[str, TensorInfo]
    ) -> None:
        self.original, self._biases = source, dict(biases)
        everything = {**source.tensors, **biases}
        self.path = source.path
        self.config: Mapping[str, Any] = _switched(source.config, switches)
        self.tensors = {name: everything[name] for name in block_order(everything)}
        inner: tuple[str, ...] = getattr(source, "notes", ())
        added = f"{', '.join(switches)} in config.json: biases were added to be corrected"
        self.notes = (*inner, added)
        self.untied: TensorInfo | None = getattr(source, "untied", None)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See ``Source.read``."""
        return {name: self._read(name) for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """See ``Source.copy_companions``."""
        return self.original.copy_companions(directory)

    def _read(self, name: str) -> Tensor:
        info = self._biases.get(name)
        if info is None:
            return self.original.read([name])[name]
        return torch.zeros(info.shape, dtype=info.dtype)


def with_biases(source: Source) -> Source:
    """``source`` with a bias for every linear that its architecture can give one.

    The source itself where there is nothing to add. Reads nothing.
    """
    shapes = {name: info.shape for name, info in source.tensors.items()}
    architecture = describe(source.config, shapes)
    switches = bias_switches(architecture, source.config, shapes)
    given = {linear for names in switches.values() for linear in names}
    biases: dict[str, TensorInfo] = {}
    for name, info in source.tensors.items():
        block, relative = architecture.split(name)
        bias = f"{name.removesuffix('.weight')}.bias"
        if block is not None and canonical(relative) in given and name.endswith(".weight"):
            biases[bias] = replace(info, name=bias, shape=info.shape[:1])
    return BiasedSource(source, tuple(switches), biases) if biases else source


def _switched(config: Mapping[str, Any], switches: Iterable[str]) -> Mapping[str, Any]:
    on = dict.fromkeys(switches, True)
    if isinstance(config.get("text_config"), Mapping):
        return {**config, "text_config": {**config["text_config"], **on}}
    return {**config, **on}
