"""What the engine must know of a family: which fields of ``config.json`` its code reads, and how.

A field is read only where the family's own code in transformers reads it: others may stand in a
config and mean nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tersor.families.blocks import FusedExperts

QUERIES_KEYS_VALUES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
ATTENTION = (*QUERIES_KEYS_VALUES, "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")

GATE_UP_DOWN = ("gate_proj", "up_proj", "down_proj")

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
NORMS_AFTER = {
    "attention_output_norm": "post_attention_layernorm",
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


class Turned(Enum):
    """Which layers have rotary embeddings."""

    ALL = "every layer"
    WINDOWED = "those with a window"
    WINDOWED_IF_ANY = "those with a window, or all if sliding_window is null"
    LISTED = "those with a 1 in no_rope_layers; without it all but one in no_rope_layer_interval"


class Spans(Enum):
    """Of what queries and keys take a norm."""

    HEAD = "each head, with the same weights"
    ALL = "all heads at once"


@dataclass(frozen=True)
class Sparse:
    """Which layers have experts: fields of config.json.

    ``dense``: a list of those that have none. ``every``: the last of so many has some. ``first``,
    ``last``: from this one on, and to that one; a negative ``last`` is none.
    """

    dense: str | None = None
    every: str | None = None
    first: str | None = None
    last: str | None = None


@dataclass(frozen=True)
class Experts:
    """A mixture of experts, which takes the place of the MLP in some layers.

    ``names``: gate, up and down of an expert, ``*`` for its number. ``stacks``: how a checkpoint
    may hold them otherwise. ``routers``: names that the router has. ``count``, ``chosen``,
    ``size``: fields with their number, those of a token (by any of several names), and rows of the
    gate. ``scores``: ``softmax`` or ``sigmoid`` of the router's logits. ``normalized``: whether
    weights of the chosen are divided by their sum, or the field that says so; ``least``: the field
    with the least sum. ``scale``: the field whose value weights are multiplied by. ``groups``,
    ``chosen_groups``: fields. ``correction``: the tensor that is added to scores for choosing.
    ``shared``: gate, up and down of an expert for every token; ``shared_size``: the field with its
    rows, or ``shared_count`` with how many times ``size`` they are. ``shared_gate``: a linear of
    one row.
    """

    names: tuple[str, ...]
    routers: tuple[str, ...] = ("mlp.gate",)
    stacks: tuple[FusedExperts, ...] = ()
    count: tuple[str, ...] = ("num_experts",)
    chosen: tuple[str, ...] = ("num_experts_per_tok",)
    size: str = "moe_intermediate_size"
    scores: str = "softmax"
    normalized: bool | str = True
    least: str | None = None
    scale: str | None = None
    groups: str | None = None
    chosen_groups: str | None = None
    correction: str | None = None
    shared: tuple[str, ...] = ()
    shared_size: str | None = None
    shared_count: str | None = None
    shared_gate: str | None = None
    layers: Sparse = Sparse()


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
    """Switches of a decoder, and names of fields and modules.

    ``attention``: linears that make queries, keys and values, then that of the output; ``mlp``:
    those that make gate and up, or without ``gated`` one alone, then the last. ``experts``: what
    some layers have instead. ``norms``: those that a layer has, by what the engine calls them;
    ``epsilon``: the field; ``norm_offset`` is added to their weights; ``centred`` ones subtract the
    mean; ``norm_biases``: they have some. ``head_size``: the field,
    None if heads share the width evenly. ``spans``: see there; ``head_norms_if``: the field
    without which queries and keys have no norm; ``turns_first``: they are normed after they turned.
    ``turned``: see there; ``turns_pairs``: neighbours turn together. ``theta``, ``local_theta``,
    ``turned_part``: fields outside of rotary parameters. ``parallel``: mixer and feed-forward read
    the same, or the field that says so; then ``parallel_norms`` is the norm of both, if they share
    one. ``embedding_multiplier`` to ``logits_divisor``: fields.
    ``heads_fused``: a linear makes query, key and value of one head after the other. ``embedding``,
    ``final_norm``: beside the layers; ``heads``: names that the head has; ``head_biased``: it has a
    bias. ``activation``: the field that
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

    attention: tuple[str, ...] = ATTENTION
    mlp: tuple[str, ...] = MLP
    gated: bool = True
    experts: Experts | None = None
    norms: Mapping[str, str] = field(default_factory=lambda: NORMS_BEFORE)
    epsilon: str = "rms_norm_eps"
    norm_offset: float = 0.0
    centred: bool = False
    norm_biases: bool = False
    head_size: str | None = "head_dim"
    spans: Spans = Spans.HEAD
    head_norms_if: str | None = None
    turns_first: bool = False
    turned: Turned = Turned.ALL
    turns_pairs: bool = False
    theta: str = "rope_theta"
    local_theta: str = "rope_local_base_freq"
    turned_part: str = "partial_rotary_factor"
    parallel: bool | str = False
    parallel_norms: str | None = None
    embedding_multiplier: str | None = None
    residual_multiplier: str | None = None
    attention_multiplier: str | None = None
    logits_multiplier: str | None = None
    logits_divisor: str | None = None
    heads_fused: bool = False
    embedding: str = "embed_tokens"
    final_norm: str = "norm"
    heads: tuple[str, ...] = ("lm_head",)
    head_biased: bool = False
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
