"""Divergence of next-token distributions and its gradient, against autograd on whole logits."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tersor.training.logits import _divergence, divergence


@pytest.mark.parametrize("cap", [0.0, 3.0])
@pytest.mark.parametrize("positions", [1, 255, 256, 600])
def test_value_and_gradient_are_those_of_whole_logits(positions: int, cap: float) -> None:
    def logits(hidden: Tensor) -> Tensor:
        product = hidden @ head.T
        return cap * torch.tanh(product / cap) if cap else product

    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(positions, 16, generator=generator)
    head = torch.randn(50, 16, generator=generator)
    student = torch.randn(positions, 16, generator=generator, requires_grad=True)
    expected_student = student.detach().clone().requires_grad_(True)
    log_q, log_p = (F.log_softmax(logits(x), -1) for x in (expected_student, teacher))
    expected = F.kl_div(log_q, log_p, log_target=True, reduction="sum")
    (3 * expected).backward()
    found = divergence(student, teacher, head, cap)
    (3 * found).backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(student.grad, expected_student.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_native_sums_are_those_of_torch(columns: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(columns)
    student, teacher = (8 * torch.randn(2, 5, columns, generator=generator)).to(dtype)
    student[0, 0], teacher[0, -1] = 60.0, -300.0
    log_q, log_p = (x.double().log_softmax(-1) for x in (student, teacher))
    expected = (log_p.exp() * (log_p - log_q)).sum(-1)
    slope = log_q.exp() - log_p.exp()
    totals = torch.empty(5, dtype=torch.float64)
    _divergence(student, teacher, totals)
    torch.testing.assert_close(totals, expected, rtol=1e-5, atol=1e-5)
    small = 1e-6 if dtype is torch.float32 else 4e-3
    torch.testing.assert_close(student.double(), slope, rtol=small, atol=1e-7)


def test_native_sums_of_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        _divergence(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="one total"):
        _divergence(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3, dtype=torch.float64))


def test_a_model_does_not_diverge_from_itself() -> None:
    hidden = torch.randn(2, 7, 8, requires_grad=True)
    found = divergence(hidden, hidden.detach(), torch.randn(11, 8))
    found.backward()
    assert float(found.detach()) == 0
    assert hidden.grad is not None
    assert float(hidden.grad.abs().max()) == 0


def test_bfloat16_logits_are_summed_in_float32() -> None:
    generator = torch.Generator().manual_seed(1)
    teacher, student = torch.randn(2, 40, 16, generator=generator)
    head = torch.randn(50, 16, generator=generator)
    exact = divergence(student, teacher, head)
    rough = divergence(student.bfloat16(), teacher.bfloat16(), head.bfloat16())
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)
