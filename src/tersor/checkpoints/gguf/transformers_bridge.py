"""Every line about GGUF that depends on the version of transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tersor.checkpoints.files import read_json, write_json
from tersor.checkpoints.gateway.configuration import configuration_from
from tersor.checkpoints.gateway.tokenizer import gguf_tokenizer
from tersor.checkpoints.gguf.splits import DIGITS_FIRST, LIKE_GPT2
from tersor.errors import SourceError


def full_config(
    path: Path, model_type: str, architecture: str, fields: Mapping[str, Any], dtype: torch.dtype
) -> dict[str, Any]:
    """``config.json`` for a model: ``fields`` completed by the config class's defaults.

    The fields stay in it under their own names, beside transformers 5's ``rope_parameters``, so
    that older readers do not fall back to their defaults.

    Raises:
        SourceError: values (from ``path``) that the config class refuses.
    """
    config = configuration_from(path, model_type, fields)
    config.architectures = [architecture]
    config.dtype = dtype
    name = str(dtype).removeprefix("torch.")
    return {**config.to_diff_dict(), **fields, "dtype": name, "torch_dtype": name}


def save_tokenizer(
    path: Path, directory: Path, *, byte_level: bool, split: str, length: int
) -> list[str]:
    """Rebuild the tokenizer of the GGUF file ``path`` in ``directory``.

    Args:
        path: the file.
        directory: where ``tokenizer.json`` and its companions go.
        byte_level: whether it is byte-level BPE (``tokenizer.ggml.model`` is ``gpt2``).
        split: how text is split before merging (``tokenizer.ggml.pre``); byte-level BPE only.
        length: the model's context, for ``model_max_length``.

    Returns:
        The names of the files made, relative to ``directory``.

    Raises:
        SourceError: a tokenizer that transformers cannot rebuild, or would rebuild wrongly.
    """
    if byte_level:
        _refuse_unknown_split(path, split)
    tokenizer = gguf_tokenizer(path)
    if byte_level and split in DIGITS_FIRST:
        _split_digits(tokenizer)
    tokenizer.model_max_length = length
    for key in ("is_local", "local_files_only", "name_or_path"):
        tokenizer.init_kwargs.pop(key, None)
    files = tokenizer.save_pretrained(directory)
    # The class's name in transformers 5 only; both 4 and 5 know the older one.
    settings = read_json(directory / "tokenizer_config.json")
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(directory / "tokenizer_config.json", settings)
    return [Path(file).relative_to(directory).as_posix() for file in files]


def _split_digits(tokenizer: Any) -> None:
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _refuse_unknown_split(path: Path, name: str) -> None:
    """A wrong split rule would cost accuracy without any error."""
    if name in LIKE_GPT2 | DIGITS_FIRST | _known_splits():
        return
    raise SourceError(
        f"{path}: its tokenizer splits text by the rule {name!r}, which is not supported; "
        "start from the Hugging Face directory"
    )


def _known_splits() -> frozenset[str]:
    try:
        from transformers.integrations.gguf import gguf_tokenizer_mapping as mapping
    except ImportError:
        return frozenset()
    return frozenset(mapping.GGUF_PRE_TOKENIZER_SPLITS)
