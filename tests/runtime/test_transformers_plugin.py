"""transformers reads tersor's own format with one import, and nothing of it without."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

import tersor
from tersor.cli.main import run
from tersor.formats.kinds.own import description as own
from tiny_models import save_tiny

WITHOUT_IMPORT = """
import json, sys
import transformers
said = {}
for directory in sys.argv[1:]:
    for name in ("AutoModelForCausalLM", "AutoModel", "LlamaForCausalLM"):
        try:
            getattr(transformers, name).from_pretrained(directory)
            said[f"{directory} {name}"] = "loaded"
        except (ValueError, OSError) as error:
            said[f"{directory} {name}"] = f"{error}"
assert "tersor" not in sys.modules
print(json.dumps(said))
"""


def quantized(directory: Path, recipe: str) -> Path:
    save_tiny("llama", directory / "model")
    tersor.quantize(directory / "model", directory / "out", recipe)
    return directory / "out"


def in_shards(artifact: Path) -> Path:
    """The same with its tensors in two files."""
    out = Path(shutil.copytree(artifact, artifact.with_name("shards")))
    tensors = load_file(out / "model.safetensors")
    (out / "model.safetensors").unlink()
    files = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        held = {name: tensor for name, tensor in tensors.items() if files[name] == file}
        save_file(held, out / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": files}
    (out / "model.safetensors.index.json").write_text(json.dumps(index))
    return out


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {name: quantized(tmp_path_factory.mktemp(name), name) for name in ("nf4", "log2")}
    found["shards"] = in_shards(found["nf4"])
    return found


def test_without_the_import_nothing_is_loaded(artifacts: dict[str, Path]) -> None:
    own_format = [str(artifacts[name]) for name in ("nf4", "log2", "shards")]
    plain = artifacts["nf4"].parent / "model"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_IMPORT, *own_format, str(plain)],
        check=True,
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout)
    assert len(said) == 12
    for key, error in said.items():
        if key.startswith(f"{plain} "):
            assert error == "loaded"
        else:
            assert error.endswith("`import tersor.hf` before from_pretrained"), key


@pytest.mark.parametrize("name", ["nf4", "log2", "shards"])
def test_with_the_import_all_is_as_it_was_meant(name: str, artifacts: dict[str, Path]) -> None:
    import tersor.hf

    assert tersor.hf
    expected = tersor.load(artifacts[name], kernels=False).state_dict()
    given = AutoConfig.from_pretrained(artifacts[name])
    for model in (
        AutoModelForCausalLM.from_pretrained(artifacts[name], dtype=torch.float32),
        LlamaForCausalLM.from_pretrained(artifacts[name], config=given, dtype=torch.float32),
    ):
        found = model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)
    tersor.Engine(artifacts[name]).logits([1, 2, 3])


def test_what_is_saved_again_is_an_ordinary_model(
    artifacts: dict[str, Path], tmp_path: Path
) -> None:
    import tersor.hf

    assert tersor.hf
    model = AutoModelForCausalLM.from_pretrained(artifacts["nf4"])
    model.save_pretrained(tmp_path / "dense")
    config = json.loads((tmp_path / "dense" / "config.json").read_text())
    assert not {own.WEIGHTS_KEY, "quantization_config"} & config.keys()


def test_artifacts_of_before_are_read_as_before(artifacts: dict[str, Path], tmp_path: Path) -> None:
    import tersor.hf

    assert tersor.hf
    old = Path(shutil.copytree(artifacts["nf4"], tmp_path / "old"))
    config = json.loads((old / "config.json").read_text())
    del config[own.WEIGHTS_KEY]
    (old / "config.json").write_text(json.dumps(config))
    now, before = (
        AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (artifacts["nf4"], old)
    )
    assert all(torch.equal(now[key], before[key]) for key in now)
    assert tersor.load(old)


def test_only_the_own_format_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model")
    flags = {"group_size": 16}
    tersor.quantize(tmp_path / "model", tmp_path / "out", "w4", **flags)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert own.WEIGHTS_KEY not in config


def test_every_part_that_can_be_loaded_refuses() -> None:
    config = {
        "model_type": "llava",
        "text_config": {"hidden_size": 64},
        "vision_config": {"model_type": "clip_vision_model"},
        "rope_scaling": {"type": "linear"},
    }
    found = own.refused_by_others(config)
    assert own.WEIGHTS_KEY in found
    assert own.WEIGHTS_KEY in found["text_config"]
    assert own.WEIGHTS_KEY in found["vision_config"]
    assert found["rope_scaling"] == config["rope_scaling"]
    assert own.WEIGHTS_KEY not in config


def test_quantize_and_the_card_name_the_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny("llama", tmp_path / "model")
    capsys.readouterr()
    out = tmp_path / "out"
    assert run(["quantize", str(tmp_path / "model"), "-o", str(out), "--recipe", "nf4"]) == 0
    for text in (capsys.readouterr().out, (out / "README.md").read_text()):
        assert "import tersor.hf" in text
