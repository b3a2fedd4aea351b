"""Where in the modules of a decoder the input of a published weight can be seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tersor.calibration.skeleton import Decoder
from tersor.calibration.stages import Stage
from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.models.architecture import Architecture
from tersor.models.values import canonical


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


def find_place(source: Source, architecture: Architecture, decoder: Decoder, name: str) -> Place:
    """The place of the weight ``name``.

    Raises :class:`SourceError` if it is no linear of a block whose input can be seen.
    """
    block, relative = architecture.split(name)
    if block is None or not name.endswith(".weight"):
        raise SourceError(f"{source.path}: {name} is no weight of a linear in a block")
    in_memory = {published: memory for memory, published in architecture.renames}
    place = _fused(architecture, block, relative) or Place(block, in_memory.get(relative, relative))
    state = decoder.blocks[block].state_dict() if block < len(decoder.blocks) else {}
    tensor = state.get(place.parameter)
    if tensor is None or (place.expert is not None and len(tensor) <= place.expert):
        raise SourceError(
            f"{source.path}: {name} is no linear of transformers' "
            f"{type(decoder.blocks[0]).__name__} {block}; its input cannot be observed"
        )
    return place


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
        missed = stage.fused[0] not in tensors if stage.fused else stage not in reached
        if missed:
            path = stage.fused[0] if stage.fused else stage.modules[0]
            raise SourceError(
                f"{source.path}: transformers' {type(block).__name__} does not use {path} in a "
                "way that can be observed"
            )


def _fused(architecture: Architecture, block: int, relative: str) -> Place | None:
    """The fused tensor that holds an expert's linear, if there is one."""
    for fused in architecture.fused_experts:
        pattern = canonical(relative)
        if pattern in fused.parts:
            expert = next(int(p) for p in relative.split(".") if p.isdecimal())
            return Place(block, fused.name, expert)
    return None
