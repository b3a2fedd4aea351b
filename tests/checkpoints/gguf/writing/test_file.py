"""GGUF files written, read again by tersor, by the gguf package and by transformers."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from gguf_files import write_gguf
from tersor.checkpoints.files import read_json, write_json
from tersor.checkpoints.gguf.source import GGUFSource
from tersor.checkpoints.gguf.stored import StoredGGUF
from tersor.checkpoints.gguf.writing.file import GGUFFileWriter
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.restore import restore
from tersor.checkpoints.source import TensorInfo
from tersor.errors import OutputError, ReadBackError, SchemeError
from tiny_models import ODD, save_tiny, tokens

# Gemma divides by sqrt(query_pre_attn_scalar), which a GGUF holds only as the head size.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True},
    "mistral": {"sliding_window": None},
    "mixtral": {},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "qwen3_moe": {"norm_topk_prob": True},
    "gemma2": {"query_pre_attn_scalar": 24},
    "gemma3_text": {"query_pre_attn_scalar": 24, "num_hidden_layers": 6},
    "phi3": {},
    "gpt2": {},
}


def written(directory: Path, path: Path, dtype: torch.dtype | None = None) -> Path:
    """The model in a directory as a GGUF file; vectors in float32, matrices in ``dtype``."""
    source = open_source(directory)
    expected = [
        TensorInfo(one.name, torch.float32 if len(one.shape) < 2 else dtype or one.dtype, one.shape)
        for one in source.tensors.values()
    ]
    with GGUFFileWriter(path, expected, source.config, source) as writer:
        for info in reversed(expected):
            writer.add({info.name: source.read([info.name])[info.name].to(info.dtype)})
    return path


def changed(directory: Path, **fields: Any) -> None:
    config = read_json(directory / "config.json")
    write_json(directory / "config.json", {**config, **fields})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_of_a_family_comes_back(family: str, tmp_path: Path) -> None:
    save_tiny(family, tmp_path / "hf", **FAMILIES[family])
    path = written(tmp_path / "hf", tmp_path / "m.gguf")
    original, source = open_source(tmp_path / "hf"), StoredGGUF(path)
    assert list(source.tensors) == list(original.tensors)
    for name, info in original.tensors.items():
        assert source.tensors[name] == info
        # (1 + w) − 1 is not w in floating point; everything else is exact.
        tolerance = 1e-6 if family.startswith("gemma") and "norm" in name else 0
        expected = original.read([name])[name]
        assert torch.allclose(source.read([name])[name], expected, rtol=0, atol=tolerance), name


@pytest.mark.parametrize("family", FAMILIES)
def test_what_comes_back_computes_the_same(family: str, tmp_path: Path) -> None:
    model = save_tiny(family, tmp_path / "hf", **FAMILIES[family])
    restore(written(tmp_path / "hf", tmp_path / "m.gguf"), tmp_path / "out", dtype=torch.float32)
    restored = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = tokens(batch=2)
    with torch.no_grad():
        assert torch.allclose(restored(ids).logits, model(ids).logits, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_names_values_and_fields_are_those_of_the_converter(family: str, tmp_path: Path) -> None:
    save_tiny(family, tmp_path / "hf", **FAMILIES[family])
    ours = gguf.GGUFReader(written(tmp_path / "hf", tmp_path / "ours.gguf"))
    theirs = gguf.GGUFReader(write_gguf(tmp_path / "hf", tmp_path / "theirs.gguf"))
    one, two = ({t.name: t.data for t in reader.tensors} for reader in (ours, theirs))
    assert one.keys() == two.keys()
    for name in one:
        assert np.array_equal(one[name], two[name]), name
    prefix = ours.fields["general.architecture"].contents()
    for key, field in theirs.fields.items():
        if key.startswith(prefix):
            found = ours.fields[key].contents()
            assert np.float32(found) == np.float32(field.contents()), key


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_odd_sizes_in_every_float_type(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    odd = {**ODD[family], "num_hidden_layers": 6} if family == "gemma3_text" else ODD[family]
    odd = {**odd, "query_pre_attn_scalar": 14, "sliding_window_pattern": 6}
    save_tiny(family, tmp_path / "hf", **odd)
    source = GGUFSource(written(tmp_path / "hf", tmp_path / "m.gguf", dtype), torch.float32)
    original = open_source(tmp_path / "hf")
    for name, info in original.tensors.items():
        expected = original.read([name])[name]
        if len(info.shape) == 2:
            assert torch.equal(source.read([name])[name], expected.to(dtype).float()), name


ROPES = {
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
}  # fmt: skip


@pytest.mark.parametrize("kind", ROPES)
def test_scaled_positions_come_back(kind: str, tmp_path: Path) -> None:
    model = save_tiny("llama", tmp_path / "hf", rope_parameters={**ROPES[kind], "rope_theta": 5e5})
    restore(written(tmp_path / "hf", tmp_path / "m.gguf"), tmp_path / "out", dtype=torch.float32)
    restored = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    one, two = (m.model.rotary_emb for m in (restored, model))
    assert torch.allclose(one.inv_freq, two.inv_freq, rtol=1e-6)
    assert one.attention_scaling == pytest.approx(two.attention_scaling)


def test_long_positions_of_phi_come_back(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "long_factor": [1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]}
    rope = {**rope, "short_factor": [1.0] * 8, "rope_theta": 10000.0, "type": "longrope"}
    save_tiny("phi3", tmp_path / "hf")
    changed(tmp_path / "hf", rope_scaling=rope, original_max_position_embeddings=32)
    changed(tmp_path / "hf", rope_parameters=None)
    path = written(tmp_path / "hf", tmp_path / "m.gguf")
    config = StoredGGUF(path).config
    assert config["rope_scaling"]["long_factor"] == rope["long_factor"]
    assert config["original_max_position_embeddings"] == 32


WRONG = {
    "hidden_act 'silu', not 'gelu'": ("llama", {"hidden_act": "gelu"}),
    "GGUF cannot say positions scaled by 'dynamic'": (
        "llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    ),
    "norm_topk_prob True, not False": ("qwen3_moe", {"norm_topk_prob": False}),
    "not of query_pre_attn_scalar, 256": ("gemma2", {}),
    "attn_logit_softcapping 50.0, not None": (
        "gemma2", {"query_pre_attn_scalar": 24, "attn_logit_softcapping": None},
    ),
    "has windows in other layers": (
        "gemma3_text", {"query_pre_attn_scalar": 24, "sliding_window_pattern": 2},
    ),
    "does not know the GGUF files of opt": ("opt", {}),
    "proj.bias: has no name in GGUF files of qwen3": ("qwen3", {"attention_bias": True}),
}  # fmt: skip


@pytest.mark.parametrize("said", WRONG)
def test_what_llama_cpp_would_compute_otherwise_is_refused(said: str, tmp_path: Path) -> None:
    family, settings = WRONG[said]
    save_tiny(family, tmp_path / "hf", **settings)
    with pytest.raises(SchemeError, match=said):
        written(tmp_path / "hf", tmp_path / "m.gguf")


def test_a_window_that_cannot_be_said_bounds_the_context(tmp_path: Path) -> None:
    save_tiny("mistral", tmp_path / "hf", sliding_window=40)
    assert (
        StoredGGUF(written(tmp_path / "hf", tmp_path / "m.gguf")).config["max_position_embeddings"]
        == 40
    )


def test_a_tied_head_is_left_out(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "hf")
    changed(tmp_path / "hf", tie_word_embeddings=True)
    source = StoredGGUF(written(tmp_path / "hf", tmp_path / "m.gguf"))
    assert "lm_head.weight" not in source.tensors
    assert source.config["tie_word_embeddings"]


@pytest.fixture
def opened(tmp_path: Path) -> tuple[GGUFFileWriter, dict[str, torch.Tensor]]:
    """A writer of a tiny model, and everything it waits for."""
    save_tiny("llama", tmp_path / "hf")
    source = open_source(tmp_path / "hf")
    infos = list(source.tensors.values())
    path = tmp_path / "m.gguf"
    return GGUFFileWriter(path, infos, source.config, source), source.read(source.tensors)


def test_a_writer_takes_what_was_announced_once(
    opened: tuple[GGUFFileWriter, dict[str, torch.Tensor]],
) -> None:
    writer, tensors = opened
    first = dict(list(tensors.items())[:1])
    writer.add(first)
    with pytest.raises(OutputError, match="or twice"):
        writer.add(first)
    with pytest.raises(OutputError, match="not announced"):
        writer.add({"other.weight": torch.zeros(2)})
    with pytest.raises(OutputError, match="cannot become another"):
        writer.revise(TensorInfo("other.weight", torch.float32, (2,)))
    with pytest.raises(OutputError, match="was never written"):
        writer.close()


def test_what_changes_on_disk_is_noticed(
    opened: tuple[GGUFFileWriter, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    writer, tensors = opened
    writer.add(tensors)
    with (tmp_path / "m.gguf").open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"\x01\x02\x03")
    with pytest.raises(ReadBackError, match="changed on disk"):
        writer.close()
