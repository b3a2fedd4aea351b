"""What scoring will take, found by scoring a little of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tersor.evaluation import LiveBase, evaluate_model
from tersor.report import duration

_SHARE = 8
# Two positions are scored behind a first token; a standard error needs two.
_FEWEST = 3
_SLOW_SECONDS, _QUICK_SECONDS = 1.0, 10.0


@dataclass(frozen=True)
class Effort:
    """``windows`` with ``tokens`` in all, scored by ``models`` models in about ``seconds``.

    ``seconds`` is ``None`` where finding out would take a good part of them.
    """

    windows: int
    tokens: int
    models: int
    seconds: float | None

    def line(self) -> str:
        """``scoring 8192 tokens in 8 windows by 2 models: about 40 s``."""
        windows = "1 window" if self.windows == 1 else f"{self.windows} windows"
        models = "1 model" if self.models == 1 else f"{self.models} models"
        said = f"scoring {self.tokens} tokens in {windows} by {models}"
        if self.seconds is None:
            return said
        if self.seconds < _QUICK_SECONDS:
            return f"{said}: a few seconds"
        coarse = round(self.seconds, -1 if self.seconds > 60 else 0)
        return f"{said}: about {duration(coarse)}; --windows N scores fewer"


Begun = Callable[[Effort], None]
"""Called with what scoring will take, before it starts."""


def foreseen(
    texts: Sequence[Tensor], model: nn.Module, base: nn.Module | None, *, models: int
) -> Effort:
    """The effort of scoring ``texts``, each windows int64 ``(n, T)``, by ``models`` like ``model``.

    An eighth of a window is scored, twice if that is quick: the first time is slower. ``base``:
    runs along with the model, and is not counted.
    """
    windows, tokens = sum(map(len, texts)), sum(text.numel() for text in texts)
    runs = models if base is None else models + 1
    if windows < 2 or texts[0].shape[1] < _FEWEST:
        return Effort(windows, tokens, runs, None)
    first = texts[0][:1]
    little = first[:, : max(_FEWEST, first.shape[1] // _SHARE)]
    seconds = _timed(model, base, little)
    if seconds < _SLOW_SECONDS:
        seconds = _timed(model, base, little)
    return Effort(windows, tokens, runs, models * seconds * tokens / little.numel())


def _timed(model: nn.Module, base: nn.Module | None, windows: Tensor) -> float:
    start = time.perf_counter()
    evaluate_model(model, windows, base=None if base is None else LiveBase(base, windows))
    return time.perf_counter() - start
