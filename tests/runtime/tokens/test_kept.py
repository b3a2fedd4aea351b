"""Tokenizers without transformers: the tokens and texts of transformers', whatever the class."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.errors import SourceError
from tersor.runtime.packed.store import OFF
from tersor.runtime.tokens.kept import open_tokenizer
from tersor.runtime.tokens.tokenizer import TextTokenizer
from tiny_models import save_tokenizer

TEXTS = [
    "",
    "hello",
    " The cat's hat,  isn't it ?\n\n\tTwo 12345 words…",
    "naïve 你好 🙂🙃 <s>in the text</s> <extra>  <pad>",
    "  leading and trailing  ",
]
SPECIALS = ["<unk>", "<s>", "</s>", "<pad>"]
WORDS = ["hello", "the", "cat", "'s", "▁", "▁hello", "Ġcat", "Two", "12", "isn't", "it", "ing"]


def pieces(first: list[str], letters: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of letters and words, and merges that make the words."""
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*first, *letters]))}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        if not set(word) <= vocabulary.keys():
            continue
        for end in range(2, len(word) + 1):
            vocabulary.setdefault(word[:end], len(vocabulary))
            merges.append((word[: end - 1], word[end - 1]))
    return vocabulary, list(dict.fromkeys(merges))


def like_llama2() -> Tokenizer:
    """Spaces are ▁, what has no piece is bytes, ``<s>`` in front."""
    letters = "▁" + "".join(map(chr, range(33, 127)))
    first = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary, merges = pieces(first, letters)
    made = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            *(decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return made


def like_llama3() -> Tokenizer:
    """Bytes as letters, split by a pattern."""
    letters = "".join(sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary, merges = pieces(SPECIALS, letters)
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    return made


def like_gemma() -> Tokenizer:
    """Spaces are ▁, nothing is put before a text but ``<s>``."""
    made = like_llama2()
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


def save(made: Tokenizer, path: Path, model_type: str, **settings: Any) -> Path:
    made.add_special_tokens(SPECIALS)
    named = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIALS, strict=True))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, additional_special_tokens=["<extra>"], **named
    )
    fast.save_pretrained(path)
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    (path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (path / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    return weights(path)


def weights(path: Path) -> Path:
    """Make a model's directory of it."""
    save_file({"x": np.zeros(1, np.float32)}, path / "model.safetensors")
    return path


def same(found: Any, directory: Path) -> None:
    theirs = load_tokenizer(directory)
    assert found.name_or_path == theirs.name_or_path == str(directory)
    assert found.chat_template == theirs.chat_template
    assert found.special_tokens_map == theirs.special_tokens_map
    for text in TEXTS:
        for special in (False, True):
            tokens = theirs(text, add_special_tokens=special)["input_ids"]
            assert found.encode(text, add_special_tokens=special) == tokens
        assert found.encode(text) == tokens
        for skip in (False, True):
            expected = theirs.decode(tokens, skip_special_tokens=skip)
            assert found.decode(tokens, skip_special_tokens=skip) == expected
            parts = [found.decode([token], skip_special_tokens=skip) for token in tokens]
            assert parts == [theirs.decode([token], skip_special_tokens=skip) for token in tokens]


CASES = [
    pytest.param(like_llama2, "llama", {"tokenizer_class": "LlamaTokenizer"}, id="llama 2"),
    pytest.param(
        like_llama2,
        "llama",
        {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False, "add_eos_token": True},
        id="llama 2 with other ends",
    ),
    pytest.param(like_llama3, "llama", {}, id="llama 3"),
    pytest.param(like_llama3, "llama", {"tokenizer_class": "LlamaTokenizer"}, id="misnamed"),
    pytest.param(like_llama3, "qwen2", {"tokenizer_class": "Qwen2Tokenizer"}, id="qwen"),
    pytest.param(like_gemma, "gemma2", {"tokenizer_class": "GemmaTokenizer"}, id="gemma"),
    pytest.param(like_llama2, "mistral", {"add_bos_token": True}, id="mistral"),
    pytest.param(like_llama3, "qwen3", {"clean_up_tokenization_spaces": True}, id="not cleaned"),
    pytest.param(like_llama3, "llama", {"split_special_tokens": True}, id="split"),
    pytest.param(like_llama3, "gpt2", {"tokenizer_class": "GPT2Tokenizer"}, id="gpt2"),
]


@pytest.mark.parametrize(("make", "model_type", "settings"), CASES)
def test_it_does_what_transformers_does(
    make: Any, model_type: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    directory = save(make(), tmp_path, model_type, **settings)
    made, kept = open_tokenizer(directory), open_tokenizer(directory)
    for found in (made, kept):
        assert isinstance(found, TextTokenizer)
        same(found, directory)


@pytest.mark.model
def test_a_real_one(smollm2: Path) -> None:
    open_tokenizer(smollm2)
    same(open_tokenizer(smollm2), smollm2)


def test_transformers_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    weights(tmp_path)
    asked: list[Path] = []

    def load(directory: Path) -> Any:
        asked.append(directory)
        return load_tokenizer(directory)

    monkeypatch.setattr("tersor.runtime.companions.load_tokenizer", load)
    for _ in range(3):
        assert open_tokenizer(tmp_path).encode("ab") == [97, 98]
    assert len(asked) == 1
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert open_tokenizer(tmp_path).chat_template == "{{ messages[0].content }}"
    monkeypatch.setenv("TERSOR_CACHE", OFF)
    open_tokenizer(tmp_path)
    assert len(asked) == 3


def test_what_pythons_own_part_does_is_left_to_transformers(tmp_path: Path) -> None:
    """Spaces before punctuation are taken away of what pieces of words make."""
    words = [*SPECIALS, "[UNK]", "it", "is", ".", "!"]
    made = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    directory = save(made, tmp_path, "llama", clean_up_tokenization_spaces=True)
    found = open_tokenizer(directory)
    assert not isinstance(found, TextTokenizer)
    assert found.decode(found.encode("it is.")) == "it is."


def test_a_damaged_file_is_made_again(tmp_path: Path, own_cache: None) -> None:
    directory = save(like_llama3(), tmp_path / "model", "llama")
    open_tokenizer(directory)
    (file,) = Path(os.environ["TERSOR_CACHE"]).glob("*.packed")
    whole = file.read_bytes()
    for damaged in (whole[:-64], whole.replace(b'"type":"BPE"', b'"type":"CPE"'), b""):
        assert damaged != whole
        file.write_bytes(damaged)
        assert isinstance(open_tokenizer(directory), TextTokenizer)
        assert file.read_bytes() == whole


def test_what_cannot_be_loaded_is_said_each_time(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        open_tokenizer(tmp_path / "nowhere")
    directory = save(like_llama3(), tmp_path, "llama")
    open_tokenizer(directory)
    (directory / "tokenizer.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(SourceError, match="no tokenizer that transformers can load"):
            open_tokenizer(directory)
