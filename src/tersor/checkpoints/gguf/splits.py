"""How byte-level BPE splits text before merging, by llama.cpp's names (``tokenizer.ggml.pre``).

Facts from llama.cpp's ``llama-vocab.cpp``; several names mean the same.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

# GPT-2's own rule, which is what transformers falls back to.
LIKE_GPT2 = frozenset({"default", "gpt-2", "phi-2", "mpt", "olmo", "jais"})
# Every digit by itself first, then GPT-2's rule. transformers 5.23 does not know these and falls
# back to GPT-2's rule, which leaves "\n\n1" as three tokens where the model was trained on two.
DIGITS_FIRST = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
)


class _Pattern(NamedTuple):
    """``whole``: words that are in the vocabulary are not merged together, but taken at once."""

    name: str
    pattern: str
    whole: bool


_SUFFIXES = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_OF_CASED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_THREE_DIGITS = rf"{_SUFFIXES}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"


def _cased(suffixes: str, digits: str) -> str:
    words = (f"{_UPPER}*{_LOWER}+", f"{_UPPER}+{_LOWER}*")
    parts = (rf"[^\r\n\p{{L}}\p{{N}}]?{word}{suffixes}" for word in words)
    return "|".join((*parts, digits, _REST_OF_CASED))


_PATTERNS = (
    _Pattern("llama-bpe", _THREE_DIGITS, whole=True),
    _Pattern("dbrx", _THREE_DIGITS, whole=False),
    _Pattern("qwen2", rf"{_SUFFIXES}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}", whole=False),
    _Pattern("tekken", _cased("", r"\p{N}"), whole=True),
    _Pattern("gpt-4o", _cased(f"{_SUFFIXES}?", r"\p{N}{1,3}"), whole=False),
)


def split_name(pre_tokenizer: Mapping[str, Any] | None, *, whole: bool) -> str | None:
    """llama.cpp's name of what ``pre_tokenizer`` of a ``tokenizer.json`` does, if it has one.

    ``whole``: ``ignore_merges`` of its model.
    """
    match _flat(pre_tokenizer):
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}] if not whole:
            return "gpt-2"
        case [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        ] if not whole:
            return "smollm"
        case [
            {
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": "Isolated",
                "invert": False,
            },
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            known = (one for one in _PATTERNS if (one.pattern, one.whole) == (pattern, whole))
            return next((one.name for one in known), None)
    return None


def _flat(pre_tokenizer: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if pre_tokenizer is None:
        return []
    if pre_tokenizer.get("type") != "Sequence":
        return [pre_tokenizer]
    return [inner for one in pre_tokenizer["pretokenizers"] for inner in _flat(one)]
