"""The factor of a Hessian: against the textbook's, in every order, and for hard Hessians."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hessians import correlated
from tersor import _native
from tersor.errors import SchemeError
from tersor.grids import Granularity, IntegerGrid, TensorScheme
from tersor.rounding import Order, hessian_factor
from tersor.rounding.gptq_reference import processing_order

ORDERS: tuple[Order, ...] = get_args(Order)


def textbook(hessian: Tensor, permutation: Tensor, damping: float) -> Tensor:
    """``F`` by way of the inverse, float64.

    The original algorithm has errors ``e_j = (w_j − q_j) / U_jj`` of corrected weights, which add
    up to ``W − Q = E U``. So ``E = (W − Q) U⁻¹``, and ``F`` is ``U⁻¹`` in units of its diagonal.
    """
    ordered = hessian.double()[permutation][:, permutation]
    ordered += damping * ordered.diagonal().mean() * torch.eye(len(ordered))
    upper = torch.linalg.cholesky(ordered.inverse(), upper=True)
    return (upper.inverse() * upper.diagonal()).T.tril(-1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("columns", [1, 2, 16, 17, 80, 200])
def test_against_the_textbook(order: Order, columns: int) -> None:
    hessian = correlated(columns)
    factor = hessian_factor(hessian, 0.01, order, 32)
    assert factor.feedback is not None
    expected = textbook(hessian, factor.permutation, 0.01)
    assert torch.allclose(factor.feedback.double(), expected, rtol=1e-5, atol=1e-7)
    assert not factor.feedback.triu().any()
    assert factor.note == ""
    assert torch.equal(factor.diagonal, hessian.diagonal())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("group_size", [None, 16, 32, 100])
def test_order(order: Order, group_size: int | None) -> None:
    hessian = correlated(80)
    factor = hessian_factor(hessian, 0.01, order, group_size)
    granularity = Granularity.CHANNEL if group_size is None else Granularity.GROUP
    scheme = TensorScheme(IntegerGrid(4), granularity, group_size)
    expected = processing_order(hessian.diagonal().tolist(), scheme, order)
    assert factor.permutation.tolist() == expected


def test_equal_columns_stay_in_order() -> None:
    for order in ORDERS:
        factor = hessian_factor(torch.eye(70), 0.0, order, 32)
        assert factor.permutation.tolist() == list(range(70))
        assert factor.feedback is not None
        assert not factor.feedback.any()


def test_the_same_bits_for_any_number_of_threads() -> None:
    hessian = correlated(300)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(hessian_factor(hessian, 0.01, "activation", None).feedback)
    finally:
        torch.set_num_threads(threads)
    assert found[0] is not None
    assert found[1] is not None
    assert torch.equal(found[0], found[1])


def test_damping_is_raised_as_little_as_needed() -> None:
    hessian = torch.ones(64, 64)
    indefinite = correlated(64)
    smallest = float(torch.linalg.eigvalsh(indefinite)[0])
    mean = float(indefinite.diagonal().mean())
    indefinite -= (smallest + 0.1 * mean) * torch.eye(64)
    assert hessian_factor(hessian, 0.01, "none", None).note == ""
    assert hessian_factor(hessian, 0.0, "none", None).note == "damping raised to 0.01"
    raised = hessian_factor(indefinite, 0.01, "none", None)
    assert raised.note in {"damping raised to 0.25", "damping raised to 1"}
    assert raised.feedback is not None


def test_a_matrix_without_a_correct_digit_is_not_factorized() -> None:
    # Rank 40 of 64, exactly representable: what remains of the later pivots is rounding noise.
    inputs = torch.randint(-3, 4, (40, 64), generator=torch.Generator().manual_seed(0)).float()
    factor = hessian_factor(inputs.T @ inputs, 0.0, "none", None)
    assert factor.note == "damping raised to 0.01"
    assert factor.feedback is not None
    assert factor.feedback.abs().max() < 100


def test_dead_inputs_take_no_part() -> None:
    hessian = correlated(40)
    live = torch.arange(40) % 5 != 2
    hessian *= live.outer(live)
    whole = hessian_factor(hessian, 0.01, "none", None).feedback
    part = hessian_factor(hessian[live][:, live], 0.01, "none", None).feedback
    assert whole is not None
    assert part is not None
    assert not whole[~live].any()
    assert not whole[:, ~live].any()
    assert torch.allclose(whole[live][:, live], part, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (0, 0), (2, 2, 2)])
def test_what_is_not_square_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemeError, match="a Hessian is square"):
        hessian_factor(torch.ones(shape), 0.01, "none", None)


def test_a_hessian_in_another_layout_or_type() -> None:
    hessian = correlated(48)
    expected = hessian_factor(hessian, 0.01, "group", 16).feedback
    assert expected is not None
    for other in (hessian.T, hessian.double(), torch.stack([hessian, hessian], 2)[..., 0]):
        found = hessian_factor(other, 0.01, "group", 16).feedback
        assert found is not None
        assert torch.equal(found, expected)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 70), st.integers(0, 1000), st.sampled_from(ORDERS), st.sampled_from([None, 16])
)
def test_the_factor_restores_the_hessian(
    columns: int, seed: int, order: Order, group_size: int | None
) -> None:
    """``P H Pᵀ = R Rᵀ`` where ``F + 1`` is ``Rᵀ`` in units of its diagonal."""
    hessian = correlated(columns, seed)
    factor = hessian_factor(hessian, 0.01, order, group_size)
    assert factor.feedback is not None
    assert sorted(factor.permutation.tolist()) == list(range(columns))
    unit = factor.feedback.double() + torch.eye(columns)
    ordered = hessian.double()[factor.permutation][:, factor.permutation]
    ordered += 0.01 * ordered.diagonal().mean() * torch.eye(columns)
    # Hence (F + 1)⁻ᵀ P H Pᵀ (F + 1)⁻¹ is diagonal.
    middle = torch.linalg.solve(unit.T, torch.linalg.solve(unit.T, ordered).T)
    off = middle - middle.diagonal().diag()
    assert off.abs().max() <= 1e-5 * middle.diagonal().max()
    assert (middle.diagonal() > 0).all()


def test_native_arguments_are_checked() -> None:
    hessian, feedback = torch.eye(4).numpy(), torch.empty(4, 4).numpy()
    ridge = torch.zeros(4, dtype=torch.float64).numpy()
    for order in ([0, 1, 2, 4], [0, 1, 2, -1]):
        with pytest.raises(ValueError, match="does not exist"):
            _native.gptq_factor(hessian, torch.tensor(order).numpy(), ridge, feedback)
    with pytest.raises(ValueError, match="not square in the order"):
        _native.gptq_factor(hessian, torch.arange(3).numpy(), ridge, feedback)
    with pytest.raises(ValueError, match="ridge and Hessian"):
        _native.gptq_factor(hessian, torch.arange(4).numpy(), ridge[:3], feedback)
