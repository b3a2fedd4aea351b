"""Vocabularies made by SentencePiece, written as scores and read again."""

import string
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import gguf
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from tersor.checkpoints.gguf.writing.file import GGUFFileWriter
from tersor.checkpoints.opening import open_source
from tersor.errors import SchemeError
from tiny_models import save_tiny

Merging = Callable[[dict[str, int]], list[tuple[str, str]]]
SPECIAL = ["<unk>", "<s>", "</s>"]
TEXT = (
    "the cat and the hat; then the other cat's hats were there, and that was another thing. "
    "banana aaaa baaab  two  spaces   three, 1234 and 12.5\n\nnew lines\ttabs"
)
MIXED = (
    TEXT,
    "hel 12\n\n3   é ▁ 漢字 🙂 the",
    "aaaaaaa bababab nananan",
    "then  other thatcher ",
    "",
)


def pieces() -> list[str]:
    """Characters, then what byte-pair encoding joins in ``TEXT``, most frequent first."""
    words = [list("▁" + word) for word in TEXT.replace("\n", " ").replace("\t", " ").split(" ")]
    found = sorted(set(string.printable[:95].replace(" ", "▁")))
    for _ in range(60):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        (left, right), _ = min(pairs.items(), key=lambda one: (-one[1], one[0]))
        words = [_joined(word, left, right) for word in words]
        if left + right not in found:
            found.append(left + right)
    return found


def _joined(word: list[str], left: str, right: str) -> list[str]:
    done: list[str] = []
    for piece in word:
        if done and done[-1] == left and piece == right:
            done[-1] = left + right
        else:
            done.append(piece)
    return done


def merges_of(vocab: dict[str, int]) -> list[tuple[str, str]]:
    """As transformers converts them: all pairs whose whole is a word, by the number of that."""
    scores = {piece: -float(n) for piece, n in vocab.items() if n >= len(SPECIAL) + 256}
    merges: list[tuple[str, str]] = generate_merges(vocab, scores, SPECIAL)
    return merges


def tokenizer(kind: str, merging: Merging = merges_of) -> PreTrainedTokenizerFast:
    """Llama's, Gemma's and newer Llama's way with spaces."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {piece: n for n, piece in enumerate([*SPECIAL, *bytes_, *pieces()])}
    merges = merging(vocab)
    made = Tokenizer(
        models.BPE(vocab, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    replace = normalizers.Replace(" ", "▁")
    if kind == "llama":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    elif kind == "gemma":
        made.normalizer = replace
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
    strip = [] if kind == "gemma" else [decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def written(directory: Path, path: Path) -> Path:
    source = open_source(directory)
    with GGUFFileWriter(path, list(source.tensors.values()), source.config, source) as writer:
        for name in source.tensors:
            writer.add(source.read([name]))
    return path


def model(directory: Path, kind: str, merging: Merging = merges_of) -> Path:
    made = tokenizer(kind, merging)
    gemma = {"query_pre_attn_scalar": 24} if kind == "gemma" else {}
    family = "gemma2" if kind == "gemma" else "llama"
    save_tiny(family, directory, vocab_size=len(made) + 5, **gemma)
    made.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("kind", ["llama", "gemma", "metaspace"])
def test_mixed_text_has_the_same_tokens(kind: str, tmp_path: Path) -> None:
    hf = model(tmp_path / "hf", kind)
    path = written(hf, tmp_path / "m.gguf")
    (tmp_path / "again").mkdir()
    open_source(path).copy_companions(tmp_path / "again")
    one, two = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("hf", "again"))
    for text in MIXED:
        ids = one.encode(text, add_special_tokens=False)
        assert two.encode(text, add_special_tokens=False) == ids, text
        assert two.decode(ids) == one.decode(ids)


def without_one(vocab: dict[str, int]) -> list[tuple[str, str]]:
    """As trained by itself: not every pair whose whole is a word is merged."""
    merges = merges_of(vocab)
    several = Counter("".join(one) for one in merges)
    word = next("".join(one) for one in reversed(merges) if several["".join(one)] > 1)
    merges.remove(next(one for one in merges if "".join(one) == word))
    return merges


def one_at_the_end(vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Two ways to make one word have others between them."""
    merges = merges_of(vocab)
    several = Counter("".join(one) for one in merges)
    moved = next(one for one in merges if several["".join(one)] > 1)
    merges.remove(moved)
    return [*merges, moved]


def without_the_first(vocab: dict[str, int]) -> list[tuple[str, str]]:
    """As the oldest conversions of Llama's tokenizer: a score of 0 was taken for none."""
    merges = merges_of(vocab)
    first = "".join(merges[0])
    return [one for one in merges if "".join(one) != first]


@pytest.mark.parametrize(
    ("merging", "said"),
    [
        (without_one, "its tokenizer does not merge '.*' and '.*', though '.*' is"),
        (one_at_the_end, "its tokenizer makes '.*' of some parts sooner than of others"),
    ],
)
def test_merges_that_scores_cannot_say_are_refused(
    merging: Merging, said: str, tmp_path: Path
) -> None:
    with pytest.raises(SchemeError, match=said):
        written(model(tmp_path / "hf", "llama", merging), tmp_path / "m.gguf")


def test_a_first_word_without_merges(tmp_path: Path) -> None:
    """It has the highest score, as in the model that SentencePiece made."""
    hf = model(tmp_path / "hf", "llama", without_the_first)
    scores = gguf.GGUFReader(written(hf, tmp_path / "m.gguf")).fields["tokenizer.ggml.scores"]
    first = next(n for n, piece in enumerate(pieces()) if len(piece) > 1)
    found = scores.contents()[len(SPECIAL) + 256 :][: len(pieces())]
    assert [found[first], *found[first + 1 :]] == sorted(found[first:], reverse=True)
    assert found[first] == 0
