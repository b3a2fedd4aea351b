"""Which known engines read an artifact, and what to choose where one does not.

Read from the engines' public code in 2026: vLLM's compressed-tensors schemes, its kernels for
processors (``CPUWNA16LinearKernel``) and its embedding (``CompressedTensorsEmbeddingWNA16Int``,
which Llama's code does not reach, pull request 45535); SGLang's ``CompressedTensorsConfig``, where
embeddings are missing (pull request 36137); transformers 5.24 with compressed-tensors 0.20.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tersor.families.blocks import Role
from tersor.formats.contents import Matrix
from tersor.formats.kinds.compressed_tensors.obstacles import is_packed_asymmetric
from tersor.formats.reading import ON_CPUS, ON_GPUS, SGLANG, Reading
from tersor.formats.storage.known import (
    FP8,
    FP8_WEIGHT_ONLY,
    INT8,
    MXFP4,
    NVFP4,
    PACKED,
    one_way,
    storage_for,
)
from tersor.grids import Granularity

_Problem = tuple[str, str]
"""A reason, and what to choose instead."""


def readings(stored: Iterable[Matrix]) -> tuple[Reading, ...]:
    """What each known engine does with an artifact of these matrices.

    Where several of them are in the way, one tells the reason.
    """
    matrices = list(stored)
    found = [Reading("tersor")]
    asymmetric = any(is_packed_asymmetric(one.scheme) for one in matrices)
    if asymmetric and not one_way(one.scheme for one in matrices):
        found.append(Reading("transformers", "packed zero points of one scheme only", "use one"))
    else:
        found.append(Reading("transformers"))
    for engine, gaps in _GAPS.items():
        problems = (gap.problem(one) for gap in gaps for one in matrices if gap.holds(one))
        problem = next(problems, None)
        if problem is not None:
            found.append(Reading(engine, *problem))
        elif engine == ON_CPUS and any(_packed(one) for one in matrices):
            found.append(Reading(engine, condition="with AVX-512"))
        else:
            found.append(Reading(engine))
    return tuple(found)


@dataclass(frozen=True)
class _Gap:
    """Matrices that an engine has no code for. Texts may name ``{bits}``, ``{group}``, ``{name}``
    (of the scheme), ``{module}`` and ``{shape}``.
    """

    holds: Callable[[Matrix], bool]
    reason: str
    instead: str

    def problem(self, one: Matrix) -> _Problem:
        weights = one.scheme.weights
        facts = {
            "bits": weights.grid.bits,
            "group": weights.group_size,
            "name": one.scheme.name,
            "module": one.module,
            "shape": f"{one.shape[0]} × {one.shape[1]}",
        }
        return self.reason.format(**facts), self.instead.format(**facts)


def _packed(one: Matrix) -> bool:
    return storage_for(one.scheme) is PACKED


def _weight_only(one: Matrix) -> bool:
    return _packed(one) and one.scheme.activations is None


def _grouped(one: Matrix) -> bool:
    return one.scheme.weights.granularity is Granularity.GROUP


def _fp8(one: Matrix) -> bool:
    return storage_for(one.scheme) in (FP8, FP8_WEIGHT_ONLY)


def _fp4(one: Matrix) -> bool:
    return storage_for(one.scheme) in (MXFP4, NVFP4)


def _int8(one: Matrix) -> bool:
    return storage_for(one.scheme) is INT8


def _embedding(one: Matrix) -> bool:
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
_GAPS = {ON_GPUS: _VLLM, ON_CPUS: _VLLM_ON_CPUS, SGLANG: _SGLANG}
