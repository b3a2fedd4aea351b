"""The format as a value."""

from collections.abc import Iterable, Mapping
from typing import Any

from tersor.formats.contents import Contents, Description
from tersor.formats.kinds.compressed_tensors import obstacles
from tersor.formats.kinds.compressed_tensors.description import quantization_config, schemes_of
from tersor.formats.kinds.compressed_tensors.engines import readings
from tersor.formats.reading import Reading
from tersor.formats.storage.named_tensors import NamedTensors
from tersor.grids import Scheme
from tersor.models.in_transformers.in_memory import InMemory, in_memory


class CompressedTensors(NamedTensors):
    """See :class:`~tersor.formats.format.Format`."""

    name = "compressed-tensors"
    preference = 0

    def obstacle(self, scheme: Scheme, shape: tuple[int, int]) -> str | None:
        """A grid, a scale or a group that it has no words for."""
        return obstacles.obstacle(scheme, shape)

    def obstacles(self, contents: Contents) -> list[str]:
        """Also what its readers would not understand."""
        return obstacles.model_obstacles(contents)

    def readings(self, contents: Contents) -> tuple[Reading, ...]:
        """As their code says."""
        return readings(contents.matrices)

    def description(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """Groups of modules with one scheme each."""
        groups = contents.groups()
        if not contents.architecture.is_foreign:
            return quantization_config(groups, _kept_linears(contents))
        quantized = [one.module for one in contents.matrices]
        names = in_memory(config, [*quantized, *contents.kept])
        kept = _kept_for_all(contents, names)
        return quantization_config(_named_for_all(contents, names), kept, dense=True)

    def described(self, description: Mapping[str, Any], modules: Iterable[str]) -> Description:
        """See :class:`Format`."""
        return Description(schemes_of(description, modules))


def _named_for_all(contents: Contents, names: InMemory) -> dict[Scheme, list[str]]:
    """Modules by their names on disk and by those in memory."""
    taken = {*contents.kept, *(one.module for one in contents.matrices)}
    return {
        scheme: [*modules, *sorted({names.modules.get(m, m) for m in modules} - taken)]
        for scheme, modules in contents.groups().items()
    }


def _kept_for_all(contents: Contents, names: InMemory) -> list[str]:
    """What stays as it is by both names; in memory, every linear that is not quantized."""
    quantized = {one.module for one in contents.matrices}
    quantized |= {names.modules.get(module, module) for module in quantized}
    return sorted({*_kept_linears(contents), *(names.linears - quantized)})


def _kept_linears(contents: Contents) -> list[str]:
    kept = set(contents.kept)
    head = (contents.architecture.head or "").removesuffix(".weight")
    if not any(one.module == head for one in contents.matrices):
        # Its name in memory, if it is tied to the embedding or called otherwise on disk.
        kept.add("lm_head")
    return sorted(kept)
