"""Modules of transformers of which only a part is in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def model_around(model: nn.Module, path: str) -> str:
    """The innermost model, one with embeddings of its own, around the blocks at ``path``."""
    parts = path.split(".")[:-1]
    while parts and not hasattr(model.get_submodule(".".join(parts)), "get_input_embeddings"):
        parts.pop()
    return ".".join(parts)


def unload(whole: nn.Module) -> None:
    """Forget what a checkpoint holds of a block or embedding, and keep what was computed."""
    for module in whole.modules():
        computed = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        module._parameters = {
            name: None if p is None else nn.Parameter(p.to("meta"), requires_grad=False)
            for name, p in module._parameters.items()
        }
        module._buffers = {
            name: computed.get(name, None if b is None else b.to("meta"))
            for name, b in module._buffers.items()
        }


@contextmanager
def without_embeddings(module: nn.Module) -> Iterator[None]:
    """Tables of embeddings that are not in memory give zeros, where nobody reads the result."""
    tables = [
        inner
        for inner in module.modules()
        if isinstance(inner, nn.Embedding) and inner.weight.is_meta
    ]

    def zeros(table: nn.Embedding, ids: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.zeros(*ids.shape, table.embedding_dim)

    for table in tables:
        table.forward = partial(zeros, table)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for table in tables:
            del table.forward
