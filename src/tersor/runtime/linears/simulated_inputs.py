"""Simulated activation quantization: the input of a linear is rounded to its grid and back.

This is exact arithmetic on the values an integer kernel would see; only the order of the sums in
the matrix product differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tersor.errors import FormatError
from tersor.formats import InputParameters, QuantizedLinear
from tersor.grids import ActivationScheme, Granularity, ScaleFormat, ScaleStorage, StoredScale, fit
from tersor.grids.blocks import segments


def fake_quantize(
    values: Tensor, scheme: ActivationScheme, given: InputParameters | None
) -> Tensor:
    """``values`` ``(…, in)`` rounded to the scheme's grid, same type and shape.

    Dynamic ranges are the smallest and largest value of each token, group or tensor, with float32
    scales; static ones come from ``given``.
    """
    tensor = scheme.tensor
    rows = values.detach().float().reshape(-1, values.shape[-1])
    if tensor.granularity is Granularity.TENSOR:
        rows = rows.reshape(1, -1)
    restored = torch.empty_like(rows)
    for segment in segments(tensor, rows.shape[1]):
        blocks = segment.blocks(rows)
        if given is None:
            low, high = blocks.aminmax(dim=-1)
            parameters = fit(tensor, low, high, ScaleStorage(torch.float32))
            scale, zero_point = parameters.scale.value(), parameters.zero_point
        else:
            scale = StoredScale(given.scale.reshape(1, 1), ScaleFormat.FLOAT).value()
            zero_point = None if given.zero_point is None else given.zero_point.reshape(1, 1)
        zero = None if zero_point is None else zero_point.unsqueeze(-1)
        codes = tensor.grid.encode(blocks, scale.unsqueeze(-1), zero)
        segment.blocks(restored).copy_(tensor.grid.decode(codes, scale.unsqueeze(-1), zero))
    return restored.reshape(values.shape).to(values.dtype)


def attach(model: nn.Module, linears: Mapping[str, QuantizedLinear]) -> None:
    """Quantize the input of every named module of ``model`` whenever it runs.

    ``linears``: module name → linear whose scheme quantizes activations; weights are not used.
    Raises :class:`FormatError` if the model has no such module, as with fused experts.
    """
    modules = dict(model.named_modules())
    for name, linear in linears.items():
        activations = linear.scheme.activations
        if activations is None:
            continue
        if name not in modules:
            raise FormatError(
                f"{name} quantizes its activations, but the model holds no module of that name: "
                "activation quantization of fused experts cannot be simulated"
            )
        modules[name].register_forward_pre_hook(_QuantizeInput(activations, linear.input))


@dataclass(frozen=True, eq=False)
class _QuantizeInput:
    scheme: ActivationScheme
    given: InputParameters | None

    def __call__(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        return (fake_quantize(arguments[0], self.scheme, self.given), *arguments[1:])
