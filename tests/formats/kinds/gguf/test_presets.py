"""The presets for llama.cpp from a model to a file, and back."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import tersor
from tersor.cli.main import run
from tersor.errors import TersorError
from tersor.recipes import load_recipe
from tersor.recipes.recipe import Calibration
from tersor.runtime.artifact import open_artifact
from tersor.runtime.engine.engine import Engine
from tiny_models import save_text, save_tiny

SHAPE = {
    **{"hidden_size": 96, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 24},
    **{"num_key_value_heads": 2, "num_hidden_layers": 2, "tie_word_embeddings": True},
}
BUDGET = Calibration(tokens=512, window=64)
IDS = [3, 1, 44, 5, 90, 7]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose MLPs have rows of a whole super-block, and text for it."""
    home = tmp_path_factory.mktemp("home")
    save_tiny("llama", home / "model", **SHAPE, vocab_size=300)
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({one: code for code, one in enumerate(bytes_)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(home / "model")
    save_text(home / "text.txt", 4096)
    return home


@pytest.mark.parametrize("mixture", ["q4_0", "q4_k_m", "q3_k_m", "q2_k"])
def test_a_file_is_as_large_as_planned_and_runs(home: Path, tmp_path: Path, mixture: str) -> None:
    recipe = replace(load_recipe(f"gguf-{mixture}"), calibration=BUDGET)
    out = tmp_path / "model.gguf"
    made = tersor.quantize(home / "model", out, recipe, calibration=home / "text.txt")
    tensors = gguf.GGUFReader(out).tensors
    assert made.plan.bytes == sum(int(one.n_bytes) for one in tensors)
    planned = {one.module: one.scheme for one in made.plan.quantized()}
    assert open_artifact(out).schemes == planned
    simulated = tersor.load(out, kernels=False)
    with torch.inference_mode():
        expected = simulated(torch.tensor([IDS])).logits[0]
    found = Engine(out, activation_bits=16, cache="float32").logits(IDS)
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=0, atol=1e-4)
    again = tmp_path / "again.gguf"
    tersor.quantize(home / "model", again, recipe, calibration=home / "text.txt")
    assert [t.data.tobytes() for t in gguf.GGUFReader(again).tensors] == [
        t.data.tobytes() for t in tensors
    ]


def test_a_plan_says_the_types_and_refuses_before_any_work(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["quantize", "-o", str(tmp_path / "m.gguf"), "--recipe", "gguf-q4_k_m", "--dry-run"]
    assert run([*command, str(home / "model")]) == 0
    said = capsys.readouterr().out
    assert "Q8_0: 1 embed_tokens" in said
    assert "1 as  Q6_K: 1 down_proj\n" in said
    plan = tersor.plan(home / "model", "gguf-q4_k_m")
    assert plan.to_dict()["stored_as"]["model.layers.1.self_attn.k_proj"] == "Q5_0"
    odd = tmp_path / "odd"
    shutil.copytree(home / "model", odd)
    tokenizer = json.loads((odd / "tokenizer.json").read_text())
    tokenizer["model"] = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
    (odd / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(TersorError, match="tokenizer"):
        tersor.plan(odd, "gguf-q4_k_m")
