"""Damage that published checkpoints have, in every format: `tersor check` names each piece."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tersor
from tersor.formats import known_formats
from tersor.grids import pack, unpack
from tersor.pipeline.exchange.convert import convert
from tiny_models import save_tokenizer, tiny

FORMATS = ("gptq-v2", "awq", "mlx", "compressed-tensors")
CODES = {
    "gptq-v2": "qweight",
    "awq": "qweight",
    "mlx": "weight",
    "compressed-tensors": "weight_packed",
}
SCALES = {
    "gptq-v2": "scales",
    "awq": "scales",
    "mlx": "scales",
    "compressed-tensors": "weight_scale",
}
LAYER = "model.layers.0.mlp.down_proj"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By format, with zero points; sound."""
    home = tmp_path_factory.mktemp("home")
    tiny("llama").to(torch.bfloat16).save_pretrained(home / "model")
    save_tokenizer(home / "model")
    options = {"group_size": 32, "asymmetric": True}
    tersor.quantize(home / "model", home / "compressed-tensors", "w4", **options)
    for name in FORMATS[:3]:
        convert(home / "compressed-tensors", home / name, known_formats().named(name))
    return home


def damaged(
    path: Path,
    out: Path,
    tensors: Callable[[dict[str, Tensor]], None] = lambda _: None,
    settings: Callable[[dict[str, object]], None] = lambda _: None,
) -> tuple[str, ...]:
    """What is said of a copy with other tensors or another description."""
    out.mkdir()
    found = load_file(path / "model.safetensors")
    tensors(found)
    found = {name: tensor.contiguous() for name, tensor in found.items()}
    save_file(found, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    settings(config)
    (out / "config.json").write_text(json.dumps(config))
    return tersor.check(out).problems


def group_size(config: dict[str, object]) -> None:
    """64 in place of 32, wherever the description says it."""
    text = json.dumps(config)
    assert '"group_size": 32' in text
    config.clear()
    config.update(json.loads(text.replace('"group_size": 32', '"group_size": 64')))


@pytest.mark.parametrize("name", FORMATS)
def test_sound(made: Path, tmp_path: Path, name: str) -> None:
    assert damaged(made / name, tmp_path / "copy") == ()


@pytest.mark.parametrize("name", FORMATS)
def test_a_wrong_group_size(made: Path, tmp_path: Path, name: str) -> None:
    found = damaged(made / name, tmp_path / "broken", settings=group_size)
    assert len(found) == 14
    assert all("needs" in one or "no groups of 64" in one for one in found)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("part", ["codes", "scales"])
@pytest.mark.parametrize(
    "change",
    [lambda t: t.T, lambda t: t[:-1], lambda t: t[:, :-1], lambda t: t.flatten()],
    ids=["transposed", "rows", "columns", "flat"],
)
def test_a_tensor_of_another_shape(
    made: Path, tmp_path: Path, name: str, part: str, change: Callable[[Tensor], Tensor]
) -> None:
    tensor = f"{LAYER}.{(CODES if part == 'codes' else SCALES)[name]}"

    def changed(tensors: dict[str, Tensor]) -> None:
        before = tensors[tensor]
        after = change(before.view(torch.int32) if before.dtype is torch.uint32 else before)
        tensors[tensor] = after.view(before.dtype) if after.dtype is torch.int32 else after

    (found,) = damaged(made / name, tmp_path / "broken", changed)
    assert LAYER in found


@pytest.mark.parametrize("label", ["gptq", "gptq_v2"])
def test_zero_points_of_the_other_version(made: Path, tmp_path: Path, label: str) -> None:
    def mislabelled(config: dict[str, object]) -> None:
        config["quantization_config"] |= {"checkpoint_format": label}

    def less_one(tensors: dict[str, Tensor]) -> None:
        if label == "gptq":
            return  # as they are, under the wrong label
        for name, words in list(tensors.items()):
            if name.endswith("qzeros"):
                zeros = unpack(words, 4, words.shape[1] * 8)
                tensors[name] = pack(zeros.clamp(min=1) - 1, 4)

    found = damaged(made / "gptq-v2", tmp_path / "broken", less_one, mislabelled)
    other = "gptq_v2" if label == "gptq" else "gptq"
    assert any(f"are those of {other}" in one or "has no room for" in one for one in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g.flip(0), "another order than groups (desc_act)"),
        (
            lambda g: g[torch.randperm(len(g), generator=torch.Generator().manual_seed(0))],
            "desc_act",
        ),
        (torch.zeros_like, "no permutation of groups of 32 columns"),
        (lambda g: g + 1, "no permutation of groups"),
        (lambda g: -g, "no permutation of groups"),
        (lambda g: g[:-1], "needs torch.int32"),
        (lambda g: g.long(), "needs torch.int32"),
    ],
)
def test_groups_of_columns(
    made: Path, tmp_path: Path, change: Callable[[Tensor], Tensor], said: str
) -> None:
    def moved(tensors: dict[str, Tensor]) -> None:
        tensors[f"{LAYER}.g_idx"] = change(tensors[f"{LAYER}.g_idx"])

    (found,) = damaged(made / "gptq-v2", tmp_path / "broken", moved)
    assert f"{LAYER}.g_idx" in found
    assert said in found


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_ends_early(made: Path, tmp_path: Path, name: str) -> None:
    damaged(made / name, tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    (found,) = tersor.check(tmp_path / "broken").problems
    assert "model.safetensors" in found
