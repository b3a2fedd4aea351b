"""Where tensors lie: inside the file, aligned, none on another one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor
from tersor.errors import SourceError


@dataclass(frozen=True)
class Placing:
    """Where tensors lie; what is wrong with that becomes ``problems``."""

    path: Path
    alignment: int
    problems: list[SourceError]

    def inside(self, infos: Sequence[GGUFTensor], start: int, size: int) -> dict[str, GGUFTensor]:
        """By name, those that lie in the file, by themselves, with offsets from its beginning."""
        found: dict[str, GGUFTensor] = {}
        for info in infos:
            end = start + info.offset + info.nbytes
            if info.name in found:
                self._note(f"holds the tensor {info.name!r} twice")
            elif end > size:
                self._note(
                    f"tensor {info.name!r} ends at byte {end} of {size}: "
                    "the file is truncated, download it again"
                )
            else:
                found[info.name] = info
        wrong = self._misplaced(found.values())
        return {
            name: replace(info, offset=start + info.offset)
            for name, info in found.items()
            if name not in wrong
        }

    def _misplaced(self, infos: Iterable[GGUFTensor]) -> set[str]:
        """Every tensor begins at a multiple of the alignment, behind those before it."""
        wrong: set[str] = set()
        end, last = 0, ""
        for tensor in sorted(infos, key=lambda one: one.offset):
            problems = len(self.problems)
            if tensor.offset % self.alignment:
                self._note(
                    f"tensor {tensor.name!r} begins at byte {tensor.offset}, no multiple of "
                    f"{self.alignment}; do not trust this file"
                )
            if tensor.offset < end:
                self._note(f"tensor {tensor.name!r} overlaps {last!r}; do not trust this file")
            if len(self.problems) > problems:
                wrong.add(tensor.name)
            if tensor.offset + tensor.nbytes > end:
                end, last = tensor.offset + tensor.nbytes, tensor.name
        return wrong

    def _note(self, said: str) -> None:
        self.problems.append(SourceError(f"{self.path}: {said}"))
