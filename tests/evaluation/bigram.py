"""A language model that is one table: exact answers, no transformers."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn


class Bigram(nn.Module):
    """Logits of the next token are the current token's row of ``table (vocab, vocab)``."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.calls = 0
        self.dropout = nn.Dropout(0.5)

    def forward(self, input_ids: Tensor, use_cache: bool = True) -> SimpleNamespace:
        self.calls += 1
        return SimpleNamespace(logits=self.dropout(self.table[input_ids]))


class LastBigram(Bigram):
    """The same, computing only the last logits when asked, like transformers' models."""

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, use_cache: bool = True, logits_to_keep: int = 0
    ) -> SimpleNamespace:
        assert logits_to_keep > 0
        return SimpleNamespace(logits=super().forward(input_ids[:, -logits_to_keep:]).logits)


def random_bigram(seed: int, vocab: int = 11, size: float = 1.0) -> Bigram:
    return Bigram(torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(seed)) * size)


def random_windows(seed: int, count: int = 3, length: int = 10, vocab: int = 11) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab, (count, length), generator=generator)
