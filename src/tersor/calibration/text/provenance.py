"""Which texts a model was given to read, and how: what it takes to read them again."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

# Raised when the same files give other windows than before.
PACKING_RULES = 1


def windows_digest(tokens: Tensor) -> str:
    """SHA-256 of windows int64 ``(n, T)``, little-endian."""
    return hashlib.sha256(tokens.numpy().astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class TextIdentity:
    """A text by the SHA-256 of its file and by how that is read; ``bytes``: the file's size.

    The name is for people: the same file under another name is the same text. ``built_in``: it
    comes with tersor.
    """

    name: str
    kind: str
    sha256: str
    bytes: int
    built_in: bool = False

    def same(self, other: "TextIdentity") -> bool:
        """Whether both give the same rows."""
        mine, others = ((text.sha256, text.kind, text.built_in) for text in (self, other))
        return mine == others


@dataclass(frozen=True)
class TextUse:
    """What of a text was used: ``tokens`` of its own in windows, ``windows`` of them whole ones of
    this text alone, and ``rows`` that were begun (``None`` for a plain text).
    """

    text: TextIdentity
    windows: int
    tokens: int
    rows: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self.text) | {
            "windows": self.windows,
            "tokens": self.tokens,
            "rows": self.rows,
        }


@dataclass(frozen=True)
class TextRecord:
    """What texts, in their order, became, and what was ``done`` with it: calibrated, trained.

    ``windows`` of ``window`` tokens, each with ``first_tokens`` in front, ``tokens`` in all;
    ``sha256`` of them as little-endian int64. ``tokenizer``: digest of its files. ``arithmetic``:
    what this machine computed in, on which results depend.
    """

    done: str
    texts: tuple[TextUse, ...]
    window: int
    windows: int
    first_tokens: tuple[int, ...]
    sha256: str
    tokenizer: str
    arithmetic: str
    packing_rules: int = PACKING_RULES

    @property
    def tokens(self) -> int:
        """Tokens of all windows, those in front included."""
        return self.windows * self.window

    @property
    def built_in(self) -> bool:
        """Whether it is the mixture that comes with tersor."""
        return all(use.text.built_in for use in self.texts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {
            "texts": [use.to_dict() for use in self.texts],
            "first_tokens": list(self.first_tokens),
            "tokens": self.tokens,
            "built_in": self.built_in,
        }

    def line(self) -> str:
        """``32768 tokens in 64 windows of 512, of chat.jsonl (sha256 1f0c…)``."""
        amount = f"{self.tokens} tokens in {self.windows} windows of {self.window}"
        if self.built_in:
            kinds = ", ".join(use.text.name.removeprefix("built-in ") for use in self.texts)
            return f"{amount}, of the mixture that comes with tersor ({kinds})"
        names = (f"{use.text.name} (sha256 {use.text.sha256[:12]}…)" for use in self.texts)
        return f"{amount}, of {', then '.join(names)}"
