"""How fast the engine runs a model, and how near that is to what the machine can do."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from tersor.errors import OptionError
from tersor.options import limits
from tersor.runtime.engine.engine import Engine
from tersor.runtime.measuring.roofline import Roofline, roofline
from tersor.version import versions


@dataclass(frozen=True)
class Timing:
    """What is timed: prompts of ``prompt_tokens``, ``new_tokens`` after each, ``batch`` at a time.

    Raises :class:`OptionError`.
    """

    prompt_tokens: int = 512
    new_tokens: int = 64
    repetitions: int = 3
    batch: int = 1

    def __post_init__(self) -> None:
        limits.PROMPT_TOKENS(self.prompt_tokens)
        limits.NEW_TOKENS(self.new_tokens)
        limits.REPETITIONS(self.repetitions)
        limits.BATCH(self.batch)

    @property
    def context(self) -> int:
        """The context that it takes, in tokens."""
        return self.prompt_tokens + self.new_tokens

    def refuse_short(self, context: int) -> None:
        """Raise :class:`OptionError` for a context that has no room for all tokens."""
        if self.context > context:
            raise OptionError(
                "context",
                f"of {context} has no room for {self.prompt_tokens} tokens of a prompt and "
                f"{self.new_tokens} new ones ({{}}, {{}})",
                "prompt_tokens",
                "new_tokens",
            )


@dataclass(frozen=True)
class Bench:
    """Rates in tokens per second, one per repetition, of all sequences together.

    ``conditions``: the engine's. ``bytes_per_token``: weights read to make one token for every
    sequence; ``products_per_token``: multiply-adds of one token of a prompt.
    """

    prompt_tokens: int
    new_tokens: int
    batch: int
    conditions: dict[str, Any]
    prefill: tuple[float, ...]
    decode: tuple[float, ...]
    bytes_per_token: int
    products_per_token: int
    roofline: Roofline

    @property
    def bandwidth(self) -> float:
        """Bytes of weights read per second while decoding, median."""
        return median(self.decode) / self.batch * self.bytes_per_token

    @property
    def products(self) -> float:
        """Multiply-adds per second during prefill, median."""
        return median(self.prefill) * self.products_per_token

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "new_tokens": self.new_tokens,
            "batch": self.batch,
            **self.conditions,
            "versions": versions(),
            "prefill": [round(rate, 2) for rate in self.prefill],
            "decode": [round(rate, 2) for rate in self.decode],
            "bytes_per_token": self.bytes_per_token,
            "products_per_token": self.products_per_token,
            "bandwidth": round(self.bandwidth),
            "peak_bandwidth": round(self.roofline.bandwidth),
            "products": round(self.products),
            "peak_products": round(self.roofline.products),
        }


def bench(
    engine: Engine,
    *,
    prompt_tokens: int = 512,
    new_tokens: int = 64,
    repetitions: int = 3,
    batch: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Bench:
    """Time random prompts, another for every repetition, after one that is not counted.

    Raises :class:`OptionError`, also if the engine's context or batch is too small.
    """
    timing = Timing(prompt_tokens, new_tokens, repetitions, batch)
    timing.refuse_short(engine.context)
    if batch > engine.batch:
        raise OptionError("batch", f"of {batch}, but the engine was made for {engine.batch}")
    prefill, decode = [], []
    for repetition in range(repetitions + 1):
        chance = random.Random(repetition)
        size = engine.shape.vocabulary
        prompts = [[chance.randrange(size) for _ in range(prompt_tokens)] for _ in range(batch)]
        start = time.perf_counter()
        run = engine.generate_batch_tokens(prompts, new_tokens)
        next(run)
        middle = time.perf_counter()
        made = sum(len(tokens) for tokens in run)
        end = time.perf_counter()
        if repetition:
            prefill.append(batch * prompt_tokens / (middle - start))
            decode.append(made / (end - middle))
        if progress is not None:
            progress(repetition + 1, repetitions + 1)
    return Bench(
        prompt_tokens,
        new_tokens,
        batch,
        engine.conditions(),
        tuple(prefill),
        tuple(decode),
        engine.bytes_per_token,
        engine.products_per_token,
        roofline(engine.bytes_per_token, engine.threads),
    )
