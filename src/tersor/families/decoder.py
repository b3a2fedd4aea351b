"""What the engine must know of a family: which fields of ``config.json`` its code reads, and how.

A field is read only where the family's own code in transformers reads it: others may stand in a
config and mean nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

QUERIES_KEYS_VALUES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
ATTENTION = (*QUERIES_KEYS_VALUES, "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")

# What the engine calls a norm → its name in a layer.
NORMS_BEFORE = {
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
}
NORMS_AROUND = {
    "attention_norm": "input_layernorm",
    "attention_output_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_output_norm": "post_feedforward_layernorm",
}
NORMS_OF_HEADS = {"query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm"}


class Windows(Enum):
    """Which layers see no more than ``sliding_window`` positions."""

    NONE = "no layer, whatever sliding_window says"
    ALL = "every layer, unless sliding_window is null"
    BY_TYPE = "those that layer_types calls sliding_attention"


@dataclass(frozen=True)
class Biases:
    """Linears of a layer that have a bias: always, or if the field ``switch`` is true."""

    linears: tuple[str, ...]
    switch: str | None = None


@dataclass(frozen=True)
class Types:
    """Types of layers where ``layer_types`` is missing.

    Layers from the number in the field ``windows_from`` on have a window. If ``full_every`` is
    given, the last of so many layers has none: a number, or the field that holds it.
    """

    windows_from: str | None = None
    full_every: int | str | None = None


@dataclass(frozen=True)
class Decoder:
    """Switches of a decoder, and names of fields.

    ``norms``: those that a layer has, by what the engine calls them. ``activation``: the field that
    names it. ``windows``, ``types``: see there; ``window_switch``: the field without which
    ``sliding_window`` counts as null. ``query_scalar``: the field whose value takes the place of
    the head's size in the scale of attention. ``attention_cap``, ``final_cap``: fields with soft
    caps. ``scaled_embedding``: rows are multiplied by the root of the width. ``ropes_by_type``:
    types of layers have rotary embeddings of their own. ``turns_part``: the code can leave
    dimensions of a head as they are. ``ropes``: kinds of rotary embeddings that its config may
    name; empty for all. ``refused``: fields that change what is computed when they are true, and
    what is said then. ``renamed``: fields that make transformers take the config for another
    type's.
    """

    norms: Mapping[str, str] = field(default_factory=lambda: NORMS_BEFORE)
    activation: str = "hidden_act"
    biases: tuple[Biases, ...] = ()
    windows: Windows = Windows.NONE
    types: Types = Types()
    window_switch: str | None = None
    query_scalar: str | None = None
    attention_cap: str | None = None
    final_cap: str | None = None
    scaled_embedding: bool = False
    ropes_by_type: bool = False
    turns_part: bool = False
    ropes: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
