"""The vocabulary in which an architecture is written down.

Names inside a block are *block-relative* and carry no ``.weight``: ``self_attn.q_proj``. A ``*``
stands for the number of an expert, as in ``mlp.experts.*.up_proj``; it is the only wildcard, so a
name is matched by writing ``*`` for its numbers and comparing strings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def canonical(relative: str) -> str:
    """``mlp.experts.7.up_proj`` → ``mlp.experts.*.up_proj``."""
    return _NUMBER.sub("*", relative)


class Role(StrEnum):
    """What a tensor on disk is to a quantizer."""

    LINEAR = "linear"
    FUSED_EXPERTS = "fused experts"
    EMBEDDING = "embedding"
    HEAD = "head"
    OTHER = "other"


class Rows(StrEnum):
    """Which output channels of a producer become the input channels of its consumers.

    The three ``V`` selectors name the value part of an attention projection. With grouped queries
    each of its channels feeds ``heads / kv_heads`` columns of the output projection.
    """

    ALL = "all, one to one"
    V = "v, on its own"
    V_OF_QKV = "v of [q; k; v]"
    V_OF_EACH_HEAD = "v of [q; k; v] inside each head"
    UP_OF_GATE_UP = "up of [gate; up]"


@dataclass(frozen=True)
class Requirement:
    """A condition on ``config.json``: ``config.get(key, default)`` is one of ``values``."""

    key: str
    values: tuple[Any, ...]
    default: Any
    otherwise: str

    def met(self, config: Mapping[str, Any]) -> bool:
        """Whether the config satisfies it."""
        return config.get(self.key, self.default) in self.values


@dataclass(frozen=True)
class SharedInput:
    """Linears of one block that read the same tensor, and who produces that tensor.

    ``producer`` is the norm or linear whose output channels can absorb a scale, or None, and then
    ``why`` says what forbids it. ``listeners`` read the tensor too and must be scaled with the
    consumers, though they are never quantized (the router of a mixture of experts). A producer
    with a ``*`` feeds only the consumers of the same expert. An expert reads only the rows routed
    to it. ``inner``: what is read is neither the residual stream nor a norm of it. ``turns``: where
    ``rows`` are values, an orthogonal matrix can take the place of a head's scales.
    """

    consumers: tuple[str, ...]
    producer: str | None
    rows: Rows = Rows.ALL
    listeners: tuple[str, ...] = ()
    requires: Requirement | None = None
    why: str = ""
    inner: bool = False
    turns: bool = True

    def resolved(self, config: Mapping[str, Any]) -> "SharedInput":
        """Without ``requires``: kept where ``config`` meets it, else without a producer."""
        if self.requires is None:
            return self
        if self.requires.met(config):
            return replace(self, requires=None)
        return replace(self, producer=None, requires=None, why=self.requires.otherwise)


@dataclass(frozen=True)
class FusedExperts:
    """One 3-D tensor ``(experts, rows, in)`` that holds a matrix of every expert.

    ``name`` is that on disk. ``parts`` name the linears it holds, in order, as equal slices of the
    rows, ``[gate; up]``, or with ``interleaved`` in turn, row by row. ``transposed``: the tensor is
    ``(experts, in, rows)``. ``parameter``: its block-relative name in memory, where that matters:
    nobody but tersor calls single experts by the names of the parts.
    """

    name: str
    parts: tuple[str, ...]
    transposed: bool = False
    interleaved: bool = False
    parameter: str = ""


@dataclass(frozen=True)
class Blocks:
    """The anatomy of a family's blocks, and what stands beside them.

    ``containers`` are the names that the list of blocks has in checkpoints. ``embedding`` and
    ``final_norm`` stand beside it, ``head`` lists full names. ``heads_key`` is the field of
    ``config.json`` with the number of heads. ``renames`` are (in memory, published) names of
    tensors that change together with the fused experts.

    ``writers`` are the linears whose output is added to the residual stream; with ``sandwich`` a
    norm stands before that sum. ``positions`` is a learned embedding beside the container, added
    to that of the token. ``centred`` norms subtract the mean.
    """

    shared_inputs: tuple[SharedInput, ...]
    writers: tuple[str, ...]
    containers: tuple[str, ...]
    embedding: str = "embed_tokens"
    final_norm: str = "norm"
    head: tuple[str, ...] = ("lm_head", "language_model.lm_head")
    heads_key: str = "num_attention_heads"
    positions: str | None = None
    norm_offset: float = 0.0
    centred: bool = False
    sandwich: bool = False
    transposed: bool = False
    fused_experts: tuple[FusedExperts, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()

    @property
    def linears(self) -> tuple[str, ...]:
        """Every quantizable linear of a block: each one reads something."""
        return tuple(name for shared in self.shared_inputs for name in shared.consumers)
