"""The formats there are, by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from tersor.checkpoints.source import Source
from tersor.errors import FormatError, OptionError, SchemeError
from tersor.formats import kinds
from tersor.formats.containers.container import Container
from tersor.formats.containers.huggingface import HUGGING_FACE
from tersor.formats.format import METHOD, QUANTIZATION, Format
from tersor.formats.mixture import Mixture
from tersor.options import did_you_mean

GROUP = "tersor.formats"
"""Entry points of this group add formats of other packages: ``name = "package.module:FORMAT"``."""


@dataclass(frozen=True)
class Formats:
    """Formats by name; a value: :meth:`including` makes another one.

    ``others``: more of them, looked for only when somebody asks for what ``own`` does not have.
    """

    own: Mapping[str, Format]
    others: Callable[[], Mapping[str, Format]] = dict

    @classmethod
    def of(cls, *formats: Format) -> "Formats":
        """Just these."""
        return cls({key: one for one in formats for key in (one.name, one.method)})

    def including(self, *formats: Format) -> "Formats":
        """These formats too; one of the same name is replaced."""
        return Formats({**self.own, **Formats.of(*formats).own}, self.others)

    @cached_property
    def by_name(self) -> Mapping[str, Format]:
        """All of them."""
        return {**self.others(), **self.own}

    def named(self, name: str) -> Format:
        """The format of a name. Raises :class:`OptionError` with the nearest one."""
        found = self._find(name)
        if found is None:
            hint = did_you_mean(name, self.by_name)
            raise OptionError("format", f"{name!r} is not known{hint}")
        return found

    def describing(self, config: Mapping[str, Any], path: Path) -> Format:
        """The format of an artifact with this config. Raises :class:`FormatError`."""
        settings = config.get(QUANTIZATION)
        if not isinstance(settings, Mapping):
            raise FormatError(f"{path} is not quantized: config.json has no {QUANTIZATION}")
        method = settings.get(METHOD)
        found = self._find(method) if isinstance(method, str) else None
        if found is None:
            *names, last = dict.fromkeys(one.method for one in self.by_name.values())
            raise FormatError(
                f"{path}: tersor does not read {METHOD} {method!r}; it reads "
                f"{', '.join(names)} and {last}; `tersor restore` makes a plain model of fp8 and "
                "mxfp4"
            )
        return found.as_described(settings)

    def preferred(self) -> Iterator[Format]:
        """Those that are tried, in this order, if none is asked for."""
        ranked = [(f.preference, f) for f in self.by_name.values() if f.preference is not None]
        return (one for _, one in sorted(ranked, key=lambda pair: pair[0]))

    def mixture(self, name: str) -> tuple[Format, Mixture]:
        """A mixture and the format it is of. Raises :class:`SchemeError` with the nearest one."""
        found = {
            key: (one, mix) for one in self.by_name.values() for key, mix in one.mixtures.items()
        }
        if name not in found:
            raise SchemeError(f"mixture {name!r} is not known{did_you_mean(name, found)}")
        return found[name]

    def open(self, path: Path) -> Source:
        """Open an artifact, or a model that is not quantized, whatever it lies in.

        Raises :class:`~tersor.errors.SourceError`.
        """
        return self.container_of(path).open(path)

    def container_of(self, path: Path) -> Container:
        """What lies at ``path``: a Hugging Face directory, if nothing else claims it."""
        if not (path / "config.json").is_file() and path.exists():
            for container in dict.fromkeys(one.container for one in self.by_name.values()):
                if container is not HUGGING_FACE and container.claims(path):
                    return container
        return HUGGING_FACE

    def _find(self, name: str) -> Format | None:
        return self.own.get(name) or self.by_name.get(name)


@cache
def known_formats() -> Formats:
    """Every folder of ``tersor.formats.kinds``, and what other packages add."""
    modules = (import_module(f"{kinds.__name__}.{m.name}") for m in iter_modules(kinds.__path__))
    return Formats({module.FORMAT.name: module.FORMAT for module in modules}, _installed)


def _installed() -> dict[str, Format]:
    """What other packages add. Raises :class:`FormatError` for one that cannot be loaded."""
    from importlib.metadata import entry_points

    found: dict[str, Format] = {}
    for point in entry_points(group=GROUP):
        try:
            format_: Format = point.load()
            found[format_.name] = format_
        except Exception as error:  # foreign code may break anything
            package = point.dist.name if point.dist else "an unknown package"
            raise FormatError(
                f"the format {point.name} of {package} cannot be loaded ({error!r}); "
                f"install another version of {package}, or remove it"
            ) from error
    return found
