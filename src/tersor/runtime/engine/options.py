"""How an engine is made: every option checked before a file is opened."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tersor.options import limits

if TYPE_CHECKING:
    from tersor.runtime.engine.engine import Engine


@dataclass(frozen=True)
class EngineOptions:
    """How an :class:`~tersor.runtime.engine.engine.Engine` is made; see there.

    Raises :class:`~tersor.errors.OptionError`.
    """

    activation_bits: int = 8
    cache: str = "auto"
    context: int | None = None
    threads: int | None = None
    dense_bits: int | None = None

    def __post_init__(self) -> None:
        checked = {
            "activation_bits": limits.ACTIVATION_BITS(self.activation_bits),
            "cache": limits.CACHE(self.cache),
            "context": limits.CONTEXT.or_none(self.context),
            "threads": limits.THREADS.or_none(self.threads),
            "dense_bits": limits.DENSE_BITS.or_none(self.dense_bits),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def open(self, directory: str | Path, *, batch: int = 1) -> "Engine":
        """The engine of a model directory."""
        from tersor.runtime.engine.engine import Engine

        return Engine(
            directory,
            activation_bits=self.activation_bits,
            cache=self.cache,
            context=self.context,
            batch=batch,
            threads=self.threads,
            dense_bits=self.dense_bits,
        )

    def changed(self) -> list[str]:
        """The options that are not as they are by default."""
        return [f.name for f in fields(self) if getattr(self, f.name) != f.default]
