"""Matrices that an artifact keeps as they were, at 8 bits in the engine."""

from pathlib import Path

import pytest
import torch

import tersor
from tersor.errors import OptionError, SourceError
from tersor.runtime.engine.engine import Engine
from tersor.runtime.load import load
from tiny_models import logits_of, save_tiny, tokens

TEXT = tokens(batch=1, length=30)[0].tolist()
HEAD = "lm_head.weight"


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def artifact(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_tiny("qwen3", tmp_path / "model", tie_word_embeddings=request.param)
    tersor.quantize(tmp_path / "model", tmp_path / "w4", "w4", group_size=16)
    return tmp_path / "w4"


def test_the_head_is_rounded_per_channel_and_rows_of_the_embedding_are_not(artifact: Path) -> None:
    model = load(artifact, kernels=False)
    given = {"activation_bits": 16, "cache": "float32"}
    with torch.inference_mode():
        states = model.model(torch.tensor([TEXT])).last_hidden_state[0]
    weight = model.lm_head.weight.detach()
    scale = weight.abs().amax(1, keepdim=True) / 127
    rounded = (weight / scale).round() * scale
    found = logits_of(Engine(artifact, dense_bits=8, **given), TEXT)
    torch.testing.assert_close(found, states @ rounded.T, rtol=0, atol=3e-5)
    exact = logits_of(Engine(artifact, **given), TEXT)
    torch.testing.assert_close(exact, states @ weight.T, rtol=0, atol=3e-5)


def test_it_is_the_default_where_activations_are_rounded_and_said(artifact: Path) -> None:
    packed, dense = Engine(artifact), Engine(artifact, dense_bits=16)
    assert any("--dense-bits 16" in note for note in packed.notes)
    assert not dense.notes
    assert packed.bytes_per_token < dense.bytes_per_token
    assert torch.equal(logits_of(Engine(artifact, dense_bits=8), TEXT), logits_of(packed, TEXT))


def test_unquantized_models_stay_as_they_are(artifact: Path) -> None:
    model = artifact.parent / "model"
    assert torch.equal(
        logits_of(Engine(model), TEXT), logits_of(Engine(model, dense_bits=16), TEXT)
    )


def test_other_widths_are_refused(artifact: Path) -> None:
    with pytest.raises(OptionError, match="dense_bits must be 8 or 16, not 4"):
        Engine(artifact, dense_bits=4)


def test_a_decoder_without_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    save_tiny("qwen3", tmp_path).model.save_pretrained(tmp_path / "bare")
    with pytest.raises(SourceError, match=r"lm_head\.weight"):
        Engine(tmp_path / "bare")


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_bare_decoder_with_a_tied_head_runs(tmp_path: Path, family: str) -> None:
    model = save_tiny(family, tmp_path / "whole", tie_word_embeddings=True)
    model.model.save_pretrained(tmp_path / "bare")
    given = {"activation_bits": 16, "cache": "float32"}
    whole = logits_of(Engine(tmp_path / "whole", **given), TEXT)
    assert torch.equal(logits_of(Engine(tmp_path / "bare", **given), TEXT), whole)
    tersor.quantize(tmp_path / "bare", tmp_path / "w4", "w4", group_size=16)
    found = logits_of(Engine(tmp_path / "w4", **given), TEXT)
    with torch.inference_mode():
        expected = load(tmp_path / "w4", kernels=False)(torch.tensor([TEXT])).logits[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)
