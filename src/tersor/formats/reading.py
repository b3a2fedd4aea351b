"""Which engines read an artifact, and what to choose where one does not."""

from collections.abc import Iterable
from dataclasses import dataclass

ON_GPUS, ON_CPUS, SGLANG = "vLLM on GPUs", "vLLM on CPUs", "SGLang"
ENGINES = (ON_GPUS, ON_CPUS, SGLANG)
"""Those that are asked about besides tersor and transformers."""


@dataclass(frozen=True)
class Reading:
    """Whether an engine reads an artifact.

    ``reason``: why it does not, empty if it does; ``instead``: what it reads near to it.
    ``condition``: what has to be given where it does.
    """

    engine: str
    reason: str = ""
    instead: str = ""
    condition: str = ""

    @property
    def reads(self) -> bool:
        """Whether it does."""
        return not self.reason

    def to_dict(self) -> dict[str, str | bool]:
        """Plain JSON types; what is empty is left out."""
        said = {"condition": self.condition, "reason": self.reason, "instead": self.instead}
        told = {key: value for key, value in said.items() if value}
        return {"engine": self.engine, "reads": self.reads, **told}

    def __str__(self) -> str:
        if self.reads:
            return self.engine + (f" ({self.condition})" if self.condition else "")
        return f"not {self.engine}: {self.reason}" + (f"; {self.instead}" if self.instead else "")


def readings_line(found: Iterable[Reading]) -> str:
    """One line: those that read it first, then the others, together where the reason is one."""
    reads: list[str] = []
    others: dict[tuple[str, str], list[str]] = {}
    for one in found:
        if one.reads:
            reads.append(str(one))
        else:
            others.setdefault((one.reason, one.instead), []).append(one.engine)
    refused = (
        str(Reading(", ".join(engines), reason, instead))
        for (reason, instead), engines in others.items()
    )
    return "; ".join([", ".join(reads), *refused])
