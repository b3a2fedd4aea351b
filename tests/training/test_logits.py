"""Divergence of next-token distributions and its gradient, against autograd on whole logits."""

import pytest
import torch
from torch.nn import functional as F

from tersor.training.logits import divergence


@pytest.mark.parametrize("positions", [1, 255, 256, 600])
def test_value_and_gradient_are_those_of_whole_logits(positions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(positions, 16, generator=generator)
    head = torch.randn(50, 16, generator=generator)
    student = torch.randn(positions, 16, generator=generator, requires_grad=True)
    expected_student = student.detach().clone().requires_grad_(True)
    log_q = F.log_softmax(expected_student @ head.T, -1)
    expected = F.kl_div(
        log_q, F.log_softmax(teacher @ head.T, -1), log_target=True, reduction="sum"
    )
    (3 * expected).backward()
    found = divergence(student, teacher, head)
    (3 * found).backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(student.grad, expected_student.grad, rtol=1e-4, atol=1e-5)


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
