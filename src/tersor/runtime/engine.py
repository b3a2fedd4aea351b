"""The engine: a decoder's forward pass, cache and sampling, without torch in the loop."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor import _native
from tersor.checkpoints.gateway.configuration import configuration
from tersor.checkpoints.gateway.generation import end_tokens
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.huggingface import open_directory
from tersor.errors import EngineError, RecipeError, TextError
from tersor.instructions import TILED_LEVELS, level
from tersor.runtime.decoder_shape import decoder_shape
from tersor.runtime.decoder_weights import build, read_weights
from tersor.runtime.lookup import draft
from tersor.runtime.sampling import Sampler, Sampling
from tersor.runtime.session import CHUNK, Session
from tersor.runtime.streaming import TextStream

_LONGEST_CONTEXT = 32768
CACHES = ("float32", "float16", "bfloat16", "int16", "int8")
AUTO = "auto"


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

    Architectures: :data:`tersor.runtime.decoder_shape.FAMILIES`. Raises :class:`EngineError` for
    others, :class:`~tersor.errors.SourceError` or :class:`~tersor.errors.FormatError` for
    directories that cannot be read, :class:`RecipeError` for options that make no sense.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        activation_bits: int = 8,
        cache: str = AUTO,
        context: int | None = None,
        batch: int = 1,
        threads: int | None = None,
        dense_bits: int | None = None,
    ) -> None:
        """
        ``activation_bits``: 8 rounds activations to int8 for integer weights (fast), 16 leaves them
        float32. ``cache``: type of keys and values, one of ``CACHES``; ``auto`` is int16, or
        bfloat16 with AMX where activations are rounded anyway. ``dense_bits``: 8 packs matrices
        that are stored as floats (of a quantized model the head, mostly) at 8 bits per channel, 16
        leaves them; rows of the embedding are looked up unrounded either way. By default 8 for
        quantized models whose activations are rounded, else 16.
        ``context``: longest sequence in tokens; by default the model's, at most 32768. ``batch``:
        sequences at a time. ``threads``: by default as many as torch uses.
        """
        if activation_bits not in (8, 16):
            raise RecipeError(f"activations of {activation_bits} bits; the engine has 8 and 16")
        if cache not in (AUTO, *CACHES):
            raise RecipeError(f"a cache of {cache!r}; the engine has {AUTO}, {', '.join(CACHES)}")
        if dense_bits not in (None, 8, 16):
            raise RecipeError(f"dense matrices of {dense_bits} bits; the engine has 8 and 16")
        if cache == AUTO:
            # The one that loses least of those that are as small as float16.
            tiled = level() in TILED_LEVELS and activation_bits == 8
            cache = "bfloat16" if tiled else "int16"
        self.cache = cache
        self.directory = Path(directory)
        open_directory(self.directory)
        config = configuration(self.directory)
        self.shape = decoder_shape(config)
        self.ends = end_tokens(self.directory, config)
        self.context = context or min(self.shape.positions, _LONGEST_CONTEXT)
        if self.context > self.shape.positions:
            warnings.warn(
                f"a context of {self.context} tokens is more than the {self.shape.positions} that "
                "the model was made for",
                stacklevel=2,
            )
        self.threads = threads or torch.get_num_threads()
        self.batch = batch
        weights = read_weights(
            self.directory, self.shape, integer=activation_bits == 8, dense_bits=dense_bits
        )
        self.bytes_per_token, self.notes = weights.bytes_per_token, weights.notes
        self.products_per_token = weights.products_per_token
        self._session = Session(
            _native.Decoder(
                build(self.shape, weights, self.context),
                level(),
                batch,
                self.context,
                cache,
                self.threads,
                CHUNK,
            ),
            batch,
            self.shape.vocabulary,
        )
        self._tokenizer: Any = None

    @property
    def tokenizer(self) -> Any:
        """The directory's tokenizer, loaded when it is first needed."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.directory)
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values when every sequence is as long as the context."""
        return self._session.cache_bytes

    def logits(self, tokens: Sequence[int], *, last: int | None = None) -> Tensor:
        """Logits after the ``last`` of ``tokens``, by default after each: ``(n, vocabulary)``.

        What the first sequence holds already of ``tokens`` is not run again.
        """
        count = len(tokens) if last is None else last
        return self._session.extend(0, list(tokens), count)

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int = 64,
        sampling: Sampling = Sampling(),
        stop: Sequence[str] = (),
        speculate: int = 0,
        ignore_end: bool = False,
    ) -> Iterator[Token]:
        """Continue a text or tokens, token by token.

        ``stop``: strings that end the answer. ``speculate``: how many tokens to guess from earlier
        text at a time and check together; the tokens made are the same. ``ignore_end``: go on after
        the model's end-of-text token. Keys and values of the previous call are used as far as the
        prompt repeats it. Raises :class:`TextError` if the prompt is empty or too long.
        """
        tokens = self._tokens(prompt)
        stream = TextStream(self.tokenizer, tokens, stop)
        yield from self._generate(
            tokens, stream, max_new_tokens, Sampler(sampling), speculate, ignore_end
        )

    def generate_batch_tokens(
        self, prompts: Sequence[Sequence[int]], count: int, *, sampling: Sampling = Sampling()
    ) -> Iterator[tuple[int, ...]]:
        """The next ``count`` tokens of every prompt, one of each at a time; needs no tokenizer."""
        texts = [self._checked(prompt) for prompt in prompts]
        samplers = [Sampler(sampling) for _ in texts]
        rows = self._first(texts)
        room = self.context - max(map(len, texts))
        for made in range(min(count, room + 1)):
            if made:
                rows = list(self._session.step(range(len(texts)), texts))
            chosen = tuple(s.choose(row) for s, row in zip(samplers, rows, strict=True))
            for text, token in zip(texts, chosen, strict=True):
                text.append(token)
            yield chosen

    def generate_batch(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        max_new_tokens: int = 64,
        sampling: Sampling = Sampling(),
        stop: Sequence[str] = (),
    ) -> Iterator[tuple[int, Token]]:
        """Continue several prompts together; yields the index of a prompt and its next token.

        Every prompt has a sampler of its own, with the same seed.
        """
        texts = [self._tokens(prompt) for prompt in prompts]
        streams = [TextStream(self.tokenizer, tokens, stop) for tokens in texts]
        samplers = [Sampler(sampling) for _ in prompts]
        limits = [min(len(t) + max_new_tokens, self.context) for t in texts]
        rows = self._first(texts)
        active = list(range(len(prompts)))
        while active:
            for slot, row in zip(list(active), rows, strict=True):
                made = samplers[slot].choose(row)
                texts[slot].append(made)
                full = len(texts[slot]) >= limits[slot]
                token = self._named(streams[slot], made, full, ignore_end=False)
                yield slot, token
                if token.finish:
                    active.remove(slot)
            if active:
                rows = list(self._session.step(active, texts))

    def _generate(
        self,
        tokens: list[int],
        stream: TextStream,
        max_new_tokens: int,
        sampler: Sampler,
        speculate: int,
        ignore_end: bool,
    ) -> Iterator[Token]:
        limit = min(len(tokens) + max_new_tokens, self.context)
        drafted: list[int] = []
        while True:
            rows = self._session.extend(0, tokens + drafted, 1 + len(drafted))
            for i, row in enumerate(rows):
                made = sampler.choose(row)
                tokens.append(made)
                token = self._named(stream, made, len(tokens) >= limit, ignore_end)
                yield token
                if token.finish:
                    return
                if i < len(drafted) and made != drafted[i]:
                    break
            room = limit - len(tokens) - 1
            drafted = draft(tokens, min(speculate, room)) if speculate and room > 0 else []

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
        return self._checked(
            self.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        )

    def _checked(self, prompt: Sequence[int]) -> list[int]:
        tokens = list(prompt)
        if not tokens:
            raise TextError("the prompt is empty; give some text with --prompt")
        if not 0 <= min(tokens) <= max(tokens) < self.shape.vocabulary:
            raise TextError(
                f"the prompt has tokens from {min(tokens)} to {max(tokens)}, the model from 0 to "
                f"{self.shape.vocabulary - 1}; is the tokenizer another model's?"
            )
        if len(tokens) >= self.context:
            raise TextError(
                f"the prompt has {len(tokens)} tokens, the context {self.context}; "
                "shorten it or ask for more with --context"
            )
        return tokens

    def _first(self, texts: Sequence[list[int]]) -> list[Tensor]:
        """Logits after each of several prompts, which go to the first slots."""
        if len(texts) > self.batch:
            raise EngineError(f"{len(texts)} prompts at a time; this one was made for {self.batch}")
        return [self._session.extend(slot, tokens, 1)[0] for slot, tokens in enumerate(texts)]
