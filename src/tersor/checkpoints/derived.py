"""A source some of whose tensors are computed from those of another source while they are read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tersor.checkpoints.finite import is_finite
from tersor.checkpoints.source import Source, TensorInfo, block_order, unknown_tensor
from tersor.errors import NonFiniteWeight

Reader = Callable[[str], Tensor]


@dataclass(frozen=True)
class Derived:
    """A tensor that looks like ``info`` and is what ``compute`` makes of the source's tensors."""

    info: TensorInfo
    compute: Callable[[Reader], Tensor]


class DerivedSource:
    """A ``Source`` with ``derived`` tensors beside, or in the place of, those of ``source``.

    ``hidden``: names of ``source`` that it does not hold. ``notes``: those of ``source``, and
    ``note``. One tensor is computed at a time; one that is not finite is refused by name.
    """

    def __init__(
        self,
        source: Source,
        derived: Mapping[str, Derived],
        *,
        hidden: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._source, self._derived = source, dict(derived)
        without = set(hidden)
        held = {name: info for name, info in source.tensors.items() if name not in without}
        held |= {name: tensor.info for name, tensor in derived.items()}
        self.path: Path = source.path
        self.config: Mapping[str, Any] = source.config if config is None else config
        self.tensors = {name: held[name] for name in block_order(held)}
        inner: tuple[str, ...] = getattr(source, "notes", ())
        self.notes = (*inner, *notes)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See ``Source.read``; raises :class:`NonFiniteWeight` too."""
        return {name: self._read(name) for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """See ``Source.copy_companions``."""
        return self._source.copy_companions(directory)

    def _read(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise unknown_tensor(self.path, name)
        derived = self._derived.get(name)
        if derived is None:
            return self._original(name)
        made = derived.compute(self._original)
        if not is_finite(made):
            raise NonFiniteWeight(
                f"{self.path}: tensor {name!r} holds NaN or infinity; download the checkpoint again"
            )
        return made

    def _original(self, name: str) -> Tensor:
        return self._source.read([name])[name]
