"""What is wrong with a model on disk, all of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.checkpoints.finite import is_finite
from tersor.checkpoints.mistaken import refuse_mistaken
from tersor.checkpoints.source import Source, shapes_of
from tersor.errors import TersorError
from tersor.formats import QUANTIZATION, known_formats
from tersor.models.in_transformers.sizes import check_sizes
from tersor.runtime.artifact import undecoded
from tersor.version import own_version


@dataclass(frozen=True)
class CheckResult:
    """``problems``: one sentence for each thing that is wrong; none: the model is sound.

    ``format``: empty if it is not quantized, or was not found out. ``tensors``: how many it holds.
    """

    path: Path
    format: str
    tensors: int
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "version": own_version(),
            "path": str(self.path),
            "format": self.format,
            "tensors": self.tensors,
            "sound": self.sound,
            "problems": list(self.problems),
        }


def check_model(path: Path) -> CheckResult:
    """Read everything at ``path`` once: headers, descriptions, every scale, code and value.

    Raises :class:`~tersor.errors.SourceError` for what is no model, by its name.
    """
    refuse_mistaken(path)
    checking = _Checking(path, [])
    try:
        container = known_formats().container_of(path)
        for problem in container.problems(path):
            checking.note(problem)
        if checking.problems:
            return CheckResult(path, "", 0, tuple(checking.problems))
        source = container.open(path)
        name = checking.all_of(source)
    except TersorError as error:
        checking.note(error)
        return CheckResult(path, "", 0, tuple(checking.problems))
    return CheckResult(path, name, len(source.tensors), tuple(checking.problems))


@dataclass(frozen=True)
class _Checking:
    path: Path
    problems: list[str]

    def note(self, error: TersorError) -> None:
        """Without the path, which every line is about."""
        self.problems.append(str(error).removeprefix(f"{self.path}: "))

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What the block raises becomes a line."""
        try:
            yield
        except TersorError as error:
            self.note(error)

    def all_of(self, source: Source) -> str:
        """Look at all of an opened model; the name of its format, empty if it is not quantized."""
        if QUANTIZATION not in source.config:
            self._values(source, list(source.tensors))
            with self.noting():
                check_sizes(self.path, source.config, shapes_of(source))
            return ""
        artifact = undecoded(source)
        for module in artifact.schemes:
            with self.noting():
                artifact.linear(module)
        self._values(source, artifact.plain_names())
        if not self.problems:
            with self.noting():
                check_sizes(self.path, source.config, artifact.shapes)
        return artifact.format.name

    def _values(self, source: Source, names: list[str]) -> None:
        for name in names:
            with self.noting():
                tensor = source.read([name])[name]
                if tensor.is_floating_point() and not is_finite(tensor):
                    self.problems.append(f"tensor {name} holds NaN or infinity")
