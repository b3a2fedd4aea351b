import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from gguf_files import write_gguf
from tersor.checkpoints.gguf.rope import llama3_factors
from tersor.checkpoints.gguf.source import GGUFSource
from tersor.checkpoints.restore import restore
from tersor.errors import SourceError
from tiny_models import save_tiny, tokens

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
DEFAULT = {"rope_type": "default", "rope_theta": 500000.0}


def test_llama3_factors_are_those_of_transformers(tmp_path):
    plain = save_tiny("llama", tmp_path / "a", rope_parameters=DEFAULT).model.rotary_emb.inv_freq
    scaled = save_tiny("llama", tmp_path / "b", rope_parameters=LLAMA3).model.rotary_emb.inv_freq
    ratio = (plain / scaled).numpy()
    assert 1 < np.median(ratio) < 8, "the test must see all three ranges"
    assert np.allclose(llama3_factors(500000.0, 8.0, ratio.size), ratio, rtol=1e-5)


def test_llama3_scaling_is_recovered_from_its_factors(tmp_path):
    save_tiny("llama", tmp_path / "hf", rope_parameters=LLAMA3)
    factors = llama3_factors(500000.0, 8.0, 8).astype(np.float32)
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", extra={"rope_freqs.weight": factors})
    config = GGUFSource(path).config
    for key, value in LLAMA3.items():
        assert config["rope_parameters"][key] == value
    assert config["rope_scaling"]["type"] == "llama3"


def test_factors_of_one_mean_no_scaling(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    ones = {"rope_freqs.weight": np.ones(8, np.float32)}
    config = GGUFSource(write_gguf(tmp_path / "hf", tmp_path / "m.gguf", extra=ones)).config
    assert config["rope_parameters"]["rope_type"] == "default"


def test_other_factors_are_refused(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    odd = {"rope_freqs.weight": np.linspace(1, 3, 8, dtype=np.float32)}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", extra=odd)
    with pytest.raises(SourceError, match=r"'rope_freqs\.weight' is not the scaling of Llama 3"):
        GGUFSource(path)


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_scaling_in_the_metadata(kind, tmp_path):
    scaling = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = 32
    model = save_tiny("qwen2", tmp_path / "hf", rope_parameters=scaling)
    metadata = {
        "qwen2.rope.scaling.type": kind,
        "qwen2.rope.scaling.factor": 4.0,
        "qwen2.rope.scaling.original_context_length": 32,
    }
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=metadata)
    assert_same_logits(restore(path, tmp_path / "out", dtype=torch.float32), model)


def test_phi3_long_context_factors(tmp_path):
    long = [1.05, 1.3, 2.0, 4.5]
    short = [1.0, 1.1, 1.2, 1.3]
    scaling = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "long_factor": long,
        "short_factor": short,
        "original_max_position_embeddings": 32,
    }
    model = save_tiny(
        "phi3",
        tmp_path / "hf",
        rope_parameters=scaling,
        partial_rotary_factor=0.5,
        original_max_position_embeddings=32,
    )
    path = write_gguf(
        tmp_path / "hf",
        tmp_path / "m.gguf",
        metadata={
            "phi3.rope.scaling.original_context_length": 32,
            "phi3.rope.dimension_count": 8,
            "phi3.attention.sliding_window": 0,
        },
        extra={
            "rope_factors_long.weight": np.array(long, np.float32),
            "rope_factors_short.weight": np.array(short, np.float32),
        },
    )
    config = GGUFSource(path).config
    assert config["rope_scaling"]["long_factor"] == long
    assert config["sliding_window"] is None
    out = restore(path, tmp_path / "out", dtype=torch.float32)
    assert_same_logits(out, model, length=24)
    assert_same_logits(out, model, length=64)


def test_unknown_scaling_is_refused(tmp_path):
    save_tiny("qwen2", tmp_path / "hf")
    metadata = {"qwen2.rope.scaling.type": "dynamic"}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=metadata)
    with pytest.raises(SourceError, match=r"rope\.scaling\.type 'dynamic' is not supported"):
        GGUFSource(path)


@pytest.mark.parametrize("factor", [None, 0.0])
def test_scaling_without_a_factor_is_refused(factor, tmp_path):
    save_tiny("qwen2", tmp_path / "hf")
    metadata = {"qwen2.rope.scaling.type": "linear", "qwen2.rope.scaling.factor": factor}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=metadata)
    with pytest.raises(SourceError, match=r"rope\.scaling\.factor is (None|0\.0), not positive"):
        GGUFSource(path)


def assert_same_logits(out, model, length=24):
    restored = AutoModelForCausalLM.from_pretrained(out)
    ids = tokens(batch=1, length=length)
    with torch.no_grad():
        assert torch.allclose(restored(ids).logits, model(ids).logits, atol=1e-4)
