"""Text → windows of tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tersor.errors import TextError

# Tokens that a cut through a text may have changed.
_MARGIN = 64
# What tokenizers are asked to encode to see what they add to a text.
_PROBE = "a"


class Tokenizer(Protocol):
    """What is asked of a tokenizer; every transformers one answers."""

    def __call__(self, text: str, **options: Any) -> Mapping[str, Any]:
        """``{"input_ids": [token, …]}``."""
        ...


def first_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Special tokens that a tokenizer puts in front of everything it encodes; often none or one.

    Models with such tokens never see a text without them: Gemma 3 270M has perplexity 64 on windows
    without its ``<bos>`` and 23 on the same text behind it. What a tokenizer appends is no
    part of it. Raises :class:`TextError` if encoding with special tokens loses the text itself.
    """
    plain = list(tokenizer(_PROBE, add_special_tokens=False)["input_ids"])
    whole = list(tokenizer(_PROBE)["input_ids"])
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return tuple(whole[:start])
    raise TextError(
        "the tokenizer encodes a text otherwise with special tokens than without, so it is unknown "
        "what windows of text begin with; check tokenizer.json"
    )


def windows(tokenizer: Tokenizer, text: str, length: int, count: int | None = None) -> Tensor:
    """Consecutive windows that do not overlap: int64 ``(count, length)``.

    Each begins with ``first_tokens(tokenizer)``. The text between is tokenized as one, without
    special tokens; the ragged tail is dropped. A text with fewer than ``count`` windows gives those
    it has: the caller sees it by the shape. ``None`` takes all.

    Raises :class:`TextError` for a text shorter than one window, or an impossible size.
    """
    if length < 1 or (count is not None and count < 1):
        raise TextError(f"{count} windows of {length} tokens: both must be at least 1")
    first = first_tokens(tokenizer)
    found = text_tokens(tokenizer, text, None if count is None else count * length)
    return stacked(cut(found, first, length, count), len(found), length - len(first))


def cut(
    tokens: Sequence[int], first: tuple[int, ...], length: int, count: int | None = None
) -> list[list[int]]:
    """Windows of ``length`` tokens of a stream, ``first`` in front of each; maybe none.

    Where the stream has ``first`` itself at the place (a conversation begins there), it is not put
    there again. What is left behind the last whole window is in none.

    Raises :class:`TextError` if ``first`` leaves no room.
    """
    room = length - len(first)
    if room < 1:
        raise TextError(
            f"windows of {length} tokens have no room for text behind the {len(first)} tokens "
            "that the tokenizer puts in front"
        )
    found: list[list[int]] = []
    at = 0
    while count is None or len(found) < count:
        begins = bool(first) and tuple(tokens[at : at + len(first)]) == first
        taken = tokens[at : at + (length if begins else room)]
        if len(taken) < (length if begins else room):
            break
        found.append(list(taken) if begins else [*first, *taken])
        at += len(taken)
    return found


def stacked(found: Sequence[Sequence[int]], have: int, need: int) -> Tensor:
    """Windows as int64 ``(n, length)``.

    Raises :class:`TextError` if there is none, which says what a text ``have`` and one ``need``.
    """
    if not found:
        raise TextError(
            f"the text has {have} tokens and one window needs {need}; "
            "give more text or a shorter context"
        )
    return torch.tensor(found, dtype=torch.int64)


def text_tokens(tokenizer: Tokenizer, text: str, needed: int | None) -> list[int]:
    """The first ``needed`` tokens of a text, or some more; ``None`` for all.

    Only as much text is tokenized as that takes, since a tokenizer's notes on a megabyte of text
    take hundreds. The text is cut where a line ends, and the last tokens before the cut, which
    might have been others without it, do not count.
    """
    characters = len(text) if needed is None else 8 * needed
    while True:
        cut = text.rfind("\n", 0, characters) if characters < len(text) else -1
        piece = text[:cut] if cut > 0 else text
        # Not verbose: the text is longer than any model's context on purpose.
        found: list[int] = tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"]
        if len(piece) == len(text) or (needed is not None and len(found) >= needed + _MARGIN):
            return found
        characters *= 2


def check_windows(
    tokens: Tensor,
    name: str,
    *,
    vocabulary: int | None,
    positions: int | None,
    flag: str = "--context",
) -> None:
    """Refuse windows ``(n, T)`` that the model ``name`` cannot read.

    ``vocabulary``: tokens it knows; ``positions``: the longest window; ``None`` where unknown.
    ``flag``: how windows are made shorter.

    Raises :class:`TextError`.
    """
    if tokens.ndim != 2 or tokens.dtype != torch.int64 or tokens.numel() == 0:
        raise TextError(
            f"windows are int64 (windows, tokens); got {tokens.dtype} {tuple(tokens.shape)}"
        )
    lowest, highest = int(tokens.min()), int(tokens.max())
    if lowest < 0 or (vocabulary is not None and highest >= vocabulary):
        raise TextError(
            f"{name}: the text has token {highest if lowest >= 0 else lowest}, the model has "
            f"{vocabulary}; use the model's own tokenizer"
        )
    if positions is not None and tokens.shape[1] > positions:
        raise TextError(
            f"{name}: windows of {tokens.shape[1]} tokens, but the model reads at most "
            f"{positions}; use {flag} {positions} or less"
        )
