"""``generate``: text from a model directory, by the engine or else by transformers."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from reprlib import repr as clipped
from typing import Any

from tersor.checkpoints.gateway.chat_template import ChatTemplate, Message
from tersor.errors import EngineError, OptionError, TextError
from tersor.options import limits, of_kind, some_words
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.engine.sampling import Sampling

Prompt = str | Sequence[Message]
"""Text to continue, or messages to answer."""


def stream_text(
    directory: Path,
    prompt: Prompt,
    *,
    max_new_tokens: int = 64,
    sampling: Sampling = Sampling(),
    stop: str | Sequence[str] = (),
    speculate: int = 0,
    options: EngineOptions = EngineOptions(),
) -> Iterator[str]:
    """Pieces of the continuation of ``prompt``, without the prompt.

    Messages, each with ``role`` and ``content``, go through the model's chat template, and the
    answer comes next.

    What the engine does not run goes to transformers, and a warning says so; options of the engine
    alone are refused then. Raises :class:`TextError` if the prompt is empty or there is no chat
    template for it, and :class:`OptionError`, before the model is read.
    """
    asked = _checked(prompt)
    limits.MAX_NEW_TOKENS(max_new_tokens)
    limits.SPECULATE(speculate)
    stops = some_words("stop", stop)
    of_kind("sampling", sampling, Sampling)
    of_kind("options", options, EngineOptions)
    return _streamed(directory, asked, max_new_tokens, sampling, stops, speculate, options)


def _streamed(
    directory: Path,
    asked: Prompt,
    max_new_tokens: int,
    sampling: Sampling,
    stop: Sequence[str],
    speculate: int,
    options: EngineOptions,
) -> Iterator[str]:
    from tersor.runtime.tokens.kept import open_tokenizer

    tokenizer = open_tokenizer(Path(directory))
    prompt = asked if isinstance(asked, str) else _tokens(directory, tokenizer, asked)
    try:
        engine = options.open(directory)
    except EngineError as error:
        unheard = [name for name in options.changed() if name != "activation_bits"]
        unheard += ["speculate"] if speculate else []
        if unheard:
            raise OptionError(unheard[0], f"has no effect, leave it out: {error}") from None
        warnings.warn(f"{error}; transformers does, more slowly", stacklevel=2)
        yield from _by_transformers(directory, prompt, max_new_tokens, sampling, stop, options)
        return
    engine.tokenizer = tokenizer
    for token in engine.generate(
        prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, speculate=speculate
    ):
        if token.text:
            yield token.text


def _checked(prompt: Any) -> Prompt:
    """Text that is not empty, or messages with a role and what is said.

    Raises :class:`TextError` for empty text, :class:`OptionError` for what is neither.
    """
    if isinstance(prompt, str):
        if not prompt:
            raise TextError("the prompt is empty; give some text with --prompt")
        return prompt
    messages = list(prompt) if isinstance(prompt, Sequence) else []
    whole = (isinstance(one, Mapping) and {"role", "content"} <= one.keys() for one in messages)
    if not messages or not all(whole):
        wanted = 'text, or a list of {"role": …, "content": …}'
        raise OptionError("prompt", f"must be {wanted}, not {clipped(prompt)}")
    return messages


def _tokens(directory: Path, tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Messages by the model's chat template, up to where the answer begins."""
    if not ChatTemplate.exists(tokenizer):
        raise TextError(f"{directory}: the tokenizer has no chat template; give the prompt as text")
    text = ChatTemplate(tokenizer).render(messages, answer_next=True)
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return tokens


def _by_transformers(
    directory: Path,
    prompt: str | list[int],
    max_new_tokens: int,
    sampling: Sampling,
    stop: Sequence[str],
    options: EngineOptions,
) -> Iterator[str]:
    import torch

    from tersor.checkpoints.gateway.generation import generation_config, tokens_alone
    from tersor.runtime.companions import model_tokenizer, stored_configuration
    from tersor.runtime.load import load

    tokenizer = model_tokenizer(directory)
    generation_config(directory, stored_configuration(directory))  # refused before weights are read
    model = load(directory, activation_bits=options.activation_bits)
    model.generation_config = tokens_alone(model.generation_config)
    tokens = tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
    inputs = torch.tensor([tokens])
    torch.manual_seed(sampling.seed)
    with torch.inference_mode():
        made = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=max_new_tokens,
            **_rule(sampling),
        )
    text: str = tokenizer.decode(made[0, len(tokens) :], skip_special_tokens=True)
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
