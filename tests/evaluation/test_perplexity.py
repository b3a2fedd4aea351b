"""Evaluation of table models against sums written out in fp64."""

import math

import pytest
import torch
from bigram import Bigram, LastBigram, random_bigram, random_windows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tersor.errors import SourceError, TextError
from tersor.evaluation import Evaluation, LiveBase, evaluate_model


def naive(model: Bigram, base: Bigram, windows: Tensor, skip: int) -> dict[str, float]:
    """Every figure from the definitions, one position after the other."""
    q_table = torch.softmax(model.table.detach().double(), -1)
    p_table = torch.softmax(base.table.detach().double(), -1)
    nll, base_nll, kl, same, delta = [], [], [], [], []
    for window in windows.tolist():
        for here, following in zip(window[skip:-1], window[skip + 1 :], strict=True):
            p, q = p_table[here], q_table[here]
            nll.append(-math.log(q[following]))
            base_nll.append(-math.log(p[following]))
            kl.append(float((p * (p.log() - q.log())).sum()))
            same.append(float(p.argmax() == q.argmax()))
            delta.append(float((q[following] - p[following]) ** 2))
    count = len(nll)
    mean, base_mean = sum(nll) / count, sum(base_nll) / count
    quantile = torch.tensor(kl, dtype=torch.float64).quantile
    return {
        "tokens": count,
        "nll": mean,
        "nll_stderr": math.sqrt(sum((x - mean) ** 2 for x in nll) / (count - 1) / count),
        "perplexity": math.exp(mean),
        "base_perplexity": math.exp(base_mean),
        "kl_mean": sum(kl) / count,
        "kl_median": float(quantile(0.5)),
        "kl_p90": float(quantile(0.9)),
        "kl_p99": float(quantile(0.99)),
        "kl_max": max(kl),
        "top1_agreement": sum(same) / count,
        "rms_delta_p": math.sqrt(sum(delta) / count),
        "ln_ppl_ratio": mean - base_mean,
    }


@given(seed=st.integers(0, 2**20), skip=st.integers(0, 8), size=st.floats(0.1, 8))
@settings(deadline=None, max_examples=40)
def test_every_figure_matches_its_definition(seed: int, skip: int, size: float) -> None:
    model, base = random_bigram(seed, size=size), random_bigram(seed + 1, size=size)
    windows = random_windows(seed + 2)
    found = evaluate_model(
        model, windows, base=LiveBase(base, windows, skip=skip), skip=skip
    ).to_dict()
    expected = naive(model, base, windows, skip)
    assert found.items() >= {"windows": 3, "context": 10, "skip": skip}.items()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_without_a_base_only_the_perplexity() -> None:
    record = evaluate_model(random_bigram(0), random_windows(1), texts=["a.txt"])
    assert record.texts == ("a.txt",)
    assert record.kl_mean is None
    assert record.base_perplexity is None
    assert record.perplexity == pytest.approx(math.exp(record.nll))


def test_a_model_against_itself_is_exactly_equal() -> None:
    model, windows = random_bigram(0, size=5), random_windows(1)
    record = evaluate_model(model, windows, base=LiveBase(model, windows))
    assert (record.kl_mean, record.kl_max, record.rms_delta_p) == (0.0, 0.0, 0.0)
    assert (record.top1_agreement, record.ln_ppl_ratio) == (1.0, 0.0)


def test_a_uniform_model_has_the_vocabulary_as_perplexity() -> None:
    record = evaluate_model(Bigram(torch.zeros(11, 11)), random_windows(1))
    assert record.perplexity == pytest.approx(11, rel=1e-6)
    assert record.nll_stderr == pytest.approx(0, abs=1e-7)


def test_a_model_that_computes_only_the_last_logits_gives_the_same() -> None:
    model, windows = random_bigram(3), random_windows(4)
    last = LastBigram(model.table.detach())
    assert evaluate_model(last, windows, skip=4) == evaluate_model(model, windows, skip=4)


