"""Modules of transformers of which only a part is in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tersor.errors import SourceError


def model_around(model: nn.Module, path: str) -> str:
    """The innermost model, one with embeddings of its own, around the blocks at ``path``."""
    parts = path.split(".")[:-1]
    while parts and not hasattr(model.get_submodule(".".join(parts)), "get_input_embeddings"):
        parts.pop()
    return ".".join(parts)


def load(
    module: nn.Module,
    stored: dict[str, Tensor],
    prefix: str,
    checkpoint: Path,
    below: str | None = None,
) -> None:
    """Put ``stored`` into ``module``, as fp32; nothing but what is under ``below`` may lack.

    ``stored``: by names that begin with ``prefix``; emptied, so that what was read is let go as
    soon as it is converted. Raises :class:`SourceError`, naming ``checkpoint``, for tensors that
    are missing or have another shape.
    """
    values = {name.removeprefix(prefix): _as_fp32(stored.pop(name)) for name in list(stored)}
    try:
        missing = module.load_state_dict(values, strict=False, assign=True).missing_keys
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise SourceError(f"{checkpoint}: {prefix}*: {first}") from error
    lacking = [name for name in missing if below is None or not name.startswith(f"{below}.")]
    if lacking:
        raise SourceError(
            f"{checkpoint}: no tensor {prefix}{lacking[0]}, which "
            f"{type(module).__name__} needs; the checkpoint is incomplete"
        )


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


def _as_fp32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
