"""The format as a value."""

from dataclasses import dataclass
from typing import ClassVar

from tersor.formats.kinds.gptq.format import GptqFormat
from tersor.formats.kinds.gptq.settings import V2


@dataclass(frozen=True)
class GptqV2Format(GptqFormat):
    """See :class:`~tersor.formats.kinds.gptq.format.GptqFormat`."""

    name: ClassVar[str] = "gptq-v2"

    @property
    def method(self) -> str:
        """As the first version."""
        return GptqFormat.name


FORMAT = GptqV2Format(V2)
