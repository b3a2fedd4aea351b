"""The engine as lm-eval's kind of model: what a task scores or continues, the kernels compute."""

from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from tersor.calibration.text import first_tokens
from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.sampling import Sampling

_NEW_TOKENS = 256


class EngineTasks(TemplateLM):  # type: ignore[misc]
    """Answers lm-eval's requests one after the other, by an engine whose first slot is used.

    Choices that share a question are scored on the keys and values of one.
    """

    def __init__(self, engine: Engine, tokenizer: Any) -> None:
        """``tokenizer``: one of transformers, of the engine's directory."""
        super().__init__()
        self._engine = engine
        self.tokenizer = tokenizer
        # What most tokenizers put in front belongs to every text.
        self._first = bool(first_tokens(tokenizer))

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What an empty context stands for."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    @property
    def max_length(self) -> int:
        """Tokens of the longest context."""
        return self._engine.context

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Tokens of a text, by default behind what the tokenizer puts in front of all."""
        if add_special_tokens is None:
            there = self.tokenizer.bos_token and string.startswith(self.tokenizer.bos_token)
            add_special_tokens = self._first and not there
        found: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        return [self._scored(context, continuation) for _, context, continuation in requests]

    def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
        """Log-likelihoods of whole texts, in windows as long as the context."""
        return [self._whole(*request.args) for request in requests]

    def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
        """Continuations up to a stop string or a number of tokens."""
        return [self._continued(*request.args) for request in requests]

    def _scored(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        """Log-likelihood of a continuation, and whether it is the likeliest token by token."""
        tokens = (context + continuation)[-(self.max_length + 1) :]
        count = min(len(continuation), len(tokens) - 1)
        if not count:
            return 0.0, True
        targets = torch.tensor(tokens[-count:])
        logits = torch.from_numpy(self._engine.logits(tokens[:-1], last=count)).log_softmax(-1)
        likely = logits.gather(1, targets[:, None]).double().sum()
        return float(likely), bool((logits.argmax(-1) == targets).all())

    def _whole(self, text: str) -> float:
        windows = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        return sum(self._scored(*make_disjoint_window(window))[0] for window in windows)

    def _continued(self, context: str, asked: dict[str, Any]) -> str:
        rule = normalize_gen_kwargs(asked, _NEW_TOKENS)
        count = min(rule["max_gen_toks"], self.max_length - 1)
        tokens = self.tok_encode(context)[-(self.max_length - count) :]
        until = rule["until"]
        heat = rule.get("temperature", 1.0) if rule.get("do_sample") else 0.0
        shares = rule.get("top_k") or 0, rule.get("top_p") or 1.0
        made = self._engine.generate(
            tokens,
            max_new_tokens=count,
            sampling=Sampling(heat, *shares) if heat else Sampling(),
            stop=[stop for stop in ([until] if isinstance(until, str) else until) if stop],
        )
        return "".join(token.text for token in made)
