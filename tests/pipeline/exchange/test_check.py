"""`tersor check`: one line for each thing that is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tersor
from gguf_files import write_gguf
from tersor.cli.main import run
from tersor.formats import known_formats
from tersor.pipeline.exchange.convert import convert
from tiny_models import save_tiny, save_tokenizer, tiny

Q8 = gguf.GGMLQuantizationType.Q8_0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    tiny("llama").to(torch.bfloat16).save_pretrained(home / "model")
    save_tokenizer(home / "model")
    tersor.quantize(home / "model", home / "w4", "w4", group_size=32)
    for name in ("gptq", "awq"):
        convert(home / "w4", home / name, known_formats().named(name))
    return home


def damaged(
    path: Path, out: Path, change: Callable[[dict[str, Tensor]], None], **settings: object
) -> Path:
    """A copy with other tensors, and other settings of its description."""
    out.mkdir()
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] |= settings
    (out / "config.json").write_text(json.dumps(config))
    return out


@pytest.mark.parametrize("name", ["model", "w4", "gptq", "awq"])
def test_sound_ones(made: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = tersor.check(made / name)
    assert (found.sound, found.problems) == (True, ())
    assert run(["check", str(made / name)]) == 0
    assert capsys.readouterr().out.startswith("sound: ")


def test_every_damage_has_a_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = "model.layers.0.mlp.down_proj"

    def change(tensors: dict[str, Tensor]) -> None:
        tensors[f"{layer}.qweight"] = tensors[f"{layer}.qweight"].T.contiguous()
        tensors["model.layers.1.mlp.down_proj.scales"][0, 0] = torch.inf
        other = "model.layers.1.self_attn.q_proj.g_idx"
        tensors[other] = torch.zeros_like(tensors[other])
        tensors["model.norm.weight"][3] = torch.nan
        del tensors["model.layers.1.self_attn.k_proj.qzeros"]

    broken = damaged(made / "gptq", tmp_path / "broken", change)
    found = tersor.check(broken).problems
    assert len(found) == 5
    for words in (
        f"{layer}.qzeros is",
        "model.layers.1.mlp.down_proj.scales holds NaN or infinity",
        "q_proj.g_idx is no permutation of groups",
        "k_proj.qzeros is missing",
        "tensor model.norm.weight holds NaN",
    ):
        assert any(words in one for one in found), words
    assert run(["check", str(broken)]) == 1
    assert capsys.readouterr().out.splitlines() == list(found)
    assert run(["check", str(broken), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == list(found)


def test_a_wrong_group_size(made: Path, tmp_path: Path) -> None:
    broken = damaged(made / "awq", tmp_path / "broken", lambda tensors: None, group_size=64)
    found = tersor.check(broken).problems
    assert len(found) == 14
    assert all("needs" in one for one in found)


def test_gguf_files(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "hf")
    sound = write_gguf(tmp_path / "hf", tmp_path / "sound.gguf", kind=Q8)
    assert tersor.check(sound).sound
    data = bytearray(sound.read_bytes())
    reader = gguf.GGUFReader(sound)
    for tensor, bits in ((reader.tensors[3], 0x7C00), (reader.tensors[5], 0xFE00)):
        data[tensor.data_offset : tensor.data_offset + 2] = np.uint16(bits).tobytes()
    (tmp_path / "broken.gguf").write_bytes(data)
    found = tersor.check(tmp_path / "broken.gguf").problems
    assert len(found) == 2
    assert all("(Q8_0) holds NaN or infinity" in one for one in found)
    (tmp_path / "short.gguf").write_bytes(bytes(data[:-999]))
    (only,) = tersor.check(tmp_path / "short.gguf").problems
    assert "the file is truncated" in only
