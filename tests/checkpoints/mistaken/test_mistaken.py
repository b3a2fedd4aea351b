"""What strangers give in the place of a model: one line says what it is, and what to do."""

import json
import tarfile
import zipfile

import pytest
import torch

from tersor.checkpoints.huggingface.directory import open_directory
from tersor.checkpoints.mistaken import refuse_mistaken
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.restore import restore
from tersor.errors import SourceError, UnsafeSource
from tiny_models import save_tiny


def said(path):
    """What is said of a path, without the path; must be one line."""
    with pytest.raises(SourceError) as error:
        refuse_mistaken(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def directory(tmp_path, *names):
    """A directory with these files, of a few bytes each."""
    made = tmp_path / "given"
    made.mkdir()
    for name in names:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(b"{}")
    return made


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "an empty directory; give a model directory"),
        (["notes.txt"], "not a model directory, it holds no config.json"),
        (["config.json"], "holds no weights (model.safetensors or"),
        (["adapter_config.json", "adapter_model.safetensors"], "an adapter (LoRA) without the"),
        (["config.json", "adapter_config.json"], "give that with --merge-adapter"),
        (["model_index.json", "unet/config.json"], "a diffusion pipeline"),
        (["config.json", "model.onnx"], "an ONNX export (model.onnx); give the directory of the"),
        (["config.json", "onnx/model.onnx"], "an ONNX export (model.onnx)"),
        (["config.json", "tf_model.h5"], "a model for TensorFlow (tf_model.h5) and no weights"),
        (["config.json", "openvino_model.xml"], "a model for OpenVINO"),
        (["params.json", "consolidated.00.pth"], "in its maker's own format (params.json)"),
        (["tokenizer.json", "tokenizer_config.json"], "a tokenizer without a model"),
        (["config.json", "tokenizer.json"], "holds no weights"),
        (["model.safetensors"], "holds weights (model.safetensors) and no config.json; download"),
        (["pytorch_model.bin"], "holds weights (pytorch_model.bin) and no config.json"),
        (
            ["config.json", "model-00001-of-00002.safetensors"],
            "holds shards of weights and no model.safetensors.index.json; download that file",
        ),
        (
            ["config.json", "pytorch_model-00001-of-00002.bin"],
            "and no pytorch_model.bin.index.json",
        ),
        (["config.json", "weights.fp16.safetensors"], "but weights.fp16.safetensors; rename it"),
        (["config.json", "model.safetensors.incomplete"], "not finished (model.safetensors.incom"),
        (["config.json", ".cache/huggingface/download/x.incomplete"], "not finished (x.incomplete"),
        (["a/config.json", "b/config.json"], "give one of them: a, b"),
        (["a/config.json", "onnx/model.onnx"], "give one of them: a"),
        ([f"{n}/config.json" for n in "abcdef"], "give one of them: a, b, c, d and 2 more"),
    ],
)
def test_directories(names, words, tmp_path):
    assert words in said(directory(tmp_path, *names))


def test_a_directory_with_gguf_files_alone(tmp_path):
    given = directory(tmp_path, "m-Q4.gguf", "config.json")
    assert said(given).endswith("; give the file m-Q4.gguf itself")
    (given / "a.gguf").touch()
    assert said(given).endswith("give one of its files itself: a.gguf, m-Q4.gguf")


