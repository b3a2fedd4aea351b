"""The record turns into plain JSON."""

import dataclasses
import json
import math

import pytest

from tersor.evaluation import Evaluation


def example(**changes: object) -> Evaluation:
    record = Evaluation(
        tokens=511,
        windows=1,
        context=1024,
        skip=512,
        perplexity=19.2,
        nll=math.log(19.2),
        nll_stderr=0.01,
        texts=("a.txt",),
    )
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


def test_survives_json() -> None:
    record = example(kl_mean=0.25, top1_agreement=0.5)
    read = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    lists = {name: tuple(read[name]) for name in ("texts", "text_sha256", "notes", "first_tokens")}
    assert Evaluation(**(read | lists)) == record


def test_without_a_base_the_comparison_is_null() -> None:
    plain = example().to_dict()
    assert plain["kl_mean"] is None
    assert plain["tokens"] == 511


def test_an_infinite_perplexity_is_null_in_json() -> None:
    assert example(perplexity=math.inf).to_dict()["perplexity"] is None


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        example().tokens = 3  # type: ignore[misc]
