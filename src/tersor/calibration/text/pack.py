"""Files → windows, each file with its share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tersor.calibration.text.files import TextFile
from tersor.calibration.text.provenance import TextUse
from tersor.calibration.text.template import conversation_tokens
from tersor.calibration.text.windows import cut, first_tokens, stacked, text_tokens
from tersor.errors import TextError


@dataclass(frozen=True, eq=False)
class Packed:
    """Windows int64 ``(n, length)``, the special tokens each begins with, what there is to say
    about how rows were read, cut and left out, and what of each file was used."""

    tokens: Tensor
    first_tokens: tuple[int, ...]
    notes: tuple[str, ...]
    uses: tuple[TextUse, ...]


@dataclass(frozen=True)
class _Stream:
    """Tokens of a file, as many as could be of use; ``ends``: where each of its rows ends."""

    file: TextFile
    tokens: list[int]
    ends: tuple[int, ...]
    empty: int

    def begun(self, taken: int) -> int:
        """How many rows begin in the first ``taken`` tokens."""
        return sum(1 for end in (0, *self.ends[:-1]) if end < taken)


def pack(
    tokenizer: Any, files: Sequence[TextFile], length: int, count: int | None = None
) -> Packed:
    """``count`` windows (``None``: all) of ``length`` tokens from all files.

    Every file gives as many windows as the others, as far as it has them: what short files leave
    goes to the longer ones. The rows of a file follow each other in its order: conversations with
    what the chat template puts around them, texts with an empty line between. A row that a window
    ends in goes on in the next.

    Raises :class:`TextError` for files without a single window, rows that cannot be read, and
    conversations for a tokenizer without a chat template.
    """
    if not files:
        raise TextError("no text file given; name at least one")
    if length < 1 or (count is not None and count < 1):
        raise TextError(f"{count} windows of {length} tokens: both must be at least 1")
    first = first_tokens(tokenizer)
    needed = None if count is None else count * length
    streams = [_stream(tokenizer, file, needed) for file in files]
    cuts = [cut(stream.tokens, first, length, count) for stream in streams]
    dealt = _dealt([len(found) for found in cuts], count)
    chosen = [one for found, n in zip(cuts, dealt, strict=True) for one in found[:n]]
    used = [_taken(s.tokens, first, length, n) for s, n in zip(streams, dealt, strict=True)]
    if len(streams) > 1 and (count is None or len(chosen) < count):
        # All whole windows are used; the tails of the files together may make some more.
        tails = [t for s, at in zip(streams, used, strict=True) for t in s.tokens[at:]]
        more = cut(tails, first, length, None if count is None else count - len(chosen))
        chosen += more
        left = _taken(tails, first, length, len(more))
        for i, stream in enumerate(streams):
            took = min(left, len(stream.tokens) - used[i])
            used[i], left = used[i] + took, left - took
    total = sum(len(stream.tokens) for stream in streams)
    tokens = stacked(chosen, total, length - len(first))
    several = len(files) > 1
    taken = list(zip(streams, used, dealt, strict=True))
    said = (_note(*one, several) for one in taken)
    uses = (_use(*one) for one in taken)
    return Packed(tokens, first, tuple(note for note in said if note), tuple(uses))


def _stream(tokenizer: Any, file: TextFile, needed: int | None) -> _Stream:
    if file.rows is None:
        return _Stream(file, text_tokens(tokenizer, file.text, needed), (), 0)
    tokens: list[int] = []
    ends: list[int] = []
    empty = 0
    for row in file.rows():
        if row.empty:
            empty += 1
        elif row.messages:
            tokens += conversation_tokens(tokenizer, row, transcripts=file.transcripts)
            ends.append(len(tokens))
        else:
            text = row.text.rstrip("\n") + "\n\n"
            tokens += tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            ends.append(len(tokens))
        if needed is not None and len(tokens) >= needed:
            break
    if not tokens:
        raise TextError(f"{file.name}: no row with anything in it; give a file with text in it")
    return _Stream(file, tokens, tuple(ends), empty)


def _dealt(available: Sequence[int], count: int | None) -> list[int]:
    """How many windows each stream gives: dealt out in turn until there are ``count``."""
    if count is None:
        return list(available)
    dealt = [0] * len(available)
    left = min(count, sum(available))
    while left:
        for i, has in enumerate(available):
            if left and dealt[i] < has:
                dealt[i] += 1
                left -= 1
    return dealt


def _taken(tokens: Sequence[int], first: tuple[int, ...], length: int, count: int) -> int:
    """How many tokens of a stream are in its first ``count`` windows."""
    at = 0
    for _ in range(count):
        begins = bool(first) and tuple(tokens[at : at + len(first)]) == first
        at += length if begins else length - len(first)
    return at


def _use(stream: _Stream, taken: int, windows: int) -> TextUse:
    rows = None if stream.file.rows is None else stream.begun(taken)
    return TextUse(stream.file.identity, windows, taken, rows)


def _note(stream: _Stream, taken: int, windows: int, several: bool) -> str:
    """What of a file was used; nothing to say of a plain text alone, or of tersor's own."""
    file = stream.file
    if file.transcripts or (file.rows is None and not several):
        return ""
    parts = [f"{windows} whole windows"] if several else []
    if file.rows is not None:
        used = sum(1 for end in stream.ends if end <= taken)
        begun = stream.begun(taken)
        parts.append(f"{begun} rows used")
        if begun > used:
            parts.append("the last of them cut")
        if stream.empty:
            parts.append(f"{stream.empty} empty ones left out")
    return f"{file.name} ({file.kind}): {', '.join(parts)}"
