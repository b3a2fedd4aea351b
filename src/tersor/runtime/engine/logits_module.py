"""The engine as a module with logits, for whatever scores models."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tersor.runtime.engine.engine import Engine


class EngineModule(nn.Module):
    """Called like a transformers model on one sequence; inference only."""

    def __init__(self, engine: Engine) -> None:
        """``engine``: whose first slot is used."""
        super().__init__()
        self.engine = engine
        self.config = SimpleNamespace(
            name_or_path=str(engine.directory),
            vocab_size=engine.plan.vocabulary,
            max_position_embeddings=engine.context,
        )

    def forward(
        self, input_ids: Tensor, *, logits_to_keep: int = 0, use_cache: bool = False
    ) -> Any:
        """``input_ids`` ``(1, T)`` → an object with ``logits``, float32 ``(1, T, vocabulary)``.

        ``logits_to_keep``: of the last so many positions only; 0: of all.
        """
        del use_cache
        (tokens,) = input_ids.tolist()
        logits = self.engine.logits(tokens, last=logits_to_keep or None)
        return SimpleNamespace(logits=torch.from_numpy(logits)[None])
