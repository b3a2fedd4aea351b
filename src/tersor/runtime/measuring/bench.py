"""How fast the engine runs a model, and how near that is to what the machine can do."""

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tersor.errors import OptionError
from tersor.options import limits
from tersor.runtime.engine.engine import Engine
from tersor.runtime.measuring.roofline import roofline
from tersor.runtime.origin import recipe_of
from tersor.version import own_version, versions


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
class BenchResult:
    """Rates in tokens per second, one per repetition, of all sequences together.

    ``recipe``: what ``model`` was made by, if it is an artifact of tersor's. ``instructions`` to
    ``threads``: what the engine ran with, ``context`` in tokens. ``bytes_per_token``: weights read
    to make one token for every sequence; ``products_per_token``: multiply-adds of one token of a
    prompt. ``peak_bandwidth``: bytes that this machine reads per second at most;
    ``peak_products``: int8 multiply-adds. ``notes``: what the engine has to report.
    """

    model: Path
    recipe: str | None
    prompt_tokens: int
    new_tokens: int
    batch: int
    instructions: str
    activation_bits: int
    dense_bits: int | None
    cache: str
    context: int
    threads: int
    prefill: tuple[float, ...]
    decode: tuple[float, ...]
    bytes_per_token: int
    products_per_token: int
    peak_bandwidth: float
    peak_products: float
    notes: tuple[str, ...]

    @property
    def bandwidth(self) -> float:
        """Bytes of weights read per second while decoding, median."""
        return median(self.decode) / self.batch * self.bytes_per_token

    @property
    def products(self) -> float:
        """Multiply-adds per second during prefill, median."""
        return median(self.prefill) * self.products_per_token

    def to_dict(self) -> dict[str, Any]:
        """Every field and the medians, as plain JSON types; rates are rounded."""
        rates = {
            "prefill": [round(rate, 2) for rate in self.prefill],
            "decode": [round(rate, 2) for rate in self.decode],
            "peak_bandwidth": round(self.peak_bandwidth),
            "peak_products": round(self.peak_products),
            "bandwidth": round(self.bandwidth),
            "products": round(self.products),
        }
        fields = asdict(self) | {"model": str(self.model), "notes": list(self.notes)}
        return {"version": own_version(), **fields, "versions": versions(), **rates}


def time_engine(
    engine: Engine, timing: Timing, progress: Callable[[int, int], None] | None = None
) -> BenchResult:
    """Time random prompts, another for every repetition, after one that is not counted.

    Raises :class:`OptionError` if the engine's context or batch is too small.
    """
    timing.refuse_short(engine.context)
    batch = timing.batch
    if batch > engine.batch:
        raise OptionError("batch", f"of {batch}, but the engine was made for {engine.batch}")
    prefill, decode = [], []
    for repetition in range(timing.repetitions + 1):
        chance = random.Random(repetition)
        size = engine.plan.vocabulary
        prompts = [
            [chance.randrange(size) for _ in range(timing.prompt_tokens)] for _ in range(batch)
        ]
        start = time.perf_counter()
        run = engine.generate_batch_tokens(prompts, timing.new_tokens)
        next(run)
        middle = time.perf_counter()
        made = sum(len(tokens) for tokens in run)
        end = time.perf_counter()
        if repetition:
            prefill.append(batch * timing.prompt_tokens / (middle - start))
            decode.append(made / (end - middle))
        if progress is not None:
            progress(repetition + 1, timing.repetitions + 1)
    most = roofline(engine.bytes_per_token, engine.threads)
    return BenchResult(
        model=engine.directory,
        recipe=recipe_of(engine.directory),
        prompt_tokens=timing.prompt_tokens,
        new_tokens=timing.new_tokens,
        batch=batch,
        **engine.conditions(),
        prefill=tuple(prefill),
        decode=tuple(decode),
        bytes_per_token=engine.bytes_per_token,
        products_per_token=engine.products_per_token,
        peak_bandwidth=most.bandwidth,
        peak_products=most.products,
        notes=tuple(engine.notes),
    )
