"""The artifacts of a study, each made once."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tersor.calibration.text import open_text
from tersor.checkpoints.source import Source
from tersor.machine.instructions import level
from tersor.pipeline.planning import Plan
from tersor.pipeline.quantize import quantize_to
from tersor.pipeline.result import QuantizeResult
from tersor.pipeline.studies.keeping import Kept, key_of
from tersor.version import code_digest, versions

Watch = Callable[[str], Callable[[int, int], None] | None]
"""Given the name of a piece of work, returns the progress callback for it."""


@dataclass(frozen=True)
class Made:
    """An artifact in ``directory``; ``bytes`` of all tensors, ``seconds`` of quantizing.

    ``made_with``: digests, and what was read; ``calibrated``: a line for each text.
    """

    directory: Path
    bytes: int
    seconds: float
    made_with: Mapping[str, Any]
    calibrated: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the directory."""
        values = asdict(self) | {"calibrated": list(self.calibrated)}
        del values["directory"]
        return values


@dataclass(frozen=True)
class Quantizing:
    """``of_source``: gives the key of the model. What ``kept`` knows of is not made again."""

    of_source: Callable[[], str]
    out: Path
    kept: Kept
    calibration: Sequence[Path]
    force: bool
    watch: Watch

    def key(self, plan: Plan) -> str:
        """Of all that the artifact depends on."""
        recipe, texts = plan.recipe, []
        if recipe.needs_calibration:
            texts = [open_text(path).identity.sha256 for path in self.calibration]
        steps = recipe.to_dict() | {"description": ""}
        made_by = (level(), versions(), code_digest())
        return key_of("artifact", self.of_source(), steps, texts, plan.format, *made_by)

    def before(self, plan: Plan, key: str) -> Made | None:
        """The artifact of an earlier run, if it is there and no file of it has changed."""
        directory = self.out / plan.recipe.name
        said = self.kept.directory(key, directory)
        if said is None:
            return None
        return Made(directory, **(dict(said) | {"calibrated": tuple(said["calibrated"])}))

    def made(self, source: Source, plan: Plan, key: str) -> Made:
        """The artifact, quantized if need be. Raises as :func:`quantize_to`."""
        if (found := self.before(plan, key)) is not None:
            return found
        name, started = plan.recipe.name, time.perf_counter()
        directory = self.out / name
        result = quantize_to(
            source,
            plan,
            directory,
            calibration=self.calibration,
            force=self.force,
            progress=self.watch(f"quantize {name}"),
        )
        seconds = time.perf_counter() - started
        lines = tuple(f"{text.done} {name} on {text.line()}" for text in result.calibration)
        made = Made(directory, result.plan.bytes, seconds, _made_with(result), lines)
        self.kept.add_directory(key, directory, made.to_dict())
        return made


def _made_with(result: QuantizeResult) -> dict[str, Any]:
    made = result.plan.recipe.made
    return {
        "source_digest": result.source_digest,
        "digest": None if made is None else made.result,
        "calibration": [text.to_dict() for text in result.calibration],
    }
