"""The target for a layer whose input is not what it was, because earlier layers are quantized.

A layer that got ``x`` in the original model gets ``x_q`` in the quantized one. GPTAQ
(Li et al., https://arxiv.org/abs/2504.02692) and Qronos (Zhang et al.,
https://arxiv.org/abs/2505.11695) therefore minimise ``E‖W x − Ŵ x_q‖²``, the distance to the
*original* model's output, where GPTQ minimises ``E‖W x_q − Ŵ x_q‖²``. With ``H = E[x_q x_qᵀ]`` and
``C = E[(x − x_q) x_qᵀ]``, completing the square gives

    E‖W x − Ŵ x_q‖² = tr((W* − Ŵ) H (W* − Ŵ)ᵀ) + const    with W* = W + W C H⁻¹

so that rounding ``W*`` with GPTQ, or any method that minimises ``tr(ΔW H ΔWᵀ)``, optimises that
objective: no solver of its own is needed.

Where the output is added to a residual stream ``h``, the stream has drifted too, and what counts is
the sum: ``E‖h + W x − h_q − Ŵ x_q‖²``. With ``R = E[(h − h_q) x_qᵀ]`` the target is then
``W* = W + (W C + R) H⁻¹``: the part of the stream's error that the input tells of is taken back.
"""

import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.rounding.hessian_factor import damping_unit, dampings


def corrected_target(
    weight: Tensor,
    hessian: Tensor,
    cross: Tensor,
    damping: float,
    stream: Tensor | None = None,
) -> Tensor:
    """``W*``, float32 ``(out, in)``.

    ``weight``: ``(out, in)`` of any float type. ``hessian``: ``E[x_q x_qᵀ]`` and ``cross``:
    ``E[(x − x_q) x_qᵀ]``, float32 ``(in, in)``. ``stream``: ``E[(h − h_q) x_qᵀ]``, float32
    ``(out, in)``, for an output that is added to a residual stream. ``damping``: as in
    :func:`~tersor.rounding.hessian_factor.hessian_factor`; it draws ``W*`` towards ``W`` in
    directions that the input hardly has. Statistics of no use (NaN, zero, hopelessly indefinite)
    leave ``W``; GPTQ with the same Hessian then says so.

    Raises :class:`SchemeError` if the shapes do not fit.
    """
    columns = weight.shape[-1]
    if weight.ndim != 2 or {hessian.shape, cross.shape} != {(columns, columns)}:
        raise SchemeError(
            f"a weight of shape {tuple(weight.shape)} does not go with a Hessian of "
            f"{tuple(hessian.shape)} and a cross moment of {tuple(cross.shape)}"
        )
    if stream is not None and stream.shape != weight.shape:
        raise SchemeError(
            f"a stream's moment of {tuple(stream.shape)} for a weight of {tuple(weight.shape)}"
        )
    missing = weight.double() @ cross.double()
    if stream is not None:
        missing += stream.double()
    shift = _times_inverse(missing, hessian.double(), damping)
    return weight.float() if shift is None else (weight.double() + shift).float()


def _times_inverse(moments: Tensor, hessian: Tensor, damping: float) -> Tensor | None:
    """``moments (H + λI)⁻¹``; ``None`` if there is no such thing. Float64."""
    diagonal = hessian.diagonal()
    if not bool(hessian.isfinite().all() & moments.isfinite().all() & diagonal.any()):
        return None
    unit = damping_unit(diagonal)
    for used in dampings(damping):
        # An input that is always 0 has no cross moment either: any ridge will do, but not none.
        ridge = torch.where(diagonal == 0, 1.0, used * unit)
        factor, failed = torch.linalg.cholesky_ex(hessian + ridge.diag())
        if not failed:
            return torch.cholesky_solve(moments.T, factor).T
    return None