def test_half_precision_logits_are_scored_in_fp32() -> None:
    model, windows = random_bigram(3), random_windows(4)
    rounded = Bigram(model.table.detach().bfloat16().float())
    record = evaluate_model(model.bfloat16(), windows)
    assert record == evaluate_model(rounded, windows)


def test_a_hopeless_model_has_infinite_perplexity() -> None:
    table = torch.full((3, 3), -2000.0)
    table[:, 0] = 2000.0
    record = evaluate_model(Bigram(table), torch.ones(1, 5, dtype=torch.int64))
    assert record.nll == 4000.0
    assert record.perplexity == math.inf


def test_dropout_is_off_and_the_mode_is_restored() -> None:
    model, windows = random_bigram(0), random_windows(1)
    model.train()
    first, second = evaluate_model(model, windows), evaluate_model(model, windows)
    assert first == second
    assert model.training


def test_progress_counts_windows() -> None:
    seen: list[tuple[int, int]] = []
    evaluate_model(
        random_bigram(0), random_windows(1), progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_name_the_model(bad: float) -> None:
    model = random_bigram(0)
    model.table.data[:, 2] = bad
    with pytest.raises(SourceError, match="Bigram: logits hold NaN or infinity"):
        evaluate_model(model, random_windows(1))


def test_a_bad_base_is_named() -> None:
    class Original(Bigram):
        pass

    windows = random_windows(1)
    base = LiveBase(Original(torch.full((11, 11), math.nan)), windows)
    with pytest.raises(SourceError, match="Original"):
        evaluate_model(random_bigram(0), windows, base=base)


def test_a_base_with_another_vocabulary_is_refused() -> None:
    windows = random_windows(1)
    with pytest.raises(SourceError, match="predicts 11 tokens and the base 12"):
        evaluate_model(
            random_bigram(0), windows, base=LiveBase(random_bigram(0, vocab=12), windows)
        )


@pytest.mark.parametrize(("seed", "skip"), [(1, 3), (2, 0)])
def test_a_base_for_something_else_is_refused(seed: int, skip: int) -> None:
    base = LiveBase(random_bigram(0), random_windows(seed), skip=skip)
    with pytest.raises(TextError, match="prepare it again"):
        evaluate_model(random_bigram(0), random_windows(1), base=base)


@pytest.mark.parametrize(
    ("shape", "skip"), [((0, 8), 0), ((2, 1), 0), ((2, 8), 7), ((2, 8), -1), ((1, 8), 6)]
)
def test_nothing_to_score_is_an_error(shape: tuple[int, int], skip: int) -> None:
    with pytest.raises(TextError, match="to score"):
        evaluate_model(random_bigram(0), torch.zeros(shape, dtype=torch.int64), skip=skip)


def test_windows_must_be_token_numbers() -> None:
    with pytest.raises(TextError, match="int64"):
        evaluate_model(random_bigram(0), torch.zeros(2, 8))


class _Limited(Bigram):
    """A table with a config that says what it can read."""

    def __init__(self) -> None:
        super().__init__(torch.zeros(11, 11))
        self.config = type(
            "Config", (), {"vocab_size": 8, "max_position_embeddings": 16, "name_or_path": "/m/x"}
        )()


def test_foreign_tokens_are_refused() -> None:
    with pytest.raises(TextError, match="/m/x: the text has token 10, the model has 8"):
        evaluate_model(_Limited(), torch.full((1, 8), 10))


def test_windows_longer_than_the_model_are_refused() -> None:
    with pytest.raises(TextError, match="--context 16"):
        evaluate_model(_Limited(), torch.zeros(1, 17, dtype=torch.int64))


def test_a_real_architecture_matches_a_plain_forward() -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model: nn.Module = AutoModelForCausalLM.from_config(config)
    windows = random_windows(5, count=2, length=24, vocab=61)
    with torch.no_grad():
        logits = model(windows).logits[:, 8:-1].double()
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 9:].flatten())
    found = evaluate_model(model, windows, skip=8, base=LiveBase(model, windows, skip=8))
    assert isinstance(found, Evaluation)
    assert found.nll == pytest.approx(float(expected), abs=1e-5)
    assert found.kl_max == 0.0
