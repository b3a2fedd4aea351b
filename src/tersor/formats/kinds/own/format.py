"""The format as a value."""

from collections.abc import Iterable, Mapping
from typing import Any

from tersor.errors import FormatError
from tersor.formats.contents import Contents, Description, StackedExperts
from tersor.formats.kinds.own.description import (
    IMPORT,
    quantization_config,
    refused_by_others,
    schemes_of,
    stacked_experts,
    transposed,
)
from tersor.formats.reading import ENGINES, Reading
from tersor.formats.storage.known import find_storage, no_storage, one_way
from tersor.formats.storage.named_tensors import NamedTensors
from tersor.grids import Scheme
from tersor.models.architecture import Architecture, Role


class TersorFormat(NamedTensors):
    """See :class:`~tersor.formats.format.Format`."""

    name = "tersor"
    preference = 1
    instead = "written in tersor's own format, which vLLM cannot load"

    def obstacle(self, scheme: Scheme, shape: tuple[int, int]) -> str | None:
        """Nothing but codes of a kind that it has no tensors for."""
        if find_storage(scheme) is None:
            return f"tersor's format has no tensors for {scheme} ({no_storage(scheme)})"
        return scheme.weights.misfit(shape[1])

    def readings(self, contents: Contents) -> tuple[Reading, ...]:
        """No engine but tersor, and transformers with its help."""
        alike = one_way(one.scheme for one in contents.matrices)
        embeddings = [m.module for m in contents.matrices if m.role is Role.EMBEDDING]
        way_out = "choose w4 or w8a8 in groups that divide"
        if embeddings and not alike:
            way_out = f"--exclude {embeddings[0]}"
        reason = "they do not read tersor's own format"
        return (
            Reading("tersor"),
            Reading("transformers", condition=f"after {IMPORT}"),
            *(Reading(engine, reason, way_out) for engine in ENGINES),
        )

    def description(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """Schemes, and what transformers needs to know of the model."""
        flipped = [one.module for one in contents.matrices if one.transposed]
        return quantization_config(
            contents.groups(), flipped, _private_experts(contents.architecture)
        )

    def described(self, description: Mapping[str, Any], modules: Iterable[str]) -> Description:
        """Raises :class:`FormatError` if it is not about just these ``modules``."""
        schemes = schemes_of(description)
        odd = sorted(set(modules) ^ set(schemes))
        if odd:
            raise FormatError(f"tensors and config disagree about {odd[0]!r}")
        return Description(schemes, transposed(description), stacked_experts(description))

    def config(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """One that transformers alone refuses."""
        return refused_by_others(super().config(contents, config))


def _private_experts(architecture: Architecture) -> list[StackedExperts]:
    return [
        StackedExperts(f.parameter, f.parts, f.transposed, f.interleaved)
        for f in architecture.fused_experts
        if f.parameter
    ]
