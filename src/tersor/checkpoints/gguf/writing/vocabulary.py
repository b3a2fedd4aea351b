"""A model's tokenizer → ``tokenizer.*`` of GGUF metadata."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import read_json, write_json
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.gguf.header import read_gguf_header
from tersor.checkpoints.gguf.splits import split_name
from tersor.checkpoints.scratch import scratch_directory
from tersor.checkpoints.source import Source
from tersor.errors import SchemeError

# Kinds of tokens, as llama.cpp numbers them.
_NORMAL, _UNKNOWN, _CONTROL, _ADDED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_SPACE = "▁"
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_WAY_OUT = "write another format, or start from a model with a tokenizer that llama.cpp knows"


def vocabulary(source: Source, words: int) -> dict[str, Any]:
    """Metadata of the tokenizer and chat template of ``source``, with as many words as it has rows.

    Those of a GGUF file are taken as they are. Without tokenizer the file says that it has none.

    Raises :class:`SchemeError` for a tokenizer that llama.cpp has no name for, and
    :class:`~tersor.errors.SourceError` for one that cannot be read.
    """
    if source.path.is_file():
        return _as_it_is(source.path)
    with scratch_directory() as directory:
        if not any(
            "token" in name or name == "vocab.json" for name in _companions(source, directory)
        ):
            return {"tokenizer.ggml.model": "none"}
        tokenizer = load_tokenizer(directory, name=str(source.path))
        ends = _ends(directory, source.config)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _refused(source.path, "is not one of the tokenizers package")
    described = json.loads(backend.to_str())
    return {
        **_model(source.path, described, words),
        **_special(tokenizer, source.config, ends),
        **_templates(tokenizer.chat_template),
    }


def _as_it_is(path: Path) -> dict[str, Any]:
    metadata = read_gguf_header(path).metadata
    found = {key: value for key, value in metadata.items() if key.startswith("tokenizer.")}
    return found or {"tokenizer.ggml.model": "none"}


def _companions(source: Source, directory: Path) -> tuple[str, ...]:
    names = source.copy_companions(directory)
    write_json(directory / "config.json", source.config)
    return names


def _model(path: Path, described: Mapping[str, Any], words: int) -> dict[str, Any]:
    """Words, their kinds, and merges or scores."""
    model, split = described["model"], described.get("pre_tokenizer")
    if model["type"] != "BPE" or any(
        model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    ):
        raise _refused(path, f"is of the kind {model['type']}, with settings of its own")
    tokens, kinds = _tokens(path, described, words)
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    found = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    if not model.get("byte_fallback"):
        name = split_name(split, whole=bool(model.get("ignore_merges")))
        if name is None:
            raise _refused(path, f"splits text by a rule of its own ({json.dumps(split):.200})")
        named = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name}
        return {**named, **found, **({"tokenizer.ggml.merges": merges} if merges else {})}
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        **found,
        "tokenizer.ggml.scores": _scores(path, tokens, kinds, merges),
        "tokenizer.ggml.add_space_prefix": _begins_with_space(path, described),
    }


def _tokens(path: Path, described: Mapping[str, Any], words: int) -> tuple[list[str], list[int]]:
    """Every word by its number, and its kind; numbers without a word get names of their own.

    Words with such a name come from a file that was written like this, and are none either.
    """
    model = described["model"]
    given = {number: token for token, number in model["vocab"].items()}
    kinds = dict.fromkeys(given, _NORMAL)
    if model.get("byte_fallback"):
        kinds |= {number: _BYTE for number, token in given.items() if token in _BYTES}
    for added in described.get("added_tokens") or ():
        given[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _ADDED
    unknown = model.get("unk_token")
    kinds |= {number: _UNKNOWN for number, token in given.items() if token == unknown}
    if max(given, default=-1) >= words:
        raise _refused(path, f"has {max(given) + 1} words, more than the embedding's {words} rows")
    padding = [f"[PAD{number}]" for number in range(words)]
    tokens = [given.get(number, name) for number, name in enumerate(padding)]
    unused = {number for number, name in enumerate(padding) if tokens[number] == name}
    return tokens, [_UNUSED if n in unused else kinds[n] for n in range(words)]


def _scores(path: Path, tokens: list[str], kinds: list[int], merges: list[str]) -> list[float]:
    """Scores that make llama.cpp merge in the order of the merges: the earlier, the higher.

    Raises :class:`SchemeError` for merges that scores cannot say: llama.cpp joins any two words
    whose whole is a word, the one with the highest score first.
    """
    ranks: dict[str, int] = {}
    last = ""
    for rank, merge in enumerate(merges, 1):
        word = merge.replace(" ", "")
        if word != last and word in ranks:
            raise _refused(path, f"makes {word!r} of some parts sooner than of others")
        ranks.setdefault(word, rank)
        last = word
    _refuse_missing(path, [t for t, k in zip(tokens, kinds, strict=True) if k == _NORMAL], merges)
    return [-float(ranks.get(token, 0)) for token in tokens]


def _refuse_missing(path: Path, words: list[str], merges: list[str]) -> None:
    known, given = set(words), set(merges)
    # transformers once left out merges of score 0, which is that of the first word learned.
    first = next((word for word in words if len(word) > 1), "")
    for word in words:
        if word == first:
            continue
        for place in range(1, len(word)):
            left, right = word[:place], word[place:]
            if left in known and right in known and f"{left} {right}" not in given:
                raise _refused(path, f"does not merge {left!r} and {right!r}, though {word!r} is")


def _begins_with_space(path: Path, described: Mapping[str, Any]) -> bool:
    """Whether a space is put before text. Raises :class:`SchemeError` where that is not known."""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    prepend = {"type": "Prepend", "prepend": _SPACE}
    match described.get("normalizer"), described.get("pre_tokenizer"):
        case {"type": "Sequence", "normalizers": steps}, None if steps == [prepend, replace]:
            return True
        case normalizer, None | {"type": "Split", "pattern": {"String": " "}} if (
            normalizer == replace
        ):
            return False
        case None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme}:
            return bool(scheme != "never")
    raise _refused(path, "treats spaces in a way of its own")


def _special(tokenizer: Any, config: Mapping[str, Any], ends: list[int]) -> dict[str, Any]:
    def number(name: str) -> int | None:
        found = getattr(tokenizer, f"{name}_token_id")
        found = config.get(f"{name}_token_id") if found is None else found
        return found if isinstance(found, int) else None

    end = number("eos")
    if end is None and ends:
        end = ends[0]
    further = [one for one in ends if one != end]
    found = {
        "bos_token_id": number("bos"),
        "eos_token_id": end,
        "unknown_token_id": number("unk"),
        "padding_token_id": number("pad"),
        **dict(zip(("eot_token_id", "eom_token_id"), further, strict=False)),
    }
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    added = tokenizer("a")["input_ids"]
    more = len(added) > len(plain)
    found["add_bos_token"] = more and added[0] == found["bos_token_id"]
    found["add_eos_token"] = more and added[-1] == found["eos_token_id"]
    return {f"tokenizer.ggml.{key}": one for key, one in found.items() if one is not None}


def _ends(directory: Path, config: Mapping[str, Any]) -> list[int]:
    """Every token that ends an answer."""
    file = directory / "generation_config.json"
    settings = read_json(file) if file.is_file() else {}
    found = settings.get("eos_token_id", config.get("eos_token_id"))
    each = found if isinstance(found, list) else [found]
    return [one for one in each if isinstance(one, int)]


def _templates(templates: Any) -> dict[str, Any]:
    """The template without a name, and others by theirs."""
    if isinstance(templates, str):
        return {"tokenizer.chat_template": templates}
    return dict(_named(templates)) if isinstance(templates, Mapping) else {}


def _named(templates: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    others = sorted(name for name in templates if name != "default")
    if others:
        yield "tokenizer.chat_templates", others
    for name, template in templates.items():
        yield "tokenizer.chat_template" + ("" if name == "default" else f".{name}"), template


def _refused(path: Path, what: str) -> SchemeError:
    return SchemeError(f"{path}: its tokenizer {what}, which GGUF cannot say; {_WAY_OUT}")
