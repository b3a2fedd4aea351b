"""Biases of zero for linears that have none, where the architecture can carry them.

Bias correction needs a bias to put the correction into. Some architectures have a switch in
``config.json`` that gives their linears one; the checkpoint is then read as if the switch were on
and every bias 0, which is the same function.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.source import Source, TensorInfo, block_order
from tersor.models.architecture import describe

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")
# Keys of config.json by model_type, and the linears to which each gives a bias.
_Switches = dict[str, tuple[str, ...]]
_ATTENTION_ONLY: _Switches = {"attention_bias": _ATTENTION}
_BOTH: _Switches = {"attention_bias": _ATTENTION, "mlp_bias": _MLP}
_SWITCHES: dict[str, _Switches] = {
    "llama": _BOTH,
    "granite": _BOTH,
    "qwen3": _ATTENTION_ONLY,
    "gemma": _ATTENTION_ONLY,
    "gemma2": _ATTENTION_ONLY,
    "gemma3_text": _ATTENTION_ONLY,
    "olmo2": _ATTENTION_ONLY,
}


class BiasedSource:
    """A ``Source`` with biases of zero that the checkpoint does not have.

    ``notes``: those of the source, and that there are biases now.
    """

    def __init__(
        self, source: Source, switches: Iterable[str], biases: Mapping[str, TensorInfo]
    ) -> None:
        self._source, self._biases = source, dict(biases)
        everything = {**source.tensors, **biases}
        self.path = source.path
        self.config: Mapping[str, Any] = {**source.config, **dict.fromkeys(switches, True)}
        self.tensors = {name: everything[name] for name in block_order(everything)}
        inner: tuple[str, ...] = getattr(source, "notes", ())
        added = f"{', '.join(switches)} in config.json: biases were added to be corrected"
        self.notes = (*inner, added)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See ``Source.read``."""
        return {name: self._read(name) for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """See ``Source.copy_companions``."""
        return self._source.copy_companions(directory)

    def _read(self, name: str) -> Tensor:
        info = self._biases.get(name)
        if info is None:
            return self._source.read([name])[name]
        return torch.zeros(info.shape, dtype=info.dtype)


def with_biases(source: Source) -> Source:
    """``source`` with a bias for every linear that its architecture can give one.

    The source itself where there is nothing to add. Reads nothing.
    """
    switches = _SWITCHES.get(str(source.config.get("model_type", "")), {})
    off = {key: names for key, names in switches.items() if not source.config.get(key)}
    shapes = {name: info.shape for name, info in source.tensors.items()}
    architecture = describe(source.config, shapes)
    biases: dict[str, TensorInfo] = {}
    for name, info in source.tensors.items():
        leaf = name.removesuffix(".weight").rpartition(".")[2]
        inside = architecture.block_of(name) is not None
        if inside and any(leaf in names for names in off.values()):
            bias = f"{name.removesuffix('.weight')}.bias"
            biases[bias] = replace(info, name=bias, shape=info.shape[:1])
    return BiasedSource(source, tuple(off), biases) if biases else source
