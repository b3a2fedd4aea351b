"""llama.cpp's mixtures: which type of blocks each matrix gets.

The rules of its ``llama-quantize`` (https://github.com/ggml-org/llama.cpp, ``llama-quant.cpp``) for
files that are made with an importance matrix, as of October 2026: a file has the very types, and so
the size, that llama.cpp's would have.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tersor.errors import SchemeError
from tersor.families.gguf import Gguf
from tersor.families.registry import FAMILIES
from tersor.formats.kinds.gguf.types import TYPES
from tersor.grids import Scheme
from tersor.models.architecture import Architecture

_INSTEAD = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""What rows get that are no whole blocks of 256."""
_EMBEDDING, _HEAD = "token_embd", "output"
_V = ("attn_v", "attn_qkv", "attn_kv_b")
_EIGHT = 8


@dataclass(frozen=True)
class Place:
    """Where a matrix is: its ``part`` in llama.cpp's words, its block of ``blocks``.

    ``shared``: query heads for each head of keys. ``experts``: of a block, 0 if there are none.
    """

    part: str
    block: int
    blocks: int
    shared: int
    experts: int

    @property
    def is_sensitive(self) -> bool:
        """In the first or last eighth of the blocks, or every third between."""
        eighth = self.blocks // _EIGHT
        ends = self.block < eighth or self.block >= 7 * self.blocks // _EIGHT
        return ends or (self.block - eighth) % 3 == 2


_Rule = Callable[[Place], str]


@dataclass(frozen=True)
class LlamaMixture:
    """``usual``: the type of what no rule names. ``rules``: by part, what it gets instead."""

    name: str
    usual: str
    rules: Mapping[str, _Rule] = field(default_factory=dict)

    def scheme(
        self,
        weight: str,
        shape: tuple[int, int],
        architecture: Architecture,
        config: Mapping[str, Any],
    ) -> Scheme | None:
        """See :class:`~tersor.formats.mixture.Mixture`."""
        kind = self.kind(weight, shape[1], architecture, config)
        return None if kind is None else TYPES[kind].scheme

    def kind(
        self, weight: str, columns: int, architecture: Architecture, config: Mapping[str, Any]
    ) -> str | None:
        """The type of a matrix with rows of ``columns``; ``None`` if they are whole blocks of none.

        Raises :class:`SchemeError` for a model that llama.cpp has no names for.
        """
        family = FAMILIES.get(architecture.model_type)
        if family is None or family.gguf is None:
            raise SchemeError(
                f"mixture {self.name}: GGUF files of {architecture.model_type} are not known; "
                "choose a recipe without a mixture"
            )
        name = _name_in_gguf(weight, family.gguf)
        if name is None:
            return None
        heads = int(config.get(family.blocks.heads_key, family.heads))
        keys = int(config.get("num_key_value_heads") or heads)
        experts = int(config.get("num_local_experts") or config.get("num_experts") or 0)
        block = architecture.block_of(weight) or 0
        place = Place(_part(name), block, architecture.blocks, heads // keys, experts)
        return self.fitting(place, columns, head=place.part == _EMBEDDING and architecture.tied)

    def fitting(self, place: Place, columns: int, *, head: bool = False) -> str | None:
        """The type of a matrix, or what llama.cpp takes for rows that are no whole blocks of it.

        ``head``: it is the head too.
        """
        if head or place.part == _HEAD:
            kind = "Q8_0" if columns % TYPES[self.usual].values else "Q6_K"
        else:
            kind = self._inside(place)
        if columns % TYPES[kind].values:
            kind = _INSTEAD.get(kind, kind)
        return None if columns % TYPES[kind].values else kind

    def _inside(self, place: Place) -> str:
        """The type of what is not the head, whatever its shape."""
        part = "attn_v" if place.part in _V else place.part
        of_k = self.usual.endswith("_K")
        if place.experts == _EIGHT and part in ("attn_k", "attn_v"):
            return "Q8_0"
        if place.experts == _EIGHT and part == "attn_output":
            return "Q5_K" if of_k else self.usual
        rule = self.rules.get(part)
        kind = self.usual if rule is None else rule(place)
        large = place.blocks == 80 and place.shared == _EIGHT  # 70B
        return "Q5_K" if large and part == "attn_v" and kind in ("Q3_K", "Q4_K") else kind


def _more(place: Place) -> str:
    return "Q6_K" if place.is_sensitive else "Q4_K"


_ALL = (
    LlamaMixture(
        "q4_0",
        "Q4_0",
        {"ffn_down": lambda p: "Q4_1" if p.block < p.blocks // _EIGHT else "Q4_0"},
    ),
    LlamaMixture("q4_k_m", "Q4_K", {"attn_v": _more, "ffn_down": _more}),
    LlamaMixture(
        "q3_k_m",
        "Q3_K",
        {
            "attn_v": lambda p: "Q5_K" if p.block < 2 else "Q4_K",
            "ffn_down": lambda p: "Q5_K" if p.block < p.blocks // 16 else "Q4_K",
            "attn_output": lambda _: "Q4_K",
        },
    ),
    LlamaMixture(
        "q2_k",
        "Q2_K",
        {
            "attn_v": lambda p: "Q4_K" if p.shared >= 4 else "Q3_K",
            "ffn_down": lambda _: "Q3_K",
            "attn_output": lambda _: "Q3_K",
        },
    ),
)
MIXTURES: Mapping[str, LlamaMixture] = {one.name: one for one in _ALL}
"""By llama.cpp's names, in small letters."""


def _part(name: str) -> str:
    """``blk.3.ffn_down_exps.weight`` → ``ffn_down``."""
    part = name.removesuffix(".weight").split(".")[-1]
    return part.removesuffix("_exps")


def _name_in_gguf(weight: str, gguf: Gguf) -> str | None:
    for pattern, name in _patterns(gguf.rules):
        if pattern.fullmatch(weight):
            return name
    return None


@cache
def _patterns(rules: tuple[Any, ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    def pattern(hf: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{[ne]\\\}", r"\\d+", re.escape(hf)))

    return tuple((pattern(rule.hf), rule.gguf) for rule in rules)
