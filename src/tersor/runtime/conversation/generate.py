"""``generate``: text from a model directory, by the engine or else by transformers."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tersor.checkpoints.gateway.configuration import configuration
from tersor.checkpoints.gateway.generation import end_tokens, tokens_alone
from tersor.errors import EngineError, OptionError, TextError
from tersor.options import limits, of_kind, some_words
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.engine.sampling import Sampling
from tersor.runtime.load import load, model_tokenizer


def stream_text(
    directory: Path,
    prompt: str,
    *,
    max_new_tokens: int = 64,
    sampling: Sampling = Sampling(),
    stop: str | Sequence[str] = (),
    speculate: int = 0,
    options: EngineOptions = EngineOptions(),
) -> Iterator[str]:
    """Pieces of the continuation of ``prompt``, without the prompt.

    What the engine does not run goes to transformers, and a warning says so; options of the engine
    alone are refused then. Raises :class:`TextError` if the prompt is empty, and
    :class:`OptionError`, both before the model is read.
    """
    if not isinstance(prompt, str):
        raise OptionError("prompt", f"must be text, not a {type(prompt).__name__}")
    if not prompt:
        raise TextError("the prompt is empty; give some text with --prompt")
    limits.MAX_NEW_TOKENS(max_new_tokens)
    limits.SPECULATE(speculate)
    stops = some_words("stop", stop)
    of_kind("sampling", sampling, Sampling)
    of_kind("options", options, EngineOptions)
    return _streamed(directory, prompt, max_new_tokens, sampling, stops, speculate, options)


def _streamed(
    directory: Path,
    prompt: str,
    max_new_tokens: int,
    sampling: Sampling,
    stop: Sequence[str],
    speculate: int,
    options: EngineOptions,
) -> Iterator[str]:
    tokenizer = model_tokenizer(directory)
    try:
        engine = options.open(directory)
    except EngineError as error:
        unheard = [name for name in options.changed() if name != "activation_bits"]
        unheard += ["speculate"] if speculate else []
        if unheard:
            raise OptionError(unheard[0], f"has no effect, leave it out: {error}") from None
        warnings.warn(f"{error}; transformers does, more slowly", stacklevel=2)
        yield from _by_transformers(
            directory, tokenizer, prompt, max_new_tokens, sampling, stop, options
        )
        return
    engine.tokenizer = tokenizer
    for token in engine.generate(
        prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, speculate=speculate
    ):
        if token.text:
            yield token.text


def generate_text(
    directory: Path,
    prompt: str,
    *,
    max_new_tokens: int = 64,
    sampling: Sampling = Sampling(),
    on_text: Callable[[str], None] | None = None,
) -> str:
    """The continuation of ``prompt``; ``on_text`` receives it piece by piece."""
    pieces = []
    for piece in stream_text(directory, prompt, max_new_tokens=max_new_tokens, sampling=sampling):
        pieces.append(piece)
        if on_text is not None:
            on_text(piece)
    return "".join(pieces)


def _by_transformers(
    directory: Path,
    tokenizer: Any,
    prompt: str,
    max_new_tokens: int,
    sampling: Sampling,
    stop: Sequence[str],
    options: EngineOptions,
) -> Iterator[str]:
    import torch

    end_tokens(directory, configuration(directory))  # refused before weights are read
    model = load(directory, activation_bits=options.activation_bits)
    model.generation_config = tokens_alone(model.generation_config)
    inputs = tokenizer(prompt, return_tensors="pt")
    torch.manual_seed(sampling.seed)
    with torch.inference_mode():
        made = model.generate(**inputs, max_new_tokens=max_new_tokens, **_rule(sampling))
    text: str = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    ends = [place for place in map(text.find, stop) if place >= 0]
    yield text[: min(ends, default=len(text))]


def _rule(sampling: Sampling) -> dict[str, Any]:
    penalty = {"repetition_penalty": sampling.repetition_penalty}
    if sampling.temperature == 0:
        return penalty | {"do_sample": False}
    return penalty | {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p or None,
    }
