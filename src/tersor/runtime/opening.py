"""A model that is to be run, looked at no more often than is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersor.checkpoints.as_stored import open_as_stored
from tersor.checkpoints.gguf.stored import StoredGGUF
from tersor.checkpoints.source import FloatSource, Source
from tersor.errors import SourceError
from tersor.runtime.packed.cache import PackedCache

if TYPE_CHECKING:
    from tersor.runtime.artifact import Artifact


class Opened:
    """A directory whose ``config.json`` fits its weights, and whose tensors fit their schemes.

    Or a single file that is a model.

    ``cache``: its packed weights. ``quantized``: its quantized modules. If the very same files were
    opened before, the cache knows that all is sound, and only headers are read now; otherwise
    everything is checked, which needs torch and transformers.
    """

    def __init__(self, directory: Path) -> None:
        """Raises what :func:`~tersor.runtime.artifact.open_stored` raises."""
        self.cache = PackedCache(directory)
        self._artifact: Artifact | None = None
        self._trusted = self.cache.quantized is not None
        if self.cache.quantized is not None:
            self.source: Source = open_as_stored(directory)
            self.quantized = frozenset(self.cache.quantized)
            return
        from tersor.checkpoints.gateway.configuration import source_configuration
        from tersor.runtime.artifact import open_stored

        stored = open_stored(directory)
        source_configuration(stored.source)
        self.source, self._artifact = stored.source, stored.artifact
        self.quantized = frozenset(() if stored.artifact is None else stored.artifact.schemes)
        if isinstance(self.source, FloatSource):
            self.cache.passed(self.quantized)

    @property
    def config(self) -> Mapping[str, Any]:
        """``config.json``."""
        return self.source.config

    @property
    def is_quantized(self) -> bool:
        """Whether it says that it is."""
        return "quantization_config" in self.config

    @property
    def rounds_floats(self) -> bool:
        """Whether what is stored as floats may be rounded if nobody says otherwise.

        Not in a GGUF file: somebody chose the type of each of its tensors.
        """
        return self.is_quantized and not isinstance(self.source, StoredGGUF)

    def refuse_changed(self) -> None:
        """Raise :class:`SourceError` if what was read is not what was checked another time."""
        if self._trusted and self.cache.changed():
            raise SourceError(f"{self.source.path}: changed while it was being read; try again")

    @property
    def artifact(self) -> "Artifact":
        """The quantized model, for what has to be decoded; needs torch."""
        if self._artifact is None:
            from tersor.runtime.artifact import artifact_of

            self._artifact = artifact_of(self.source)
        return self._artifact
