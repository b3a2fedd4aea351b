import pytest
from transformers import AutoTokenizer

from gguf_files import bpe_metadata, sentencepiece_metadata, write_gguf
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.restore import restore
from tersor.errors import SourceError
from tiny_models import save_tiny

VOCABULARIES = {
    "llama": sentencepiece_metadata(),
    "gemma2": sentencepiece_metadata(),
    "phi3": sentencepiece_metadata(),
    "qwen2": bpe_metadata("qwen2"),
    "qwen3": bpe_metadata("qwen2"),
    "gpt2": bpe_metadata("gpt-2"),
}


@pytest.mark.parametrize("family", VOCABULARIES)
def test_text_is_encoded_as_by_transformers_own_reader(family, tmp_path):
    save_tiny(family, tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=VOCABULARIES[family])
    restored = AutoTokenizer.from_pretrained(restore(path, tmp_path / "out"))
    expected = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in ("hello hello", "  hel 12\n\n3 <eos>x", "é"):
        ids = restored(text).input_ids
        assert ids == expected(text).input_ids
        assert restored.decode(ids) == expected.decode(ids)
    # Gemma's own class adds a mask token of which the file says nothing.
    assert restored.special_tokens_map.items() <= expected.special_tokens_map.items()
    assert restored.eos_token is not None


def test_tokenizer_and_generation_config_are_rebuilt(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    metadata = {**bpe_metadata("smollm"), "tokenizer.ggml.eot_token_id": 1}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=metadata)
    # A neighbour that must not be mistaken for the tokenizer of the GGUF file.
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Nonsense"}')
    out = tmp_path / "out"
    out.mkdir()
    names = open_source(path).copy_companions(out)
    assert names == (
        "chat_template.jinja",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    )
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.eos_token == "<eos>"
    assert tokenizer.model_max_length == 128
    assert tokenizer.chat_template == "{{ messages[0]['content'] }}"
    assert '"eos_token_id": [\n    0,\n    1\n  ]' in (out / "generation_config.json").read_text()


def test_companions_are_the_same_bytes_every_time(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=bpe_metadata("gpt-2"))
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files = open_source(path).copy_companions(tmp_path / name)
        contents.append({file: (tmp_path / name / file).read_bytes() for file in files})
    assert contents[0] == contents[1]


def test_digits_are_split_as_the_model_was_trained(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    pieces = {}
    for pre in ("gpt-2", "smollm"):
        metadata = bpe_metadata(pre)
        path = write_gguf(tmp_path / "hf", tmp_path / f"{pre}.gguf", metadata=metadata)
        (tmp_path / pre).mkdir()
        open_source(path).copy_companions(tmp_path / pre)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / pre)
        pieces[pre] = tokenizer.tokenize("hel\n\n12")
    assert pieces["gpt-2"] == ["hel", "Ċ", "Ċ", "1", "2"]
    assert pieces["smollm"] == ["hel", "ĊĊ", "1", "2"]


def test_unknown_split_rule_is_refused(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=bpe_metadata("novel"))
    with pytest.raises(SourceError, match="splits text by the rule 'novel'"):
        open_source(path).copy_companions(tmp_path)


def test_unknown_tokenizer_is_refused(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    metadata = {**bpe_metadata("default"), "tokenizer.ggml.model": "rwkv"}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata=metadata)
    with pytest.raises(SourceError, match="its tokenizer cannot be rebuilt"):
        open_source(path).copy_companions(tmp_path)


def test_a_file_without_vocabulary_gives_no_tokenizer(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf")
    (tmp_path / "out").mkdir()
    assert open_source(path).copy_companions(tmp_path / "out") == ("generation_config.json",)
