"""``open_source``: every kind of model, by what lies at its path."""

from pathlib import Path

from tersor.checkpoints.finite import FiniteSource
from tersor.checkpoints.gguf.source import GGUFSource
from tersor.checkpoints.huggingface.directory import open_merged, open_published
from tersor.checkpoints.mistaken import refuse_mistaken
from tersor.checkpoints.source import Source
from tersor.errors import OptionError


def open_source(
    path: Path | str, *, allow_pickle: bool = False, merge_adapter: bool = False
) -> Source:
    """Open a Hugging Face directory or a GGUF file.

    A directory that is published in FP8 or MXFP4 is read as the bfloat16 model it stands for
    (``published``).

    Args:
        path: a directory with ``config.json`` and safetensors (one file, or shards with an index),
            or a single ``.gguf`` file. GGUF tensors are read as bfloat16.
        allow_pickle: also accept ``pytorch_model*.bin``, loaded with ``weights_only=True``.
        merge_adapter: merge the adapter in the directory (``adapters``); without, it is refused.

    Reading a tensor that holds NaN or infinity raises ``NonFiniteWeight`` (``finite``).

    Raises:
        UnsafeSource: pickled weights without ``allow_pickle``, or files outside the directory.
        SourceError: missing, corrupt, unsupported, or no model (``mistaken``).
    """
    path = Path(path)
    refuse_mistaken(path)
    if path.is_file() and merge_adapter:
        raise OptionError("merge_adapter", f"has no effect on a file: {path}")
    if path.is_dir() or merge_adapter:
        opened = open_merged if merge_adapter else open_published
        return FiniteSource(opened(path, allow_pickle=allow_pickle))
    return FiniteSource(GGUFSource(path))
