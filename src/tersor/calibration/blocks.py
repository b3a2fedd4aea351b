"""One decoder block, and everything but the hidden states that the model calls it with."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.machine.parallel import in_order

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class BlockCall:
    """How the model calls one of its blocks.

    ``args``, ``kwargs``: masks, positions and whatever else an architecture passes along, as they
    were for ``rows`` windows; the hidden states are left out. ``own``: the same by the first window
    of a piece, where pieces have their own (inputs of every layer, keys that layers share).
    ``dtype``: what products are computed in; the residual stream stays float32. ``lead``: blocks
    that carry several streams want them before the windows.
    """

    index: int
    block: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rows: int
    dtype: torch.dtype
    own: Mapping[int, Arguments] = field(default_factory=dict)
    lead: bool = False

    def __call__(self, hidden: Tensor, start: int | None = None) -> Tensor:
        """The block's output for at most ``rows`` windows: ``(r, T, hidden)``, same shape.

        Streams that lead are ``(r, streams, T, hidden)``. ``start``: the piece's first window, if
        it is a piece. Raises :class:`SourceError` for other windows where pieces have arguments of
        their own.
        """
        if self.own and start is None:
            raise SourceError(
                f"{type(self.block).__name__} gets more than hidden states of every text, so its "
                "codes cannot be learned; use gptq or gptaq"
            )
        if start is not None and start in self.own:
            args, kwargs = self.own[start]
        else:
            piece = slice(0, len(hidden))
            args, kwargs = cut(self.args, self.rows, piece), cut(self.kwargs, self.rows, piece)
        with arithmetic(self.dtype):
            output = self.block(turned(hidden, self.lead), *args, **kwargs)
        result: Tensor = output[0] if isinstance(output, tuple | list) else output
        return turned(result, self.lead)

    @property
    def shares(self) -> bool:
        """Whether blocks hand each other more than hidden states, such as keys and values."""
        return any(handed_on(kwargs) for _, kwargs in self.own.values())

    def pieces(self, hidden: Tensor) -> Iterator[slice]:
        """Which windows go through the block together: fixed, whatever the number of cores."""
        for start in range(0, len(hidden), self.rows):
            yield slice(start, min(start + self.rows, len(hidden)))

    def run(self, hidden: Tensor, into: Tensor) -> Tensor:
        """Write the output for all windows ``(n, T, hidden)`` to ``into``, which is returned.

        ``into`` may be ``hidden`` itself.
        """

        def one(piece: slice) -> None:
            into[piece] = self(hidden[piece], piece.start)

        for _ in in_order(one, self.pieces(hidden)):
            pass
        return into


def handed_on(kwargs: Mapping[str, Any]) -> bool:
    """Whether a call has something in it that blocks put their keys and values into for others."""
    return any(isinstance(value, MutableMapping) for value in kwargs.values())


def turned(hidden: Tensor, lead: bool) -> Tensor:
    """``(windows, streams, T, hidden)`` ⇄ ``(streams, windows, T, hidden)`` if streams lead."""
    return hidden.transpose(0, 1) if lead else hidden


def same(one: Any, other: Any) -> bool:
    """Whether two arguments of a block say the same."""
    if one is other:
        return True
    if isinstance(one, Tensor):
        alike = isinstance(other, Tensor) and one.shape == other.shape
        return alike and bool(torch.equal(one, other))
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def arithmetic(dtype: torch.dtype) -> AbstractContextManager[None]:
    """Context in which linears and attention compute in ``dtype``."""
    # Without the cache of casted weights, which all threads share: weights change in place.
    context: AbstractContextManager[None] = torch.autocast(
        "cpu", dtype, enabled=dtype is not torch.float32, cache_enabled=False
    )
    return context


def windows_per_piece(window: int) -> int:
    """Windows that go through a block together: about 2048 tokens, which fit a core's caches."""
    return max(1, 2048 // window)


Visit = Callable[[BlockCall, Tensor], Tensor]
"""Called with each block in turn and its input ``(n, T, hidden)``; returns its output."""


def cut(value: Any, batch: int, piece: slice) -> Any:
    """``value`` for the windows of ``piece``: tensors that begin with a batch axis are cut.

    Those with one axis (positions, say) do not; neither do those made for any batch, whose first
    axis is 1.
    """
    if isinstance(value, Tensor):
        return value[piece] if value.ndim > 1 and len(value) == batch else value
    if isinstance(value, dict):
        return {key: cut(item, batch, piece) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(cut(item, batch, piece) for item in value)
    return value


@dataclass(frozen=True)
class Returns:
    """What a block returns: hidden states, alone or before ``others`` Nones in a tuple."""

    others: int | None = None

    def like(self, hidden: Tensor) -> Any:
        """``hidden`` as a block returns it."""
        return hidden if self.others is None else (hidden, *[None] * self.others)


@dataclass
class Record:
    """What blocks are called with, and what they return."""

    returns: Returns = Returns()
    calls: list[Arguments] = field(default_factory=list)
    hidden: Tensor = field(default_factory=lambda: torch.empty(0))

    def identity(self, index: int, *args: Any, **kwargs: Any) -> Any:
        """Note the call and return its hidden states, as a block would."""
        kwargs = dict(kwargs)
        hidden = args[0] if args else kwargs.pop("hidden_states")
        if index == 0:
            self.hidden = hidden
        self.calls.append((args[1:], kwargs))
        return self.returns.like(hidden)

    def learn(self, output: Any, source: Source) -> None:
        """See what a block returns. Raises :class:`SourceError` if it is more than one tensor.

        Weights of attention ``(…, T, T)`` do not count: no model reads them.
        """
        if not isinstance(output, tuple | list):
            return
        length = self.hidden.shape[-2]
        if any(
            other is not None
            and not (isinstance(other, Tensor) and other.shape[-2:] == (length, length))
            for other in output[1:]
        ):
            raise SourceError(
                f"{source.path}: the blocks of {source.config.get('model_type')} return more than "
                "hidden states, so activations cannot be calibrated; use a recipe that needs none, "
                "such as w4"
            )
        self.returns = Returns(len(output) - 1)
