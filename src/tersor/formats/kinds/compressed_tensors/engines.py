"""Which known engines read an artifact, and what to choose where one does not.

Read from the engines' public code in 2026: vLLM's compressed-tensors schemes, its kernels for
processors (``CPUWNA16LinearKernel``) and its embedding (``CompressedTensorsEmbeddingWNA16Int``,
which Llama's code does not reach, pull request 45535); SGLang's ``CompressedTensorsConfig``, where
embeddings are missing (pull request 36137); transformers 5.24 with compressed-tensors 0.20.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tersor.families.blocks import Role
from tersor.formats.kinds.compressed_tensors.description import one_way
from tersor.formats.kinds.own import description as own
from tersor.formats.storage.layout import Storage, storage_for
from tersor.grids import Granularity, Scheme


@dataclass(frozen=True)
class Stored:
    """A quantized matrix ``(out, in)``: what a reader has to understand of it."""

    module: str
    shape: tuple[int, int]
    role: Role
    scheme: Scheme


@dataclass(frozen=True)
class Reading:
    """Whether an engine reads an artifact.

    ``reason``: why it does not, empty if it does; ``instead``: what it reads near to it.
    ``condition``: what has to be given where it does.
    """

    engine: str
    reason: str = ""
    instead: str = ""
    condition: str = ""

    @property
    def reads(self) -> bool:
        """Whether it does."""
        return not self.reason

    def to_dict(self) -> dict[str, str | bool]:
        """Plain JSON types; what is empty is left out."""
        said = {"condition": self.condition, "reason": self.reason, "instead": self.instead}
        told = {key: value for key, value in said.items() if value}
        return {"engine": self.engine, "reads": self.reads, **told}

    def __str__(self) -> str:
        if self.reads:
            return self.engine + (f" ({self.condition})" if self.condition else "")
        return f"not {self.engine}: {self.reason}" + (f"; {self.instead}" if self.instead else "")


_Problem = tuple[str, str]
"""A reason, and what to choose instead."""


def readings(method: str, stored: Iterable[Stored]) -> tuple[Reading, ...]:
    """What each known engine does with an artifact of the format ``method``.

    Where several matrices are in the way, one tells the reason.
    """
    matrices = list(stored)
    found = [Reading("tersor")]
    alike = one_way(one.scheme for one in matrices)
    if method == own.METHOD:
        found.append(Reading("transformers", condition=f"after {own.IMPORT}"))
        embeddings = [one.module for one in matrices if _embedding(one) and not alike]
        way_out = "choose w4 or w8a8 in groups that divide"
        only = ("only tersor's own format can hold it", way_out)
        if embeddings:
            only = (only[0], f"--exclude {embeddings[0]}")
        return (*found, *(Reading(engine, *only) for engine in _ENGINES))
    asymmetric = any(_packed(one) and not one.scheme.weights.grid.symmetric for one in matrices)
    if asymmetric and not alike:
        found.append(Reading("transformers", "packed zero points of one scheme only", "use one"))
    else:
        found.append(Reading("transformers"))
    for engine, gaps in _ENGINES.items():
        problems = (gap.problem(one) for gap in gaps for one in matrices if gap.holds(one))
        problem = next(problems, None)
        if problem is not None:
            found.append(Reading(engine, *problem))
        elif engine == _ON_CPUS and any(_packed(one) for one in matrices):
            found.append(Reading(engine, condition="with AVX-512"))
        else:
            found.append(Reading(engine))
    return tuple(found)


def readings_line(found: Iterable[Reading]) -> str:
    """One line: those that read it first, then the others, together where the reason is one."""
    reads: list[str] = []
    others: dict[tuple[str, str], list[str]] = {}
    for one in found:
        if one.reads:
            reads.append(str(one))
        else:
            others.setdefault((one.reason, one.instead), []).append(one.engine)
    refused = (
        str(Reading(", ".join(engines), reason, instead))
        for (reason, instead), engines in others.items()
    )
    return "; ".join([", ".join(reads), *refused])


@dataclass(frozen=True)
class _Gap:
    """Matrices that an engine has no code for. Texts may name ``{bits}``, ``{group}``, ``{name}``
    (of the scheme), ``{module}`` and ``{shape}``.
    """

    holds: Callable[[Stored], bool]
    reason: str
    instead: str

    def problem(self, one: Stored) -> _Problem:
        weights = one.scheme.weights
        facts = {
            "bits": weights.grid.bits,
            "group": weights.group_size,
            "name": one.scheme.name,
            "module": one.module,
            "shape": f"{one.shape[0]} × {one.shape[1]}",
        }
        return self.reason.format(**facts), self.instead.format(**facts)


def _packed(one: Stored) -> bool:
    return storage_for(one.scheme) is Storage.PACKED


def _weight_only(one: Stored) -> bool:
    return _packed(one) and one.scheme.activations is None


def _grouped(one: Stored) -> bool:
    return one.scheme.weights.granularity is Granularity.GROUP


def _fp8(one: Stored) -> bool:
    return storage_for(one.scheme) in (Storage.FP8, Storage.FP8_WEIGHT_ONLY)


def _fp4(one: Stored) -> bool:
    return storage_for(one.scheme) in (Storage.MXFP4, Storage.NVFP4)


def _int8(one: Stored) -> bool:
    return storage_for(one.scheme) is Storage.INT8


def _embedding(one: Stored) -> bool:
    return one.role is Role.EMBEDDING


_LINEARS = (
    _Gap(
        lambda one: (_packed(one) or _fp4(one)) and one.scheme.activations is not None,
        "it has no kernel for {name} as it is stored",
        "choose w4 or w8a8",
    ),
    _Gap(
        lambda one: _weight_only(one) and one.scheme.weights.grid.bits not in (4, 8),
        "it has no kernel for {bits} bits",
        "choose w4",
    ),
    _Gap(
        lambda one: _weight_only(one) and one.scheme.weights.granularity is Granularity.TENSOR,
        "it has no kernel for packed weights with one scale",
        "use --group-size 64",
    ),
    _Gap(
        lambda one: _weight_only(one) and one.scheme.weights.group_size not in (None, 32, 64, 128),
        "it has no kernel for groups of {group}",
        "use --group-size 64",
    ),
    _Gap(
        lambda one: _int8(one) and (_grouped(one) or not one.scheme.weights.grid.symmetric),
        "its W8A8 has neither groups nor zero points of weights",
        "choose w8a8",
    ),
    _Gap(
        lambda one: _fp8(one) and _grouped(one),
        "it has no kernel for FP8 in groups of {group}",
        "choose fp8, per channel",
    ),
)
_VLLM = (
    _Gap(
        _embedding,
        "it finds quantized embeddings in few model types ({module})",
        "--exclude {module}",
    ),
    *_LINEARS,
)
_VLLM_ON_CPUS = (
    *_VLLM,
    _Gap(
        lambda one: (
            _weight_only(one) and one.scheme.weights.grid.bits == 8 and one.role is Role.HEAD
        ),
        "it has no kernel for {name} ({module})",
        "--exclude {module}",
    ),
    _Gap(
        lambda one: _weight_only(one) and one.scheme.weights.grid.bits == 8,
        "it has no kernel for {name}",
        "choose w8a8",
    ),
    _Gap(
        lambda one: _weight_only(one) and any(size % 32 for size in one.shape),
        "its W4A16 needs multiples of 32, not {shape} ({module})",
        "--exclude {module}",
    ),
    _Gap(_fp4, "it has no kernel for FP4", "choose w4"),
    _Gap(_fp8, "it has no kernel for FP8", "choose w8a8"),
)
_SGLANG = (
    _Gap(
        _embedding,
        "it takes quantized embeddings for unquantized ({module})",
        "--exclude {module}",
    ),
    *_LINEARS,
)
_ON_CPUS = "vLLM on CPUs"
_ENGINES = {"vLLM on GPUs": _VLLM, _ON_CPUS: _VLLM_ON_CPUS, "SGLang": _SGLANG}
