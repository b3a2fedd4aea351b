"""What llama.cpp's converter did to each model family, as data, so that it can be undone.

A rule maps a GGUF tensor name to its Hugging Face name: ``{n}`` is the block, ``{e}`` the expert.
An ``{e}`` on the right only means that the GGUF stacks all experts into one tensor. ``fields`` maps
metadata keys (without the architecture's prefix) to keys of ``config.json``.

Facts from llama.cpp's ``convert_hf_to_gguf`` and ``llama-model``; checked against transformers'
own GGUF loader in the tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Undo(Enum):
    """What has to be undone to get the Hugging Face tensor back."""

    NOTHING = "stored as it is"
    QUERY_ROWS = "rows of each query head interleaved for llama.cpp's RoPE"
    KEY_ROWS = "rows of each key head interleaved for llama.cpp's RoPE"
    ONE_ADDED = "norm weight stored as 1 + w"
    TRANSPOSED = "Conv1D weight (in, out) stored as (out, in)"


@dataclass(frozen=True)
class Rule:
    """Where one GGUF tensor goes, and what has to be undone on the way."""

    gguf: str
    hf: str
    undo: Undo = Undo.NOTHING


@dataclass(frozen=True)
class Gguf:
    """What a family is in a GGUF file.

    Attributes:
        name: llama.cpp's architecture. Mistral files call themselves llama.
        architecture: the class that ``config.json`` names.
        rules: one for each kind of tensor.
        required: metadata key → config key, must be present.
        optional: metadata key → config key, used if present.
        constants: config keys that llama.cpp hard-codes.
        experts: whether the file has some; two families may share a name.
        rotary: whether positions are encoded by RoPE.
        scalar_from_width: block count of the one size whose attention divides by
            sqrt(hidden / heads) instead of sqrt(head_dim), for families whose config says so.
        attention_bias: the config key that says whether q, k, v and o have biases, if there is one.
    """

    name: str
    architecture: str
    rules: tuple[Rule, ...]
    required: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, object] = field(default_factory=dict)
    experts: bool = False
    rotary: bool = True
    scalar_from_width: int | None = None
    attention_bias: str | None = None


def rules(
    prefix: str, pairs: Mapping[str, str], undo: Mapping[str, Undo] | None = None
) -> tuple[Rule, ...]:
    """Rules for weights of a block: their names behind ``blk.{n}`` and behind ``prefix``."""
    undo = undo or {}
    return tuple(
        Rule(f"blk.{{n}}.{gguf}", f"{prefix}.{hf}", undo.get(gguf, Undo.NOTHING))
        for gguf, hf in pairs.items()
    )


# Computed from the config by every reader, or read into the config (``gguf_config``): no weights.
DERIVED = frozenset(
    {
        "rope_freqs.weight",
        "rope_factors_long.weight",
        "rope_factors_short.weight",
        "blk.{n}.attn_rot_embd.weight",
    }
)
