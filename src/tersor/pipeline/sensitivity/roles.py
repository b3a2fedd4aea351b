"""What a linear is to a reader: q, k, v, o, gate, up, down, expert, head, embedding."""

from collections.abc import Mapping

from tersor.families.blocks import canonical
from tersor.models.architecture import Architecture

ATTENTION = ("q", "k", "v", "qkv", "o")
FFN = ("gate", "up", "gate_up", "down", "expert")

_LEAVES: Mapping[str, str] = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "qkv_proj": "qkv",
    "query_key_value": "qkv",
    "c_attn": "qkv",
    "o_proj": "o",
    "out_proj": "o",
    "gate_proj": "gate",
    "up_proj": "up",
    "gate_up_proj": "gate_up",
    "c_fc": "up",
    "fc1": "up",
    "dense_h_to_4h": "up",
    "down_proj": "down",
    "fc2": "down",
    "dense_4h_to_h": "down",
}
# Names that only what stands before them explains.
_BY_PARENT: Mapping[str, tuple[str, str]] = {"c_proj": ("o", "down"), "dense": ("o", "down")}


def role_of(architecture: Architecture, module: str) -> str:
    """The role of a module, by its name on disk; the last part of it where that says nothing."""
    weight = f"{module}.weight"
    if weight == architecture.embedding:
        return "head" if architecture.head is None and architecture.tied else "embedding"
    if weight == architecture.head:
        return "head"
    _, relative = architecture.split(weight)
    if "*" in canonical(relative):
        return "expert"
    *parents, leaf = relative.split(".")
    if leaf in _BY_PARENT:
        of_attention, of_ffn = _BY_PARENT[leaf]
        return of_attention if any("att" in parent for parent in parents) else of_ffn
    return _LEAVES.get(leaf, leaf)