def test_a_download_cache_names_the_model_in_it(tmp_path):
    cache = directory(tmp_path, "models--org--m/snapshots/0123/config.json")
    entry = cache / "models--org--m"
    model = entry / "snapshots" / "0123"
    assert said(entry).endswith(f"give the model in it, {model}")
    assert said(cache).endswith(f"give a model in it, {model} say")
    assert said(entry / "snapshots").endswith("give one of them: 0123")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", b"x", "weights alone, without config.json; give the directory that"),
        ("weights", b"\x10\0\0\0\0\0\0\0{}" + b" " * 30, "safetensors, weights alone"),
        ("pytorch_model.bin", b"x", "pickled weights alone; give the directory"),
        ("weights", b"\x80\x02}q\x00.", "pickled weights alone"),
        ("config.json", b"{}", "a single file of a model; give its directory, "),
        ("model.onnx", b"x", "an ONNX graph, which tersor does not read"),
        ("recipe.yaml", b"name: x", "a recipe goes to --recipe"),
        ("m.gguf.incomplete", b"GGUF", "a download that is not finished"),
        ("m.gguf", b"version https://git-lfs.github.com/spec/v1", "run: git lfs pull"),
        ("model", b"", "an empty file; download it again"),
        ("m.zst", b"\x28\xb5\x2f\xfdxx", "an archive; unpack it"),
        ("m.bin.old", b"tjgg....", "the format before GGUF"),
        ("notes.txt", b"x", "neither a GGUF file nor a directory"),
    ],
)
def test_files(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert words in said(tmp_path / name)


def test_a_file_beside_its_config_names_the_directory(tmp_path):
    save_tiny("llama", tmp_path)
    assert said(tmp_path / "model.safetensors").endswith(f"give its directory, {tmp_path}")


def test_archives(tmp_path):
    (tmp_path / "a").write_text("x")
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as made:
        made.write(tmp_path / "a")
    with tarfile.open(tmp_path / "m.tar", "w") as made:
        made.add(tmp_path / "a")
    torch.save({}, tmp_path / "state")
    assert said(tmp_path / "m.zip").startswith("an archive")
    assert said(tmp_path / "m.tar").startswith("an archive")
    assert said(tmp_path / "state").startswith("pickled weights")


def test_a_gguf_file_is_right(tmp_path):
    for name, content in (("m.gguf", b"x"), ("m", b"GGUF")):
        (tmp_path / name).write_bytes(content)
        refuse_mistaken(tmp_path / name)


def test_nothing_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "link").symlink_to("gone")
    relative = type(tmp_path)
    assert said(tmp_path / "smolm2").endswith(f"did you mean {tmp_path / 'smollm2'}?")
    assert "hf download meta-llama/Llama-3 --local-dir DIR" in said(relative("meta-llama/Llama-3"))
    assert "a model on a hub must" in said(relative("smollm2/README.md"))
    assert said(relative("https://hub.co/org/m")).startswith("an address, not a path")
    assert "~ is not expanded" in said(relative("~/models/x"))
    assert said(tmp_path / "link").startswith("a link to gone, which does not exist")
    assert said(tmp_path / "org" / "model").endswith("a model on a hub must be downloaded first")
    assert said(relative("/dev/null")).startswith("not a regular file")


def test_a_name_on_a_hub_that_was_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--org--m" / "snapshots" / "0123"
    model.mkdir(parents=True)
    (model / "config.json").touch()
    assert said(type(tmp_path)("org/m")).endswith(f"the download of that name lies in {model}")


@pytest.mark.parametrize("entrance", [open_source, open_directory, lambda p: restore(p, "/nope/o")])
def test_every_entrance(entrance, tmp_path):
    given = directory(tmp_path, "adapter_config.json", "adapter_model.safetensors")
    with pytest.raises(SourceError, match="an adapter"):
        entrance(given)


def test_a_model_is_one_whatever_lies_beside_it(tmp_path):
    save_tiny("llama", tmp_path)
    for name in ("m.gguf", "model.onnx", "x.incomplete", "tf_model.h5"):
        (tmp_path / name).touch()
    refuse_mistaken(tmp_path)


def test_an_adapter_alone_cannot_be_merged(tmp_path):
    given = directory(tmp_path, "adapter_config.json", "config.json")
    with pytest.raises(SourceError, match=r"put adapter_config\.json and its weights into a copy"):
        open_source(given, merge_adapter=True)


def test_pickled_weights_are_no_mistake(tmp_path):
    given = directory(tmp_path, "pytorch_model.bin", "config.json")
    (given / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UnsafeSource, match="--allow-pickle"):
        open_directory(given)
