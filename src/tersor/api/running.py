"""A model at work: ``generate``, ``stream``, ``converse``, ``bench``."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tersor.checkpoints.hub.fetching import model_path
from tersor.machine.memory import shortage_named
from tersor.options import AnyPath, of_kind
from tersor.runtime.conversation.generate import Prompt, stream_text
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.engine.sampling import Sampling
from tersor.runtime.measuring.bench import BenchResult, Timing, time_engine

if TYPE_CHECKING:
    from tersor.runtime.conversation.chat import Conversation


def generate(
    directory: AnyPath,
    prompt: Prompt,
    *,
    max_new_tokens: int = 64,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
    stop: str | Sequence[str] = (),
    speculate: int = 0,
    activation_bits: int = 8,
    cache: str = "auto",
    context: int | None = None,
    threads: int | None = None,
    dense_bits: int | None = None,
) -> str:
    """The continuation of ``prompt``, without it; all of what :func:`stream` gives in pieces.

    ``prompt``: text, or messages ``{"role": "user", "content": "…"}``, which go through the model's
    chat template. ``max_new_tokens``: tokens to make at most. Without a ``temperature`` above 0 the
    likeliest token is taken each time; otherwise one is drawn among the ``top_k`` likeliest, of
    those among the fewest that hold ``top_p`` of the probability, of those among the ones at least
    ``min_p`` times as likely as the likeliest: same ``seed`` (0 if none is given), same tokens.
    ``repetition_penalty``: above 1, what prompt and answer hold becomes less likely. ``stop``: a
    string, or strings, that end the answer and are no part of it. ``speculate``: how many tokens to
    guess from earlier text and check together; the tokens are the same. The rest is the engine's,
    see :class:`~tersor.Engine`. What it does not run, transformers runs, and a warning says so.

    Raises a :class:`~tersor.errors.TersorError`.
    """
    return "".join(
        stream(
            directory,
            prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=stop,
            speculate=speculate,
            activation_bits=activation_bits,
            cache=cache,
            context=context,
            threads=threads,
            dense_bits=dense_bits,
        )
    )


def stream(
    directory: AnyPath,
    prompt: Prompt,
    *,
    max_new_tokens: int = 64,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
    stop: str | Sequence[str] = (),
    speculate: int = 0,
    activation_bits: int = 8,
    cache: str = "auto",
    context: int | None = None,
    threads: int | None = None,
    dense_bits: int | None = None,
) -> Iterator[str]:
    """What :func:`generate` returns, in pieces as they are made; options are the same.

    Raises a :class:`~tersor.errors.TersorError`, for a wrong option before the first piece is asked
    for.
    """
    return stream_text(
        model_path("directory", directory),
        prompt,
        max_new_tokens=max_new_tokens,
        sampling=_sampling(temperature, top_k, top_p, min_p, repetition_penalty, seed),
        stop=stop,
        speculate=speculate,
        options=EngineOptions(activation_bits, cache, context, threads, dense_bits),
    )


@shortage_named("to open the model")
def converse(
    directory: AnyPath,
    *,
    system: str = "",
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
    activation_bits: int = 8,
    cache: str = "auto",
    context: int | None = None,
    threads: int | None = None,
    dense_bits: int | None = None,
) -> "Conversation":
    """A conversation with a model that has a chat template, on the engine.

    ``system``: a message that comes first. Other options are those of :func:`generate`. What was
    said stays in the engine's cache, so an answer costs its own tokens and the question's only.

    Raises a :class:`~tersor.errors.TersorError`, for a template that does not do before any weight
    is read.
    """
    from tersor.runtime.conversation.chat import open_conversation

    return open_conversation(
        model_path("directory", directory),
        system=of_kind("system", system, str),
        sampling=_sampling(temperature, top_k, top_p, min_p, repetition_penalty, seed),
        options=EngineOptions(activation_bits, cache, context, threads, dense_bits),
    )


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
    engine = options.open(model_path("directory", directory), batch=batch)
    return time_engine(engine, timing, progress)


def _sampling(
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    repetition_penalty: float | None,
    seed: int | None,
) -> Sampling:
    """What was not given is as :class:`Sampling` has it."""
    drawn = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    given: dict[str, Any] = {name: value for name, value in drawn.items() if value is not None}
    return Sampling(**given)
