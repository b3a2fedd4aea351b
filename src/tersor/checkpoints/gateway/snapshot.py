"""What transformers made of a tokenizer's files, as values that do not need transformers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PROBE = "A 1st, “prøbe” 你好 🙂  of\n\tit.\n"
# With these methods transformers' fast tokenizers turn text into tokens and back.
_METHODS = ("__call__", "encode", "_encode_plus", "decode", "_decode")


@dataclass(frozen=True)
class Snapshot:
    """``backend``: JSON of the tokenizers package, which turns text into tokens and back.

    ``splits_special``: special tokens in a text are text. ``specials``: special tokens by name, as
    chat templates find them. ``chat_template``: one, several by name, or None.
    """

    backend: str
    splits_special: bool
    specials: Mapping[str, str]
    chat_template: Any


def snapshot(tokenizer: Any) -> Snapshot | None:
    """A tokenizer of transformers as values; None if its own Python has a part in what it does."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast as Plain

    kind = type(tokenizer)
    if not isinstance(tokenizer, Plain) or _cleans(tokenizer):
        return None
    if any(getattr(kind, name) is not getattr(Plain, name) for name in _METHODS):
        return None
    try:
        # Whoever encodes a text takes lengths and padding away; a copy shows that nothing is lost.
        backend = tokenizer.backend_tokenizer.to_str()
        copy = Tokenizer.from_str(backend)
        copy.no_padding()
        copy.no_truncation()
        copy.encode_special_tokens = tokenizer.split_special_tokens
        same = all(
            copy.encode(_PROBE, add_special_tokens=special).ids
            == tokenizer.encode(_PROBE, add_special_tokens=special)
            for special in (False, True)
        )
    except Exception:  # parts written in Python have no JSON
        return None
    if not same:
        return None
    return Snapshot(
        backend,
        bool(tokenizer.split_special_tokens),
        dict(tokenizer.special_tokens_map),
        tokenizer.chat_template,
    )


def _cleans(tokenizer: Any) -> bool:
    """Whether transformers takes spaces away from what the package decodes."""
    if not tokenizer.clean_up_tokenization_spaces:
        return False
    forced = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
    bpe = type(tokenizer.backend_tokenizer.model).__name__ == "BPE"
    return not bpe or bool(getattr(tokenizer, forced, True))
