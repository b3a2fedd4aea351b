"""Tokens per second of an artifact, for a study."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tersor.errors import TersorError
from tersor.machine.cores import cores
from tersor.machine.instructions import level
from tersor.machine.processor import processor
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.measuring.bench import Timing, time_engine


@dataclass(frozen=True)
class Rates:
    """Tokens per second of a prompt and of what follows, or ``why_not``."""

    prefill: float | None
    decode: float | None
    why_not: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"prefill": self.prefill, "decode": self.decode, "why_not": self.why_not}


def rates_of(
    directory: Path, timing: Timing, progress: Callable[[int, int], None] | None = None
) -> Rates:
    """Medians, by the engine. What it does not run has the reason instead."""
    try:
        engine = EngineOptions(context=timing.context).open(directory)
        found = time_engine(engine, timing, progress)
    except TersorError as error:
        return Rates(None, None, str(error))
    return Rates(median(found.prefill), median(found.decode))


def conditions() -> list[Any]:
    """What rates depend on besides the artifact: processor, kernels, and how many cores."""
    return [processor(), level(), cores()]
