"""The residual stream of a tiny model: who writes it, and what its norms do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tersor.models.probing.sharing import Block
from tersor.models.probing.trial import Change, Trials, bias_of
from tersor.models.probing.watching import Watched, logits_of


@dataclass(frozen=True)
class Stream:
    """``writers``, ``sandwich`` as in ``values.Family``, of one block.

    ``closed``: with all writers silent the block hands its input on; else nothing tells a sandwich.
    """

    writers: tuple[str, ...]
    sandwich: bool
    closed: bool


def stream_of(
    model: nn.Module, module: nn.Module, block: Block, watched: Watched, trials: Trials, ids: Tensor
) -> Stream:
    """Silence every matrix that could write, then let one speak at a time.

    What doubles with its weights is added to the stream as it is; what changes otherwise passes a
    norm before.
    """
    candidates = [
        name
        for name, reading in watched.readings.items()
        if name.startswith(block.prefix) and trials.shape(name)[-3 - reading.axis] == block.width
    ]

    def written(factors: dict[str, float]) -> Tensor:
        changes = [c for n in candidates for c in _times(n, factors.get(n, 0.0), trials)]
        with trials.changed(changes):
            return _added(model, module, ids)

    silent = written({})
    closed = bool(silent.abs().max() == 0)
    writers: list[str] = []
    sandwich = False
    for name in candidates:
        once = written({name: 1.0}) - silent
        if bool(once.abs().max() > 0):
            twice = written({name: 2.0}) - silent
            sandwich |= not torch.allclose(twice, 2 * once, rtol=1e-6, atol=1e-9)
            writers.append(name)
    return Stream(block.patterns(writers), sandwich and closed, closed)


def centred(norm: nn.Module, width: int) -> bool:
    """Whether a norm does not see a constant that is added to all channels."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, width, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return torch.allclose(norm(x), norm(x + 5), atol=1e-3)


def _times(weight: str, factor: float, trials: Trials) -> Sequence[Change]:
    names = [weight, bias_of(weight, trials)]
    return [
        Change(name, -1, torch.arange(trials.shape(name)[-1]), torch.tensor(factor))
        for name in names
        if name is not None
    ]


def _added(model: nn.Module, module: nn.Module, ids: Tensor) -> Tensor:
    """What a block adds to its input."""
    seen: dict[str, Tensor] = {}

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        entered = args[0] if args else kwargs["hidden_states"]
        left = output[0] if isinstance(output, tuple) else output
        seen["added"] = (left - entered).detach()

    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        logits_of(model, ids)
    finally:
        handle.remove()
    return seen["added"]
