import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from calibrating import quantize, save_model, small
from gguf_files import write_gguf
from tersor.checkpoints.finite import FiniteSource, is_finite, is_mask
from tersor.checkpoints.opening import open_source
from tersor.errors import NonFiniteWeight
from tiny_models import save_tiny

COPIED = ("model.norm.weight", "model.embed_tokens.weight", "lm_head.weight")
NORM = "model.layers.1.input_layernorm.weight"


def spoil(directory, name, value=float("nan"), file="model.safetensors"):
    """Put ``value`` into the first element of a tensor."""
    tensors = load_file(directory / file)
    tensors[name].view(-1)[0] = value
    save_file(tensors, directory / file, metadata={"format": "pt"})


@pytest.mark.parametrize("name", [*COPIED, NORM])
def test_what_is_copied_is_refused_by_name(name, tmp_path):
    save_tiny("llama", tmp_path / "model")
    spoil(tmp_path / "model", name, float("inf"))
    with pytest.raises(NonFiniteWeight, match=rf"model: tensor '{name}' holds NaN or infinity; "):
        tersor.quantize(tmp_path / "model", tmp_path / "out", "w4")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("recipe", ["gptq", "rotate-gptq", "awq"])
def test_what_is_calibrated_on_is_refused_by_its_own_name(recipe, tmp_path):
    save_model("llama", tmp_path / "model")
    spoil(tmp_path / "model", NORM)
    with pytest.raises(NonFiniteWeight, match=f"tensor '{NORM}' holds NaN"):
        quantize(tmp_path / "model", tmp_path / "out", small(recipe))


def test_a_bias_is_looked_at_too(tmp_path):
    save_tiny("qwen2", tmp_path / "model")
    name = "model.layers.0.self_attn.q_proj.bias"
    spoil(tmp_path / "model", name, float("-inf"))
    with pytest.raises(NonFiniteWeight, match=f"'{name}' holds"):
        tersor.quantize(tmp_path / "model", tmp_path / "out", "w4")


def test_restoring_a_gguf_file_refuses_it(tmp_path):
    save_tiny("llama", tmp_path / "model")
    spoil(tmp_path / "model", NORM)
    file = write_gguf(tmp_path / "model", tmp_path / "m.gguf")
    with pytest.raises(NonFiniteWeight, match=rf"m\.gguf: tensor '{NORM}' holds NaN"):
        tersor.restore(file, tmp_path / "out")


def test_merging_an_adapter_refuses_what_it_does_not_change(tmp_path):
    save_tiny("llama", tmp_path)
    spoil(tmp_path, NORM)
    q = "base_model.model.model.layers.0.self_attn.q_proj"
    adapter = {f"{q}.lora_A.weight": torch.ones(2, 64), f"{q}.lora_B.weight": torch.ones(64, 2)}
    save_file(adapter, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    source = open_source(tmp_path, merge_adapter=True)
    source.read(["model.layers.0.self_attn.q_proj.weight"])
    with pytest.raises(NonFiniteWeight, match=NORM):
        source.read([NORM])


class _Given:
    """A source of given tensors that counts what is read."""

    path = Path("given")
    config = {}  # noqa: RUF012

    def __init__(self, **tensors):
        self.tensors, self.count = tensors, 0

    def read(self, names):
        self.count += 1
        return {name: self.tensors[name] for name in names}


def test_a_mask_of_attention_passes_and_is_the_same():
    mask = torch.full((4, 4), float("-inf")).triu(1)
    source = FiniteSource(_Given(mask=mask))
    assert torch.equal(source.read(["mask"])["mask"], mask)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("name", "values", "mask"),
    [
        ("h.0.attn.bias", [0.0, -INF], True),
        ("h.0.attn.masked_bias", [-INF], True),
        ("mask", [1.0, 1.0, -INF], True),
        ("mask", [0.0, 1.0, -INF], False),
        ("mask", [0.0, INF], False),
        ("mask", [NAN, -INF], False),
        ("h.0.ln.weight", [0.0, -INF], False),
        ("h.0.ln.bias", [0.0, -INF], False),
    ],
)
def test_masks(name, values, mask):
    assert is_mask(name, torch.tensor(values), {name, "h.0.ln.weight"}) is mask


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.complex64],
)
def test_every_type_of_numbers(dtype):
    sound = torch.tensor([1.0, -2.0, 0.0]).to(dtype)
    assert is_finite(sound)
    assert not is_finite(torch.tensor([1.0, NAN, 0.0]).to(dtype))
    assert is_finite(torch.empty(0, dtype=dtype))
    assert is_finite(torch.tensor([3, 7]))
