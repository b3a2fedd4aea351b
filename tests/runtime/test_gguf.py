"""GGUF files run as they are, against the model of the same values, dequantized."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

import tersor
from gguf_files import bpe_metadata, write_gguf
from tersor.errors import FormatError, SourceError
from tersor.formats.kinds.gguf.types import TYPES
from tersor.runtime.engine.engine import Engine
from tersor.runtime.opening import Opened
from tiny_models import save_tiny

KINDS = gguf.GGMLQuantizationType
IDS = [3, 1, 44, 5, 90, 7, 7, 101, 2]
# Rows of whole blocks: of 32, and of 256.
NARROW = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 8, "head_dim": 12}
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 16, "head_dim": 16}
EXACT = {"activation_bits": 16, "cache": "float32"}


def written(directory: Path, kind: str, family: str = "llama", **config: object) -> Path:
    shape = NARROW if gguf.GGML_QUANT_SIZES[KINDS[kind]][0] <= 32 else WIDE
    save_tiny(family, directory / "hf", **{**shape, "vocab_size": 384, **config})
    metadata = bpe_metadata("gpt-2")
    return write_gguf(directory / "hf", directory / "m.gguf", kind=KINDS[kind], metadata=metadata)


def logits(path: Path, **options: object) -> np.ndarray:
    return Engine(path, **options).logits(IDS)


def assert_near(found: np.ndarray, exact: np.ndarray, share: float) -> None:
    assert np.abs(found - exact).max() <= share * np.abs(exact).max()


@pytest.mark.parametrize("kind", [*TYPES, "F16", "BF16", "F32"])
def test_logits_are_those_of_the_dequantized_weights(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    dense = tersor.restore(path, tmp_path / "dense", dtype=torch.float32)
    exact = logits(dense, **EXACT)
    assert_near(logits(path, **EXACT), exact, 1e-5)
    assert_near(logits(path), exact, 0.05)


@pytest.mark.parametrize("kind", ["Q5_0", "F32"])
@pytest.mark.parametrize(
    "family",
    ["qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "mistral", "mixtral", "qwen3_moe"],
)
def test_every_family_of_the_engine(tmp_path: Path, family: str, kind: str) -> None:
    more = {"query_pre_attn_scalar": 12} if family.startswith("gemma") else {}
    path = written(tmp_path, kind, family, **more)
    dense = tersor.restore(path, tmp_path / "dense", dtype=torch.float32)
    assert_near(logits(path, **EXACT), logits(dense, **EXACT), 1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_transformers_runs_what_is_in_it(tmp_path: Path, family: str) -> None:
    shape = {"n_embd": 96, "n_inner": 160} if family == "gpt2" else {}
    path = written(tmp_path, "Q8_0", family, **shape)
    dense = tersor.restore(path, tmp_path / "dense", dtype=torch.float32)
    ids = torch.tensor([IDS])
    with torch.inference_mode():
        exact = tersor.load(dense)(ids).logits
        torch.testing.assert_close(tersor.load(path, kernels=False)(ids).logits, exact)
        rounded = tersor.load(path)(ids).logits
    assert_near(rounded.numpy(), exact.numpy(), 0.05)


def test_a_model_of_floats_is_loaded_too(tmp_path: Path) -> None:
    path, ids = written(tmp_path, "F16"), torch.tensor([IDS])
    with torch.inference_mode():
        found = tersor.load(path)(ids).logits
        exact = tersor.load(tmp_path / "hf")(ids).logits
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-2)


def test_what_is_kept_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERSOR_CACHE", str(tmp_path / "cache"))
    path = written(tmp_path, "Q4_1")
    first = logits(path)
    kept = Opened(path)
    assert kept.cache.quantized is not None
    assert kept.cache.held("model.layers.0.self_attn.q_proj").minima is not None
    assert np.array_equal(logits(path), first)
    (written_file,) = tersor.cache_contents().files
    assert (written_file.artifact, written_file.gone) == (path, False)


def test_a_text_is_continued_and_scored(tmp_path: Path) -> None:
    path = written(tmp_path, "Q5_1")
    dense = tersor.restore(path, tmp_path / "dense", dtype=torch.float32)
    assert tersor.Engine(path).ends == tersor.Engine(dense).ends == {0}
    said = [tersor.generate(one, "hello", max_new_tokens=4, **EXACT) for one in (path, dense)]
    assert said[0] == said[1]
    for engine in (True, False):
        one, two = (
            tersor.evaluate(each, engine=engine, context=16, windows=2) for each in (path, dense)
        )
        ratio = one.evaluations[0].perplexity / two.evaluations[0].perplexity
        assert ratio == pytest.approx(1, abs=0.05 if engine else 1e-5)


def test_a_type_without_kernels_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = written(tmp_path, "TQ2_0")
    said = r"m\.gguf: .*has the type TQ2_0, for which there is no kernel; .*: tersor restore"
    with pytest.raises(FormatError, match=said):
        Engine(path)


def test_what_is_no_matrix_of_weights_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "hf", hidden_size=96)
    norm = gguf.quants.quantize(np.ones((1, 96), np.float32), KINDS.Q8_0)[0]
    path = write_gguf(
        tmp_path / "hf",
        tmp_path / "m.gguf",
        drop=("output_norm.weight",),
        blocks={"output_norm.weight": (norm, KINDS.Q8_0)},
    )
    with pytest.raises(SourceError, match=r"'output_norm\.weight' of type Q8_0 is no matrix"):
        Engine(path)
