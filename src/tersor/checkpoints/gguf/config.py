"""GGUF metadata → the fields of ``config.json`` that are particular to the model.

Numbers come from the file and may be anything: they are checked before a loop or an allocation
depends on them.
"""

from typing import Any

from tersor.checkpoints.gguf.header import GGUFHeader
from tersor.checkpoints.gguf.rope import rope_fields
from tersor.checkpoints.huggingface.config_fields import check_fields
from tersor.errors import SourceError
from tersor.families.gguf import Gguf
from tersor.families.registry import GGUF

_TOKENS = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}
_ALSO_END = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")


def family_of(header: GGUFHeader) -> tuple[str, Gguf]:
    """``model_type`` of the family in this file, and what such files are.

    Raises:
        SourceError: an architecture without a description.
    """
    experts = bool(header.number("expert_count"))
    family = GGUF.get((header.architecture, experts))
    if family is None or family.gguf is None:
        known = ", ".join(sorted({name for name, _ in GGUF}))
        kind = f"{header.architecture!r}{' with experts' if experts else ''}"
        raise SourceError(
            f"{header.path}: GGUF architecture {kind} is not supported (supported: {known}); "
            "start from the Hugging Face directory"
        )
    return family.model_type, family.gguf


def refuse_gaps(header: GGUFHeader) -> None:
    """Every block holds what block 0 holds, and there are as many as announced.

    Raises:
        SourceError: names the missing tensor or the surplus block.
    """
    count = header.number("block_count")
    if not isinstance(count, int):
        raise SourceError(f"{header.path}: {header.architecture}.block_count is {count!r}")
    held: dict[str, set[str]] = {}
    for name in header.tensors:
        prefix, _, rest = name.partition(".")
        number, _, rest = rest.partition(".")
        if prefix == "blk":
            held.setdefault(number, set()).add(rest)
    wanted = held.get("0", {"attn_norm.weight"})
    # A loop that ends at the first gap: a corrupt count may be four thousand million.
    for number in map(str, range(count)):
        missing = wanted - held.pop(number, set())
        if missing:
            name = f"blk.{number}.{min(missing)}"
            raise SourceError(f"{header.path}: holds no tensor {name!r}; download it again")
    if held:
        raise SourceError(
            f"{header.path}: announces {count} blocks, but holds block {min(held)!r}; "
            "convert the model again"
        )


def config_fields(header: GGUFHeader, family: Gguf) -> dict[str, Any]:
    """What the file says about its model, under the keys of ``config.json``.

    The keys are those every transformers release reads (``rope_theta``, not ``rope_parameters``).

    Raises:
        SourceError: a required key is missing, or its value cannot be expressed.
    """
    fields: dict[str, Any] = dict(family.constants)
    for key, name in family.required.items():
        fields[name] = header.number(key)
        if fields[name] is None:
            raise SourceError(f"{header.path}: {header.architecture}.{key} is missing")
    for key, name in family.optional.items():
        value = header.number(key)
        if value is not None:
            fields[name] = value
    if family.rotary:
        fields.setdefault("num_key_value_heads", fields["num_attention_heads"])
        head_dim = fields.setdefault("head_dim", _width(fields))
        fields |= rope_fields(header, head_dim)
        if family.scalar_from_width is not None:
            wide = fields["num_hidden_layers"] == family.scalar_from_width
            fields["query_pre_attn_scalar"] = _width(fields) if wide else head_dim
    if fields.get("sliding_window") == 0:
        fields["sliding_window"] = None
    if family.attention_bias is not None:
        fields[family.attention_bias] = _has_biases(header)
    fields |= {name: header.metadata.get(key) for key, name in _TOKENS.items()}
    # The file's rows decide, not its word count: embeddings may be padded.
    fields["vocab_size"] = _tensor_rows(header, "token_embd.weight")
    fields["tie_word_embeddings"] = "output.weight" not in header.tensors
    check_fields(header.path, fields, "download the file again")
    return fields


def generation_fields(header: GGUFHeader) -> dict[str, Any]:
    """``generation_config.json``: special tokens, with every token that ends a turn."""
    fields = {name: header.metadata.get(key) for key, name in _TOKENS.items()}
    ends = [fields["eos_token_id"], *(header.metadata.get(key) for key in _ALSO_END)]
    unique = list(dict.fromkeys(end for end in ends if end is not None))
    if len(unique) > 1:
        fields["eos_token_id"] = unique
    return {name: value for name, value in fields.items() if value is not None}


def _width(fields: dict[str, Any]) -> int:
    heads = fields["num_attention_heads"]
    return int(fields["hidden_size"]) // int(heads) if heads else 0


def _tensor_rows(header: GGUFHeader, name: str) -> int:
    if name not in header.tensors:
        raise SourceError(f"{header.path}: holds no tensor {name!r}; download it again")
    return header.tensors[name].shape[0]


def _has_biases(header: GGUFHeader) -> bool:
    """Whether block 0 has attention biases: all four or none, since one config key says it."""
    held = [f"blk.0.attn_{part}.bias" in header.tensors for part in ("q", "k", "v", "output")]
    if any(held) and not all(held):
        raise SourceError(
            f"{header.path}: only some attention projections have a bias, "
            "which config.json cannot express; start from the original model"
        )
    return all(held)
