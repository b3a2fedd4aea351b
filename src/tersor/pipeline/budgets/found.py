"""What was found within a budget, and what the uniform scheme of the same size does beside it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One way of spending a budget.

    ``choices``: label of the scheme by module (``kept`` for one that stays as it is).
    ``predicted``: the divergence that sensitivities add up to; ``measured``: that of the artifact,
    ``None`` where none was made. Both in nats. ``bits``: per quantized weight.
    """

    choices: Mapping[str, str]
    bytes: int
    bits: float
    predicted: float
    measured: float | None = None

    def widths(self) -> str:
        """``120 × w4g64, 90 × w3g64``: how often each scheme was chosen."""
        counted = Counter(self.choices.values()).most_common()
        return ", ".join(f"{count} × {label}" for label, count in counted)


@dataclass(frozen=True)
class Budget:
    """What was asked for, the mixture that was found, and the uniform scheme.

    ``asked``: for people; ``option`` and ``target`` as given. ``gap``: how far the mixture's
    prediction may be from the best, as a share of it. ``written``: ``mixture`` or ``uniform``.
    ``text``: what was measured on. ``tried``: bytes and measured divergence of every mixture on the
    way, where a divergence was asked for. ``seconds``: of sensitivities, and of the whole search.
    """

    option: str
    target: float
    asked: str
    any_widths: bool
    mixture: Outcome
    uniform: Outcome | None
    gap: float
    written: str
    text: str
    tried: tuple[tuple[int, float], ...] = ()
    sensitivity_seconds: float = 0.0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The one that is written."""
        if self.written == "mixture" or self.uniform is None:
            return self.mixture
        return self.uniform

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        return asdict(self) | {
            "tried": [list(one) for one in self.tried],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "sensitivity_seconds": round(self.sensitivity_seconds, 3),
        }

    def lines(self) -> list[tuple[str, str]]:
        """Label and fact, for people."""
        rows = [("budget", self.asked), ("mixture", _line(self.mixture))]
        if self.uniform is not None:
            rows.append(("uniform", _line(self.uniform)))
        rows.append(("gap", f"{self.gap:.2g} of the predicted loss at most, by the solver's bound"))
        if self.text:
            rows.append(("measured", f"on {self.text}"))
        if self.uniform is not None and self.uniform.measured is not None:
            rows.append(("verdict", self._verdict()))
        rows += [("note", note) for note in self.notes]
        return rows

    def _verdict(self) -> str:
        if self.uniform is not None and self.mixture.choices == self.uniform.choices:
            return "the uniform scheme: no mixture is better by prediction"
        other = "the uniform scheme" if self.written == "mixture" else "the mixture"
        won = "the mixture" if self.written == "mixture" else "the uniform scheme"
        why = "which is smaller" if self.option == "max_kl" else "which loses less"
        return f"{won}, {why} than {other} when measured"


def _line(outcome: Outcome) -> str:
    measured = "" if outcome.measured is None else f", measured {outcome.measured:.4g}"
    return (
        f"{outcome.bytes / 1e6:.4g} MB, {outcome.bits:.4g} bits per quantized weight; KL predicted "
        f"{outcome.predicted:.3g}{measured}; {outcome.widths()}"
    )
