"""What rounding one weight, its row and its matrix does to an output and to a logit."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class OutputShare:
    """At one token of a text: what the matrix reads there, and what rounding adds to one output.

    ``input``: what the weight is multiplied with; ``output``: the row's product before rounding,
    without a bias; ``change``: ``input · (w' - w)``; ``row_change``: that of all weights of the
    row, which partly cancel.
    """

    input: float
    output: float
    change: float
    row_change: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class LogitShare:
    """How far the largest next-token logit moves, the rest of the model left as it was.

    ``token``: what the model would say next; ``logit``: its logit; ``by_weight``, ``by_row``,
    ``by_matrix``: how much is added to it by replacing as much by its rounded values, the model
    run again each time. ``resolution``: how finely float32 tells logits of this size apart;
    smaller differences are noise.
    """

    token: str
    logit: float
    by_weight: float
    by_row: float
    by_matrix: float
    resolution: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Effect:
    """What was found at the last of ``tokens`` tokens of ``text``.

    ``output``: ``None`` where the matrix's input cannot be seen.
    """

    text: str
    tokens: int
    last_token: str
    output: OutputShare | None
    logit: LogitShare

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "text": self.text,
            "tokens": self.tokens,
            "last_token": self.last_token,
            "output": None if self.output is None else self.output.to_dict(),
            "logit": self.logit.to_dict(),
        }
