"""Text files → windows of tokens."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol

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


def read_text(paths: Sequence[Path]) -> str:
    """The files' text (UTF-8), in order, with an empty line between two files.

    Raises :class:`TextError` naming a file that is missing, empty, or no text, and for no file.
    """
    if not paths:
        raise TextError("no text file given; name at least one")
    return "\n\n".join(_read(Path(path)) for path in paths)


def builtin_text(name: Literal["calibration", "evaluation"]) -> str:
    """Public-domain English (Shakespeare) that comes with tersor.

    ``calibration`` is about 150 kB, ``evaluation`` about 60 kB from other plays.
    """
    file = resources.files("tersor.calibration") / "corpus" / f"{name}.txt"
    return file.read_text(encoding="utf-8")


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
    room = length - len(first)
    if room < 1:
        raise TextError(
            f"windows of {length} tokens have no room for text behind the {len(first)} tokens "
            "that the tokenizer puts in front"
        )
    tokens = _tokens(tokenizer, text, None if count is None else count * room)
    available = len(tokens) // room
    if available == 0:
        raise TextError(
            f"the text has {len(tokens)} tokens and one window needs {room}; "
            "give more text or a shorter context"
        )
    used = available if count is None else min(count, available)
    texts = torch.tensor(tokens[: used * room], dtype=torch.int64).view(used, room)
    front = torch.tensor(first, dtype=torch.int64).expand(used, -1)
    return torch.cat([front, texts], dim=1)


def _tokens(tokenizer: Tokenizer, text: str, needed: int | None) -> list[int]:
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
    tokens: Tensor, name: str, *, vocabulary: int | None, positions: int | None
) -> None:
    """Refuse windows ``(n, T)`` that the model ``name`` cannot read.

    ``vocabulary``: tokens it knows; ``positions``: the longest window; ``None`` where unknown.

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
            f"{positions}; use --context {positions} or less"
        )


def _read(path: Path) -> str:
    try:
        # A byte order mark is not text, and windows of the same text must be the same tokens
        # whatever system it was saved on.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}: not UTF-8 text (byte {error.start}); convert it to UTF-8"
        ) from error
    except OSError as error:
        raise TextError(f"{path}: cannot be read ({error.strerror})") from error
    if "\0" in text:
        raise TextError(f"{path}: binary, not text; give a plain text file")
    if not text.strip():
        raise TextError(f"{path}: empty; give a file with text in it")
    return text
