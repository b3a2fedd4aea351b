"""The formats there are, by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from tersor.checkpoints.source import Source
from tersor.errors import FormatError, OptionError
from tersor.formats import kinds
from tersor.formats.containers.container import Container
from tersor.formats.containers.huggingface import HUGGING_FACE
from tersor.formats.format import METHOD, QUANTIZATION, Format
from tersor.options import did_you_mean

GROUP = "tersor.formats"
"""Entry points of this group add formats of other packages: ``name = "package.module:FORMAT"``."""


@dataclass(frozen=True)
class Formats:
    """Formats by name; a value: :meth:`including` makes another one."""

    by_name: Mapping[str, Format]

    @classmethod
    def of(cls, *formats: Format) -> "Formats":
        """Just these."""
        return cls({one.name: one for one in formats})

    def including(self, *formats: Format) -> "Formats":
        """These formats too; one of the same name is replaced."""
        return Formats.of(*self.by_name.values(), *formats)

    def named(self, name: str) -> Format:
        """The format of a name. Raises :class:`OptionError` with the nearest one."""
        if name not in self.by_name:
            hint = did_you_mean(name, self.by_name)
            raise OptionError("format", f"{name!r} is not known{hint}")
        return self.by_name[name]

    def describing(self, config: Mapping[str, Any], path: Path) -> Format:
        """The format of an artifact with this config. Raises :class:`FormatError`."""
        settings = config.get(QUANTIZATION)
        if not isinstance(settings, Mapping):
            raise FormatError(f"{path} is not quantized: config.json has no {QUANTIZATION}")
        method = settings.get(METHOD)
        found = self.by_name.get(method) if isinstance(method, str) else None
        if found is None:
            names = list(self.by_name)
            raise FormatError(
                f"{path}: tersor does not read {METHOD} {method!r}; it reads "
                f"{', '.join(names[:-1])} and {names[-1]}; `tersor restore` makes a plain model of "
                "fp8 and mxfp4"
            )
        return found

    def preferred(self) -> Iterator[Format]:
        """Those that are tried, in this order, if none is asked for."""
        ranked = [(f.preference, f) for f in self.by_name.values() if f.preference is not None]
        return (one for _, one in sorted(ranked, key=lambda pair: pair[0]))

    def open(self, path: Path) -> Source:
        """Open an artifact, or a model that is not quantized, whatever it lies in.

        Raises :class:`~tersor.errors.SourceError`.
        """
        return self._container(path).open(path)

    def _container(self, path: Path) -> Container:
        """Of the containers that are not Hugging Face's the one that knows what lies there."""
        others = dict.fromkeys(
            one.container for one in self.by_name.values() if one.container is not HUGGING_FACE
        )
        return next((one for one in others if one.recognizes(path)), HUGGING_FACE)


@cache
def known_formats() -> Formats:
    """Every folder of ``tersor.formats.kinds``, and what other packages add."""
    modules = [import_module(f"{kinds.__name__}.{m.name}") for m in iter_modules(kinds.__path__)]
    own: list[Format] = [module.FORMAT for module in modules]
    others: list[Format] = [point.load() for point in entry_points(group=GROUP)]
    return Formats.of(*own, *others)
