"""Scores of single positions against one-line fp64 references."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.evaluation import measures
from tersor.evaluation.measures import agreement, log_probabilities, row_chunks, true_token


def naive_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    p = torch.softmax(p_logits.double(), -1)
    q = torch.softmax(q_logits.double(), -1)
    terms = torch.where(p > 0, p * (p.log() - q.log()), 0.0)
    return terms.sum(-1)


@st.composite
def two_logits(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    rows, vocab = draw(st.integers(1, 9)), draw(st.integers(2, 33))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.floats(0.01, 30))
    p = torch.randn(rows, vocab, generator=generator) * size
    q = p + torch.randn(rows, vocab, generator=generator) * draw(st.floats(0, 3))
    return p, q, torch.randint(vocab, (rows,), generator=generator)


@given(two_logits())
@settings(deadline=None)
def test_matches_the_definition(case: tuple[Tensor, Tensor, Tensor]) -> None:
    p, q, targets = case
    found = agreement(log_probabilities(p), log_probabilities(q), targets)
    torch.testing.assert_close(found.kl, naive_kl(p, q), rtol=1e-5, atol=1e-5)
    rows = torch.arange(len(p))
    expected = torch.softmax(q.double(), -1) - torch.softmax(p.double(), -1)
    torch.testing.assert_close(found.delta_p, expected[rows, targets], rtol=0, atol=1e-5)
    assert bool((found.kl >= 0).all())
    assert bool((found.delta_p.abs() <= 1).all())


@given(two_logits())
@settings(deadline=None)
def test_a_model_agrees_with_itself_exactly(case: tuple[Tensor, Tensor, Tensor]) -> None:
    p, _, targets = case
    found = agreement(log_probabilities(p), log_probabilities(p), targets)
    assert float(found.kl.abs().max()) == 0.0
    assert float(found.delta_p.abs().max()) == 0.0
    assert bool(found.top1_agrees.all())


@given(two_logits())
@settings(deadline=None)
def test_adding_a_constant_to_the_logits_changes_nothing_much(
    case: tuple[Tensor, Tensor, Tensor],
) -> None:
    p, _, targets = case
    found = agreement(log_probabilities(p), log_probabilities(p + 8), targets)
    # fp32 logits near 8 + 30·4 are rounded to 1.5e-5.
    assert float(found.kl.max()) < 1e-4


def test_row_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    p, q, targets = torch.randn(50, 40), torch.randn(50, 40), torch.randint(40, (50,))
    whole = agreement(log_probabilities(p), log_probabilities(q), targets)
    monkeypatch.setattr(measures, "_CHUNK", 7 * 40)
    assert len(row_chunks(50, 40)) == 8
    pieces = agreement(log_probabilities(p), log_probabilities(q), targets)
    assert torch.equal(whole.kl, pieces.kl)


def test_row_chunks_cover_every_row_once() -> None:
    for rows, columns in ((1, 1), (5, 1 << 24), (300, 152_064), (2047, 49_152)):
        covered = [i for chunk in row_chunks(rows, columns) for i in range(rows)[chunk]]
        assert covered == list(range(rows))


def test_log_probabilities_sum_to_one_better_than_fp32() -> None:
    torch.manual_seed(0)
    logits = torch.randn(64, 49_152) * 3
    ours = (log_probabilities(logits).double().exp().sum(-1) - 1).abs().max()
    torchs = (logits.log_softmax(-1).double().exp().sum(-1) - 1).abs().max()
    assert ours < 1e-6
    assert ours < torchs / 4


def test_impossible_tokens_of_the_base_count_nothing() -> None:
    log_p = log_probabilities(torch.tensor([[0.0, -400.0]]))
    log_q = log_probabilities(torch.tensor([[0.0, 400.0]]))
    kl = agreement(log_p, log_q, torch.tensor([0])).kl
    torch.testing.assert_close(kl, torch.tensor([400.0], dtype=torch.float64))


def test_true_token() -> None:
    log_p = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]])
    assert true_token(log_p, torch.tensor([2, 0])).tolist() == [-3.0, -4.0]
