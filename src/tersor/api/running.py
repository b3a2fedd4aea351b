"""A model at work: ``generate``, ``bench``."""

from collections.abc import Callable

from tersor.machine.memory import shortage_named
from tersor.options import AnyPath, one_path
from tersor.runtime.conversation.generate import generate_text
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.measuring.bench import BenchResult, Timing, time_engine


def generate(directory: AnyPath, prompt: str, *, max_new_tokens: int = 64) -> str:
    """Greedy continuation of ``prompt``. Raises a :class:`~tersor.errors.TersorError`."""
    return generate_text(one_path("directory", directory), prompt, max_new_tokens=max_new_tokens)


@shortage_named("to time the model")
def bench(
    directory: AnyPath,
    *,
    prompt_tokens: int = 512,
    new_tokens: int = 64,
    repetitions: int = 3,
    batch: int = 1,
    activation_bits: int = 8,
    cache: str = "auto",
    context: int | None = None,
    threads: int | None = None,
    dense_bits: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """Tokens per second of a model on the engine, and what this machine could do at most.

    ``prompt_tokens`` and ``new_tokens`` of each of ``batch`` sequences at a time, ``repetitions``
    times, each with other prompts. ``activation_bits``, ``cache``, ``threads`` and ``dense_bits``
    are the engine's, see :class:`~tersor.Engine`; ``context``: longest sequence in tokens, by
    default what is needed. ``progress``: called with repetitions done and repetitions in all.

    Raises a :class:`~tersor.errors.TersorError`.
    """
    timing = Timing(prompt_tokens, new_tokens, repetitions, batch)
    needed = timing.context if context is None else context
    options = EngineOptions(activation_bits, cache, needed, threads, dense_bits)
    timing.refuse_short(options.context or needed)
    engine = options.open(one_path("directory", directory), batch=batch)
    return time_engine(engine, timing, progress)
