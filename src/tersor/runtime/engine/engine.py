"""The engine: a decoder's forward pass, cache and sampling, without torch in the loop."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.checkpoints.gateway.generation import end_tokens
from tersor.checkpoints.hub.fetching import model_path
from tersor.errors import OptionError
from tersor.machine.cores import cores
from tersor.machine.instructions import TILED_LEVELS, level
from tersor.machine.memory import shortage_named
from tersor.options import Whole, limits, several, some_words, yes_or_no
from tersor.runtime.decoder.assembly import build
from tersor.runtime.decoder.blueprint import decoder_plan
from tersor.runtime.decoder.cache_size import refuse_too_long
from tersor.runtime.decoder.stored.weights import read_weights
from tersor.runtime.engine.decoding import Text, next_tokens
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.engine.prompts import refuse_longer, token_ids
from tersor.runtime.engine.sampling import Sampler, Sampling
from tersor.runtime.engine.session import CHUNK, Session
from tersor.runtime.engine.streaming import TextStream
from tersor.runtime.opening import Opened

_LONGEST_CONTEXT = 32768


@dataclass(frozen=True)
class Token:
    """A token that was made, the text that it adds, and why it is the last (``""``: it is not).

    ``finish``: ``"end"`` at the model's end-of-text token, ``"stop"`` at a stop string,
    ``"length"`` at a limit.
    """

    id: int
    text: str
    finish: str = ""


class Engine:
    """Runs a model directory, quantized or not, on the processor.

    Architectures: :data:`tersor.runtime.decoder.blueprint.ARCHITECTURES`. Raises
    :class:`EngineError` for others, :class:`~tersor.errors.SourceError` or
    :class:`~tersor.errors.FormatError` for directories that cannot be read, :class:`OptionError`
    for options that make no sense, and :class:`~tersor.errors.OutOfMemory` for a context that this
    machine cannot hold.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        activation_bits: int = 8,
        cache: str = "auto",
        context: int | None = None,
        batch: int = 1,
        threads: int | None = None,
        dense_bits: int | None = None,
    ) -> None:
        """
        ``activation_bits``: 8 rounds activations to int8 for integer weights (fast), 16 leaves them
        float32. ``cache``: type of keys and values, one of ``options.limits.CACHES``; ``auto`` is
        int16, or bfloat16 with AMX where activations are rounded anyway. ``dense_bits``: 8 packs
        matrices that are stored as floats (of a quantized model the head, mostly) at 8 bits per
        channel, 16 leaves them; rows of the embedding are looked up unrounded either way. By
        default 8 for quantized models whose activations are rounded, else 16. ``context``: longest
        sequence in tokens; by default the model's, at most 32768. ``batch``: sequences at a time.
        ``threads``: by default one for each core.
        """
        options = EngineOptions(activation_bits, cache, context, threads, dense_bits)
        integer = options.activation_bits == 8
        self.activation_bits, self.dense_bits = options.activation_bits, options.dense_bits
        self.batch = limits.BATCH(batch)
        self.directory = model_path("directory", directory)
        self.cache = options.cache
        if self.cache == "auto":
            # The one that loses least of those that are as small as float16.
            self.cache = "bfloat16" if level() in TILED_LEVELS and integer else "int16"
        model = Opened(self.directory)
        self.plan = decoder_plan(model.config, self.directory / "config.json")
        self.ends = end_tokens(self.directory, self.plan.vocabulary, self.plan.ends)
        self.context = options.context or min(self.plan.positions, _LONGEST_CONTEXT)
        if self.context > self.plan.positions:
            warnings.warn(
                f"a context of {self.context} tokens is more than the {self.plan.positions} that "
                "the model was made for",
                stacklevel=2,
            )
        refuse_too_long(self.plan, self.cache, self.context, self.batch)
        self.threads = options.threads or cores()
        with shortage_named(f"for the weights of {self.directory}"):
            weights = read_weights(
                model,
                self.plan,
                integer=integer,
                threads=self.threads,
                dense_bits=options.dense_bits,
            )
        self.bytes_per_token, self.notes = weights.bytes_per_token, weights.notes
        self.products_per_token = weights.products_per_token
        with shortage_named(f"for a context of {self.context} tokens"):
            decoder = _native.Decoder(
                builder=build(self.plan, weights, self.context),
                level=level(),
                slots=self.batch,
                capacity=self.context,
                storage=self.cache,
                threads=self.threads,
                most_tokens=CHUNK,
            )
        window = min(filter(None, self.plan.windows), default=0)
        self._session = Session(decoder, self.batch, self.plan.vocabulary, window)
        self._tokenizer: Any = None

    def conditions(self) -> dict[str, Any]:
        """What its numbers and its speed depend on besides the model; plain values."""
        return {
            "instructions": level(),
            "activation_bits": self.activation_bits,
            "dense_bits": self.dense_bits,
            "cache": self.cache,
            "context": self.context,
            "threads": self.threads,
        }

    @property
    def tokenizer(self) -> Any:
        """The directory's tokenizer, loaded when it is first needed; one of transformers does too.

        Of it are used ``encode``, ``decode``, ``chat_template`` and ``special_tokens_map``.
        """
        if self._tokenizer is None:
            from tersor.runtime.tokens.kept import open_tokenizer

            self._tokenizer = open_tokenizer(self.directory)
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values when every sequence is as long as the context."""
        return self._session.cache_bytes

    def logits(self, tokens: Sequence[int], *, last: int | None = None) -> NDArray[np.float32]:
        """Logits after the ``last`` of ``tokens``, by default after each: ``(n, vocabulary)``.

        What the first sequence holds already of ``tokens`` is not run again. Raises
        :class:`~tersor.errors.TextError` for tokens that the model or the context does not have,
        and :class:`~tersor.errors.NonFiniteWeight` for logits that are not finite.
        """
        ids = token_ids(tokens, self.plan.vocabulary)
        refuse_longer(ids, self.context, self.context)
        count = len(ids) if last is None else Whole("last", 1, len(ids))(last)
        return self._session.extend(0, ids, count)

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int = 64,
        sampling: Sampling = Sampling(),
        stop: str | Sequence[str] = (),
        speculate: int = 0,
        ignore_end: bool = False,
    ) -> Iterator[Token]:
        """Continue a text or tokens, token by token.

        ``stop``: a string, or strings, that end the answer. ``speculate``: how many tokens to guess
        from earlier text at a time and check together; the tokens made are the same.
        ``ignore_end``: go on after the model's end-of-text token. Keys and values of the previous
        call are used as far as the prompt repeats it. Raises :class:`~tersor.errors.TextError` if
        the prompt is empty or too long, and :class:`OptionError`, both before the first token.
        """
        count = limits.MAX_NEW_TOKENS(max_new_tokens)
        guessed = limits.SPECULATE(speculate)
        goes_on = yes_or_no("ignore_end", ignore_end)
        stops = some_words("stop", stop)
        tokens = self._tokens(prompt)
        stream = TextStream(self.tokenizer, tokens, stops)
        text = Text(tokens, min(len(tokens) + count, self.context), Sampler(sampling, tokens))
        return (token for _, token in self._streamed([text], [stream], goes_on, guessed))

    def generate_batch_tokens(
        self, prompts: Sequence[Sequence[int]], count: int, *, sampling: Sampling = Sampling()
    ) -> Iterator[tuple[int, ...]]:
        """The next ``count`` tokens of every prompt, one of each at a time; needs no tokenizer."""
        given = self._several(prompts)
        room = self.context - max(map(len, given))
        steps = Whole("count", 1, room + 1, f"behind the prompts in a context of {self.context}")
        wanted = steps(count)
        texts = [Text(tokens, len(tokens) + wanted, Sampler(sampling, tokens)) for tokens in given]
        made = (token for _, token in next_tokens(self._session, texts))
        return zip(*[made] * len(texts), strict=True)

    def generate_batch(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        max_new_tokens: int = 64,
        sampling: Sampling = Sampling(),
        stop: str | Sequence[str] = (),
    ) -> Iterator[tuple[int, Token]]:
        """Continue several prompts together; yields the index of a prompt and its next token.

        Every prompt has a sampler of its own, with the same seed.
        """
        count, stops = limits.MAX_NEW_TOKENS(max_new_tokens), some_words("stop", stop)
        given = self._several(prompts)
        streams = [TextStream(self.tokenizer, tokens, stops) for tokens in given]
        texts = [Text(t, min(len(t) + count, self.context), Sampler(sampling, t)) for t in given]
        return self._streamed(texts, streams)

    def _streamed(
        self,
        texts: list[Text],
        streams: list[TextStream],
        ignore_end: bool = False,
        guesses: int = 0,
    ) -> Iterator[tuple[int, Token]]:
        """The index of a text and its next token, until each has come to an end."""
        for slot, made in next_tokens(self._session, texts, guesses=guesses):
            token = self._named(streams[slot], made, texts[slot].ended, ignore_end)
            texts[slot].ended = bool(token.finish)
            yield slot, token

    def _named(self, stream: TextStream, made: int, full: bool, ignore_end: bool) -> Token:
        if made in self.ends and not ignore_end:
            return Token(made, stream.finish(), "end")
        text = stream.push(made)
        if stream.stopped:
            return Token(made, text, "stop")
        if full:
            return Token(made, text + stream.finish(), "length")
        return Token(made, text)

    def _tokens(self, prompt: str | Sequence[int]) -> list[int]:
        given = self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        tokens = token_ids(given, self.plan.vocabulary)
        refuse_longer(tokens, self.context - 1, self.context)
        return tokens

    def _several(self, prompts: Sequence[str | Sequence[int]]) -> list[list[int]]:
        texts = several("prompts", prompts, lambda _, prompt: self._tokens(prompt), str)
        if not 1 <= len(texts) <= self.batch:
            raise OptionError(
                "prompts", f"must be 1 to {self.batch}, the batch of this engine, not {len(texts)}"
            )
        return texts
