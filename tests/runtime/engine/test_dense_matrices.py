"""Matrices that are stored as floats at 8 bits in the engine, against those rounded by hand."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tersor
from tersor.grids import Granularity, IntegerGrid, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding.nearest import nearest
from tersor.runtime.engine.engine import Engine
from tersor.runtime.load import load
from tiny_models import ODD, logits_of, save_tiny, tokens

TEXT = tokens(batch=1, length=31)[0].tolist()
EXACT = {"activation_bits": 16, "cache": "float32"}


def rounded(weight: Tensor) -> Tensor:
    scheme = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
    return nearest(weight, scheme, MinMax(), scale_dtype=torch.float32).tensor.dequantize()


def reference(directory: Path, *, head_only: bool) -> Tensor:
    """Logits with linears rounded by hand; rows of the embedding are not."""
    model = load(directory, kernels=False)
    with torch.inference_mode():
        model.lm_head.weight = nn.Parameter(rounded(model.lm_head.weight))
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and name != "lm_head" and not head_only:
                module.weight.copy_(rounded(module.weight))
        found: Tensor = model(torch.tensor([TEXT])).logits[0]
    return found


def artifact(path: Path, *, tied: bool, exclude: tuple[str, ...] = ()) -> Path:
    save_tiny("llama", path / "model", **ODD["llama"], tie_word_embeddings=tied)
    adjustments = {"group_size": 16, "exclude": exclude}
    tersor.quantize(path / "model", path / "w4", "w4", **adjustments)
    return path / "w4"


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_is_rounded_and_rows_of_the_embedding_are_not(tmp_path: Path, tied: bool) -> None:
    out = artifact(tmp_path, tied=tied)
    engine = Engine(out, dense_bits=8, **EXACT)
    exact = reference(out, head_only=True)
    torch.testing.assert_close(logits_of(engine, TEXT), exact, rtol=0, atol=3e-5)
    assert float((exact - logits_of(Engine(out, **EXACT), TEXT)).abs().max()) > 1e-3
    assert any("lm_head stored as floats at 8 bits" in note for note in engine.notes)


def test_a_model_that_is_not_quantized_is_packed_when_asked(tmp_path: Path) -> None:
    artifact(tmp_path, tied=True)
    engine = Engine(tmp_path / "model", dense_bits=8, **EXACT)
    exact = reference(tmp_path / "model", head_only=False)
    torch.testing.assert_close(logits_of(engine, TEXT), exact, rtol=0, atol=3e-5)
    assert any("15 linears stored as floats" in note for note in engine.notes)


def test_what_was_left_out_of_a_layer_is_packed_too(tmp_path: Path) -> None:
    out = artifact(tmp_path, tied=True, exclude=("o_proj",))
    assert any("3 linears stored as floats" in note for note in Engine(out).notes)


@pytest.mark.parametrize("cache", ["on", "off"])
def test_packed_weights_that_are_kept_are_those_that_were_asked_for(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cache == "off":
        monkeypatch.setenv("TERSOR_CACHE", "off")
    out = artifact(tmp_path, tied=True)
    both = [logits_of(Engine(out, dense_bits=bits, **EXACT), TEXT) for bits in (8, 16)]
    again = [logits_of(Engine(out, dense_bits=bits, **EXACT), TEXT) for bits in (8, 16)]
    assert not torch.equal(both[0], both[1])
    assert all(torch.equal(a, b) for a, b in zip(both, again, strict=True))


def test_the_embedding_as_head_if_both_are_quantized(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model", **ODD["llama"], tie_word_embeddings=True)
    adjustments = {"group_size": 16, "include": ("model.embed_tokens",)}
    tersor.quantize(tmp_path / "model", tmp_path / "w4", "w4", **adjustments)
    assert not Engine(tmp_path / "w4").notes
