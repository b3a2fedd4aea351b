"""Who reads what in a model: every product with a stored matrix, and what norms hand out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tersor.models.probing.tiny.precision import Doubled

# Functions in which a stored matrix meets hidden states, and the axis of its inputs in ``[-2:]``.
_PRODUCTS: Mapping[Callable[..., Any], int] = {
    F.linear: -1,
    torch.matmul: -2,
    torch.Tensor.matmul: -2,
    torch.Tensor.__matmul__: -2,
    torch.mm: -2,
    torch.bmm: -2,
    torch.Tensor.bmm: -2,
    torch.addmm: -2,
    torch.baddbmm: -2,
}
Rows = frozenset[bytes]


@dataclass(frozen=True)
class Reading:
    """One matrix and all rows it ever read.

    ``axis``: of its inputs, −1 for ``(…, out, in)``. ``rows`` are the bytes of each row, ``width``
    is its length.
    """

    parameter: str
    axis: int
    width: int
    rows: Rows


@dataclass(frozen=True)
class Handed:
    """A norm, and what it returned."""

    module: str
    width: int
    rows: Rows


@dataclass(frozen=True)
class Watched:
    """One forward: logits fp64, readings by parameter and norms by module."""

    logits: Tensor
    readings: dict[str, Reading]
    norms: dict[str, Handed]


def logits_of(model: nn.Module, ids: Tensor) -> Tensor:
    """The model's logits in fp64, float32 being float64 inside."""
    with torch.no_grad(), Doubled():
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


def watch(model: nn.Module, ids: Tensor) -> Watched:
    """Run the model once and note what its matrices read and what its norms return."""
    products = _Products(model)
    handed: dict[str, list[Tensor]] = {}
    with _norms_noted(model, handed), torch.no_grad(), products, Doubled():
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    readings = {
        name: Reading(name, axis, inputs[0].shape[-1], rows_of(inputs))
        for name, (axis, inputs) in products.seen.items()
    }
    norms = {n: Handed(n, xs[0].shape[-1], rows_of(xs)) for n, xs in handed.items()}
    return Watched(logits, readings, norms)


def rows_of(tensors: list[Tensor]) -> Rows:
    """The distinct rows along the last axis."""
    return frozenset(
        row.tobytes()
        for tensor in tensors
        for row in tensor.detach().double().reshape(-1, tensor.shape[-1]).numpy()
    )


class _Products(TorchFunctionMode):
    """Notes the inputs of every product with a stored matrix, by the address of its memory."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._names = {
            parameter.untyped_storage().data_ptr(): name
            for name, parameter in model.named_parameters()
            if parameter.ndim > 1
        }
        self.seen: dict[str, tuple[int, list[Tensor]]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        axis = _PRODUCTS.get(func)
        if axis is not None:
            tensors = [a for a in (*args, *(kwargs or {}).values()) if isinstance(a, Tensor)]
            self._note(tensors, axis)
        return func(*args, **(kwargs or {}))

    def _note(self, tensors: list[Tensor], axis: int) -> None:
        for place, tensor in enumerate(tensors):
            name = self._names.get(tensor.untyped_storage().data_ptr())
            if name is None or tensor.ndim < 2:
                continue
            # The matrix is the second factor; what stands right before it, it reads.
            inputs = tensors[place - 1] if place else None
            if inputs is not None and inputs.shape[-1] == tensor.shape[axis]:
                seen = self.seen.setdefault(name, (_stored_axis(tensor, axis), []))
                seen[1].append(inputs.detach())


def _stored_axis(view: Tensor, axis: int) -> int:
    """The axis of the stored matrix that is ``axis`` of a view of it, which may be transposed."""
    transposed = view.stride(-1) > view.stride(-2)
    return -3 - axis if transposed else axis


@contextmanager
def _norms_noted(model: nn.Module, handed: dict[str, list[Tensor]]) -> Iterator[None]:
    def listener(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                handed.setdefault(name, []).append(output.detach())

        return note

    handles = [
        module.register_forward_hook(listener(name))
        for name, module in model.named_modules()
        if _is_norm(module)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_norm(module: nn.Module) -> bool:
    """One weight a channel; or, where norms have none, the name of the class."""
    weight = getattr(module, "weight", None)
    if weight is None:
        return not list(module.parameters()) and "norm" in type(module).__name__.lower()
    return isinstance(weight, Tensor) and weight.ndim == 1
