"""Back through the blocks, one in memory's graph at a time: what each linear read and got back."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tersor.calibration.blocks import BlockCall
from tersor.calibration.experts import ExpertProducts, Heard
from tersor.calibration.places import Place, places_of
from tersor.families.blocks import FusedExperts
from tersor.pipeline.sensitivity.estimates.scores import Window
from tersor.pipeline.sensitivity.original import Original

Seen = Mapping[str, Sequence[Window]]
"""By published name of a weight: windows in order, without those that did not reach it."""


def backward(
    original: Original,
    names: Collection[str],
    seed: int,
    *,
    labels: bool,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[int, Seen]]:
    """Blocks from the last to the first, each with what its linears ``names`` read and got back.

    Gradients are those of ``Σ log p(y)`` over scored positions (``Original.gradient``); of windows
    that are not scored ``g`` is empty, ``(0, out)``. ``dtype``: what products are computed in.
    """
    original.load()
    gradient = _through_norm(original, original.gradient(labels, seed, dtype))
    for call in reversed([replace(call, dtype=dtype) for call in original.calls]):
        found: dict[str, list[Window]] = {}
        for piece in original.pieces:
            hidden = original.inputs[call.index][piece]
            with _watched(original, call, names, _Notes(piece.start, found)) as watch:
                if piece.start >= original.windows:
                    with torch.no_grad(), watch:
                        call(hidden, piece.start)
                    continue
                hidden = hidden.detach().clone().requires_grad_()
                with torch.enable_grad(), watch:
                    output = call(hidden, piece.start)
                gradient[piece] = torch.autograd.grad(output, hidden, gradient[piece])[0]
        yield call.index, found


def _through_norm(original: Original, gradient: Tensor) -> Tensor:
    """From the final norm's output to the last block's."""
    last = original.calls[-1]
    found = torch.zeros_like(gradient)
    for piece in original.pieces:
        if piece.start >= original.windows:
            break
        with torch.no_grad():
            hidden = last(original.inputs[last.index][piece], piece.start)
        hidden = hidden.detach().clone().requires_grad_()
        with torch.enable_grad():
            output = original.decoder.leave(original.tokens[piece], hidden)
        found[piece] = torch.autograd.grad(output, hidden, gradient[piece])[0]
    return found


@dataclass(frozen=True)
class _Notes:
    """What linears see while the windows from ``number`` on go through them.

    Rows that are sent to experts are no windows any more, and count as one: draws of different
    windows are independent, as those of different positions are.
    """

    number: int
    found: dict[str, list[Window]]

    def linear(self, name: str, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """As a forward hook of a module."""
        self.product(name, args[0], output, ..., slice(None))

    def product(self, name: str, x: Tensor, output: Tensor, index: Any, rows: slice) -> None:
        """Keep a product's input, and its output's gradient as soon as it is known.

        ``index``: where the output holds what ``x`` became, ``rows``: which of that are asked for.
        """
        read = x.detach().to(output.dtype)
        if not output.requires_grad:
            width = len(range(*rows.indices(output.shape[-1])))
            self._keep(name, read, read.new_empty(*read.shape[:-2], 0, width))
            return

        def came_back(gradient: Tensor) -> None:
            self._keep(name, read, gradient[index][..., rows].detach().clone())

        output.register_hook(came_back)  # type: ignore[no-untyped-call]

    def _keep(self, name: str, x: Tensor, g: Tensor) -> None:
        windows = self.found.setdefault(name, [])
        if x.ndim == 2:
            windows.append(Window(self.number, x, g))
            return
        windows += [Window(self.number + i, *both) for i, both in enumerate(zip(x, g, strict=True))]


@contextmanager
def _watched(
    original: Original, call: BlockCall, names: Collection[str], notes: _Notes
) -> Iterator[ExpertProducts]:
    """While active, linears of the block note what they see."""
    places = places_of(original.decoder, call.index)
    inside: dict[str, list[tuple[str, Place]]] = {}
    with ExitStack() as stack:
        for name, place in places.items():
            if name not in names:
                continue
            if place.expert is not None:
                inside.setdefault(place.path, []).append((name, place))
                continue
            module = call.block.get_submodule(place.path)
            hook = module.register_forward_hook(partial(notes.linear, name))
            stack.callback(hook.remove)
        watch = ExpertProducts(
            [
                (call.block.get_parameter(path), _Experts(original, call.index, members, notes))
                for path, members in inside.items()
            ]
        )
        yield watch


class _Experts:
    """Hears the products of one stacked tensor, and knows which linears each of them holds."""

    def __init__(
        self,
        original: Original,
        block: int,
        members: Sequence[tuple[str, Place]],
        notes: _Notes,
    ) -> None:
        self._notes = notes
        parameter = original.decoder.blocks[block].get_parameter(members[0][1].path)
        fused = _fused_at(original, block, members[0][1].path)
        rows = _rows_of(parameter, fused is not None and fused.transposed)
        published = original.decoder.published(block, members[0][1].path, rows)
        self._parts: dict[int, list[tuple[str, slice]]] = {}
        for name, place in members:
            assert place.expert is not None
            self._parts.setdefault(place.expert, []).append((name, _as_slice(published[name])))

    def __call__(self, expert: int, x: Tensor) -> Heard | None:
        parts = self._parts.get(expert)
        if parts is None:
            return None

        def heard(output: Tensor, index: Any) -> None:
            for name, rows in parts:
                self._notes.product(name, x, output, index, rows)

        return heard


def _fused_at(original: Original, block: int, path: str) -> FusedExperts | None:
    architecture = original.architecture
    return next(
        (f for f in architecture.fused_experts if path in (f.parameter, f.name)),
        None,
    )


def _rows_of(parameter: Tensor, transposed: bool) -> Tensor:
    """For every weight of ``(experts, rows, in)``, or transposed, the number of its row; a view."""
    rows = parameter.shape[2 if transposed else 1]
    numbers = torch.arange(rows)
    shaped = numbers[None, None, :] if transposed else numbers[None, :, None]
    return shaped.expand(parameter.shape)


def _as_slice(numbers: Tensor) -> slice:
    """Row numbers ``(rows, in)``, evenly spaced, as a slice."""
    column = numbers[:, 0]
    first, step = int(column[0]), int(column[1] - column[0]) if len(column) > 1 else 1
    return slice(first, first + step * (len(column) - 1) + 1, step)
