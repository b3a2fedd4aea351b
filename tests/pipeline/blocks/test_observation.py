"""What is gathered is what was asked for, whichever way the rows are cut."""

from dataclasses import fields

import pytest
import torch

from tersor.errors import SourceError
from tersor.pipeline.blocks.observation import observe
from tersor.ranges import Need, Observation

ROWS = torch.randn(700, 6, generator=torch.Generator().manual_seed(3)) * torch.arange(1, 7)
PIECES = [ROWS[:256], ROWS[256:256], ROWS[256:600], ROWS[600:]]


def test_nothing_but_what_is_needed() -> None:
    for need in Need:
        found = observe(PIECES, frozenset({need}), "q", window=100)
        given = {f.name for f in fields(Observation) if getattr(found, f.name) is not None}
        extra = {"mean_square"} if need is Need.SECOND_MOMENTS else set()
        wanted = set() if need is Need.DRIFT else {need.value}  # the original model is the caller's
        assert given == {"tokens", *wanted, *extra}


def test_against_all_rows_at_once() -> None:
    found = observe(PIECES, frozenset(Need), "q", window=100)
    exact = ROWS.double()
    assert found.tokens == 700
    for given, expected in (
        (found.hessian, exact.T @ exact / 700),
        (found.mean_square, exact.square().mean(0)),
        (found.mean, exact.mean(0)),
        (found.mean_magnitude, exact.abs().mean(0)),
        (found.largest, exact.abs().amax(0)),
    ):
        assert given is not None
        torch.testing.assert_close(given.double(), expected, rtol=1e-5, atol=1e-5)
    assert found.sample is not None
    assert len(found.sample) == 700
    assert found.stream is not None
    assert float(found.stream.lows.min()) == float(ROWS.min())
    assert float(found.stream.highs.max()) == float(ROWS.max())
    assert len(found.stream.lows) == 3 + 4 + 1
    assert int(found.stream.counts.sum()) == ROWS.numel()


def test_a_sample_is_spread_over_all_pieces() -> None:
    rows = torch.arange(5000.0).unsqueeze(1)
    found = observe(list(rows.split(1000)), frozenset({Need.SAMPLE}), "q")
    assert found.sample is not None
    assert 500 <= len(found.sample) <= 600
    assert float(found.sample.max()) > 4900


def test_a_stream_that_is_not_finite_names_the_linear() -> None:
    with pytest.raises(SourceError, match=r"^input of layers\.0\.q: an activation is NaN"):
        observe([ROWS / 0], frozenset({Need.STREAM}), "layers.0.q", window=100)
