"""Where in the modules of a decoder the input of a published weight can be seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from tersor.calibration.skeleton import Decoder
from tersor.calibration.stages import Stage
from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.families.blocks import canonical
from tersor.models.architecture import Architecture


@dataclass(frozen=True)
class Place:
    """A linear of a block: ``path`` of its module, or of a fused tensor that holds ``expert``."""

    block: int
    path: str
    expert: int | None = None

    @property
    def parameter(self) -> str:
        """The parameter that holds the weight, by its path inside the block."""
        return self.path if self.expert is not None else f"{self.path}.weight"


def places_of(decoder: Decoder, index: int) -> dict[str, Place]:
    """The place of every matrix of a block, by its published name."""
    found: dict[str, Place] = {}
    for path, parameter in decoder.blocks[index].named_parameters():
        if parameter.ndim not in (2, 3):
            continue
        meta = parameter.detach().to("meta")
        for name in decoder.published(index, path, meta):
            if parameter.ndim == 3:
                found[name] = Place(index, path, _expert(name))
            elif path.endswith(".weight"):
                found[name] = Place(index, path.removesuffix(".weight"))
    return found


def find_places(
    source: Source, architecture: Architecture, decoder: Decoder, names: Iterable[str]
) -> dict[str, Place]:
    """The place of each of the weights ``names``.

    Raises :class:`SourceError` for one that is no linear of a block whose input can be seen.
    """
    blocks: dict[int, dict[str, Place]] = {}
    found = {}
    for name in names:
        block, _ = architecture.split(name)
        if block is None or not name.endswith(".weight"):
            raise SourceError(f"{source.path}: {name} is no weight of a linear in a block")
        if block not in blocks and block < len(decoder.blocks):
            blocks[block] = places_of(decoder, block)
        if name not in blocks.get(block, ()):
            raise SourceError(
                f"{source.path}: {name} is no linear of transformers' "
                f"{type(decoder.blocks[0]).__name__} {block}; its input cannot be observed"
            )
        found[name] = blocks[block][name]
    return found


def _expert(name: str) -> int:
    """The number of the expert in a published name: the last one."""
    return next(int(part) for part in reversed(name.split(".")) if part.isdecimal())


def stage_of(places: Sequence[tuple[str, Place]]) -> Stage:
    """The stage at which all these weights are reached; they read the same rows."""
    names = tuple(name for name, _ in places)
    first = places[0][1]
    if first.expert is not None:
        return Stage(names, (), (first.path, first.expert))
    return Stage(names, tuple(place.path for _, place in places))


def check_reached(
    source: Source, block: nn.Module, stages: Sequence[Stage], reached: set[Stage]
) -> None:
    """The router may leave out an expert, but nothing leaves out a linear or a whole layer.

    Raises :class:`SourceError` for what the block did not use.
    """
    tensors = {stage.fused[0] for stage in reached if stage.fused}
    for stage in stages:
        if not stage.fused and all(canonical(path) != path for path in stage.modules):
            continue  # an expert that is a module of its own
        missed = stage.fused[0] not in tensors if stage.fused else stage not in reached
        if missed:
            path = stage.fused[0] if stage.fused else stage.modules[0]
            raise SourceError(
                f"{source.path}: transformers' {type(block).__name__} does not use {path} in a "
                "way that can be observed"
            )
