"""GGUF, FP8, MXFP4, adapters → a plain model directory that every engine and tool reads."""

from collections.abc import Callable
from pathlib import Path

import torch

from tersor.checkpoints.derived import DerivedSource
from tersor.checkpoints.files import write_json
from tersor.checkpoints.finite import FiniteSource
from tersor.checkpoints.gguf.source import GGUFSource
from tersor.checkpoints.hub.fetching import model_path
from tersor.checkpoints.huggingface.directory import open_merged, open_published
from tersor.checkpoints.huggingface.older_names import with_older_names
from tersor.checkpoints.mistaken import refuse_mistaken
from tersor.checkpoints.output.directory import OutputDirectory
from tersor.checkpoints.output.writer import ShardWriter
from tersor.checkpoints.source import Source
from tersor.errors import OptionError, SourceError
from tersor.options import one_path, yes_or_no

# Tokenizer, config and headers: a vocabulary of 260,000 words takes 35 MB.
_BESIDE_WEIGHTS = 50_000_000


def restore(
    gguf: Path | str,
    out: Path | str,
    *,
    dtype: torch.dtype = torch.bfloat16,
    merge_adapter: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    check: Callable[[Source], None] | None = None,
) -> Path:
    """Write the model of a GGUF file as a Hugging Face directory.

    Or that of a directory which is published in FP8 or MXFP4, or has an adapter.

    Weights are dequantized tensor by tensor into safetensors shards; config, generation config,
    tokenizer and chat template are rebuilt from the metadata. Tied embeddings stay tied: there is
    no ``lm_head.weight`` then.

    Args:
        gguf: the file, or the directory.
        out: the directory to make.
        dtype: of the weights of a GGUF file; dequantization itself is float32.
        merge_adapter: merge the adapter in the directory.
        force: replace ``out`` if it is a model directory.
        progress: called with bytes done and bytes in all, after each tensor.
        check: looks at the source before any work; what it raises is raised.

    Returns:
        ``out``.

    Raises:
        SourceError: a file that cannot be read or expressed, or holds NaN or infinity.
        OptionError: an option that is wrong, or has no effect.
        OutputError: ``out`` exists, does not fit on the disk, or cannot be written.
        ReadBackError: what is on disk is not what was meant.
    """
    gguf, out = model_path("gguf", gguf), one_path("out", out)
    merge = yes_or_no("merge_adapter", merge_adapter)
    yes_or_no("force", force)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise OptionError("dtype", f"must be torch.float32 or another float type, not {dtype!r}")
    if gguf.is_dir() and dtype != torch.bfloat16:
        raise OptionError("dtype", "has no effect on a directory, whose types are its own")
    OutputDirectory(out, source=gguf, force=force).check()
    source = _opened(gguf, dtype, merge)
    if check is not None:
        check(source)
    total = sum(info.nbytes for info in source.tensors.values())
    with OutputDirectory(
        out, needed_bytes=total + _BESIDE_WEIGHTS, source=gguf, force=force
    ) as staging:
        done = 0
        with ShardWriter(staging, list(source.tensors.values())) as writer:
            for name, info in source.tensors.items():
                writer.add(source.read([name]))
                done += info.nbytes
                if progress is not None:
                    progress(done, total)
        source.copy_companions(staging)
        write_json(staging / "config.json", with_older_names(source.config))
    return out


def _opened(path: Path, dtype: torch.dtype, merge_adapter: bool) -> Source:
    refuse_mistaken(path)
    if path.is_file() and merge_adapter:
        raise OptionError("merge_adapter", f"has no effect on a file: {path}")
    if not path.is_dir() and not merge_adapter:
        return FiniteSource(GGUFSource(path, dtype))
    source = open_merged(path) if merge_adapter else open_published(path)
    if not isinstance(source, DerivedSource):
        raise SourceError(
            f"{path}: a directory; give the .gguf file itself, or one with something to restore"
        )
    return FiniteSource(source)
