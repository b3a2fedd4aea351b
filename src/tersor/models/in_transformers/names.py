"""Names on disk ⇄ parameters in memory, by transformers' own conversion.

transformers keeps a list of renamings and conversions for every model type: experts that lie on
disk one by one are stacked in memory, modules are called otherwise. Whatever reads a checkpoint by
name has to go through it. What depends on the version of transformers is here and in ``metamodel``.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Slot:
    """Where a tensor on disk lies in a parameter: all of it, or part of one expert.

    With ``expert`` the parameter is ``(experts, parts·rows, …)`` and the tensor its rows
    ``part·rows … (part+1)·rows`` of that expert.
    """

    parameter: str
    expert: int | None = None
    part: int = 0
    parts: int = 1

    def view(self, tensor: Tensor) -> Tensor:
        """The tensor on disk as a view of the parameter, or of something shaped like it."""
        if self.expert is None:
            return tensor
        rows = tensor.shape[1] // self.parts
        return tensor[self.expert, self.part * rows : (self.part + 1) * rows]


class Names:
    """The correspondence for one model and the names of one checkpoint."""

    def __init__(self, model: nn.Module, on_disk: Iterable[str]) -> None:
        """``model``: as transformers builds it; may be on the meta device."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, dot_natural_key

        self._model: Any = model
        transforms = get_model_conversion_mapping(self._model)
        self._converters = [t for t in transforms if isinstance(t, WeightConverter)]
        self._renamings = [t for t in transforms if not isinstance(t, WeightConverter)]
        self._by_pattern = {p: c for c in self._converters for p in c.source_patterns}
        self._state = model.state_dict()
        self._sources: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
        for name in sorted(on_disk, key=dot_natural_key):
            target, pattern = self._renamed(name)
            if target in self._state:
                self._sources[target].append((name, pattern))
        self.slots = self._slots()
        """Name on disk → slot, of every tensor that becomes a parameter as it is, or an expert's
        part of one."""

    def parameter(self, name: str) -> Tensor:
        """A parameter or buffer of the model, by its name in memory."""
        found: Tensor = self._state[name]
        return found

    def targets(self) -> Mapping[str, list[str]]:
        """First parameter that is made → names on disk that it is made of."""
        return {t: [name for name, _ in found] for t, found in self._sources.items()}

    def assembled(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors on disk → parameters in memory. Empties ``tensors`` on the way.

        Everything that a parameter is made of must be there; what becomes no parameter is left.
        """
        from transformers.core_model_loading import WeightRenaming

        made: dict[str, Tensor] = {}
        for target, sources in self._sources.items():
            if not any(name in tensors for name, _ in sources):
                continue
            pattern = sources[0][1]
            transform = (
                WeightRenaming(sources[0][0], target)
                if pattern is None
                else deepcopy(self._by_pattern[pattern])
            )
            for name, matched in sources:
                if name in tensors:
                    transform.add_tensor(target, name, matched or name, tensors.pop(name))
            found = transform.convert(target, model=self._model, config=self._model.config)
            for name, tensor in found.items():
                made[name] = tensor[0] if isinstance(tensor, list) else tensor
        return made

    def changed(self) -> list[str]:
        """Tensors on disk that become no parameter as they are, nor an expert's part of one."""
        return [
            name
            for sources in self._sources.values()
            for name, _ in sources
            if name not in self.slots
        ]

    def expert_patterns(self, parameter: str) -> tuple[str, ...]:
        """How single experts of a stacked parameter are named on disk, with ``*`` for the number.

        Full names without ``.weight``, in the order of the parts; empty if nobody names them.
        """
        for converter in self._converters:
            if len(converter.target_patterns) != 1 or not self._merges(converter):
                continue
            end = converter.target_patterns[0]
            if parameter.endswith(end):
                start = parameter.removesuffix(end)
                return tuple(
                    start + _literal(p).removesuffix(".weight") for p in converter.source_patterns
                )
        return ()

    def _renamed(self, name: str) -> tuple[str, str | None]:
        from transformers.core_model_loading import rename_source_key

        prefix = self._model.base_model_prefix
        found: tuple[str, str | None] = rename_source_key(
            name, self._renamings, self._converters, prefix, self._state
        )
        if found[0] not in self._state and name in self._state:
            # It should not have been renamed, but a prefix may be missing.
            found = rename_source_key(name, [], [], prefix, self._state)
        return found

    def _slots(self) -> dict[str, Slot]:
        slots: dict[str, Slot] = {}
        for target, sources in self._sources.items():
            for name, pattern in sources:
                if pattern is None:
                    slots[name] = Slot(target)
                elif self._merges(converter := self._by_pattern[pattern]):
                    alike = [other for other, matched in sources if matched == pattern]
                    patterns = list(converter.source_patterns)
                    slots[name] = Slot(
                        target, alike.index(name), patterns.index(pattern), len(patterns)
                    )
        return slots

    @staticmethod
    def _merges(converter: Any) -> bool:
        """Whether a conversion stacks experts, and puts their parts one below the other."""
        from transformers.core_model_loading import Concatenate, MergeModulelist

        first, *rest = converter.operations
        if not isinstance(first, MergeModulelist) or first.dim != 0:
            return False
        if len(converter.source_patterns) == 1:
            return not rest
        return len(rest) == 1 and isinstance(rest[0], Concatenate) and rest[0].dim == 1


def _literal(pattern: str) -> str:
    """A pattern of transformers as the text that it stands for."""
    return pattern.replace("\\.", ".")
