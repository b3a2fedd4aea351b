"""Engines that a model can be made for: the format that they read, and whether they read this one.

What engines read is said by the formats (:class:`~tersor.formats.reading.Reading`); here is only
which format is for whom.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tersor.errors import OptionError, SchemeError
from tersor.formats.contents import Contents
from tersor.formats.format import Format
from tersor.formats.reading import ON_CPUS, ON_GPUS, SGLANG, Reading
from tersor.formats.registry import Formats
from tersor.options import did_you_mean


@dataclass(frozen=True)
class Target:
    """``format``: by name, what is written. ``engines``: one of them has to read it. ``runs``:
    where and how. ``nearest``: what it reads in any case.
    """

    name: str
    format: str
    engines: tuple[str, ...]
    runs: str
    nearest: str

    def chosen(self, contents: Contents, formats: Formats) -> tuple[Format, str]:
        """The format for a model, and a note on who runs it.

        Raises :class:`SchemeError` if none of the engines does, with the reason and what fits.
        """
        format_ = formats.named(self.format)
        uncertain = (format_.uncertain(one.scheme) for one in contents.matrices)
        obstacles = [*format_.obstacles(contents), *filter(None, uncertain)]
        if obstacles:
            raise self._refusal(obstacles[0], "")
        found = [one for one in format_.readings(contents) if one.engine in self.engines]
        if not any(one.reads for one in found):
            first = found[0] if found else Reading(self.name, f"it reads no {self.format}")
            raise self._refusal(first.reason, first.instead)
        return format_, f"for {self.name}: {self.runs}; {'; '.join(map(str, found))}"

    def _refusal(self, reason: str, instead: str) -> SchemeError:
        way_out = instead or f"nearest: {self.nearest}"
        return SchemeError(f"{self.name} does not run this: {reason}; {way_out}")


_VLLM = Target(
    "vllm",
    "compressed-tensors",
    (ON_GPUS, ON_CPUS),
    "integer kernels on GPUs, and on CPUs with AVX-512",
    "--recipe w4 --group-size 128",
)
_SGLANG = Target(
    "sglang",
    "compressed-tensors",
    (SGLANG,),
    "integer kernels on GPUs",
    "--recipe w4 --group-size 128",
)
_TRANSFORMERS = Target(
    "transformers",
    "compressed-tensors",
    ("transformers",),
    "loaded on CPUs and GPUs, and decoded to floats before products: small files, no speed",
    "--recipe w4",
)
_LLAMA_CPP = Target(
    "llama.cpp",
    "gguf",
    ("llama.cpp",),
    "integer kernels on CPUs, and on GPUs if it was built for them",
    "--recipe w4 --group-size 32",
)
_OPENVINO = Target(
    "openvino",
    "gptq",
    ("OpenVINO",),
    "4-bit weights on CPUs and Intel's GPUs, through optimum-intel",
    "--recipe w4 --group-size 128",
)
_MLX = Target(
    "mlx",
    "mlx",
    ("mlx-lm",),
    "kernels on Apple's GPUs; its CPU build is slow",
    "--recipe w4 --group-size 64",
)

TARGETS: Mapping[str, Target] = MappingProxyType(
    {one.name: one for one in (_VLLM, _SGLANG, _TRANSFORMERS, _LLAMA_CPP, _OPENVINO, _MLX)}
)
"""By the name that ``--target`` takes."""


def target_named(name: str) -> Target:
    """Raises :class:`OptionError` with the nearest one."""
    if name not in TARGETS:
        raise OptionError("target", f"{name!r} is not known{did_you_mean(name, TARGETS)}")
    return TARGETS[name]
