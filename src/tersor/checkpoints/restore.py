"""GGUF → a plain Hugging Face directory that every engine and tool reads."""

from collections.abc import Callable
from pathlib import Path

import torch

from tersor.checkpoints.files import write_json
from tersor.checkpoints.gguf import GGUFSource
from tersor.checkpoints.output import OutputDirectory
from tersor.checkpoints.writer import ShardWriter
from tersor.errors import SourceError

# Tokenizer, config and headers: a vocabulary of 260,000 words takes 35 MB.
_BESIDE_WEIGHTS = 50_000_000


def restore(
    gguf: Path | str,
    out: Path | str,
    *,
    dtype: torch.dtype = torch.bfloat16,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the model of a GGUF file as a Hugging Face directory.

    Weights are dequantized tensor by tensor into safetensors shards; config, generation config,
    tokenizer and chat template are rebuilt from the metadata. Tied embeddings stay tied: there is
    no ``lm_head.weight`` then.

    Args:
        gguf: the file.
        out: the directory to make.
        dtype: of the weights; dequantization itself is float32.
        force: replace ``out`` if it is a model directory.
        progress: called with bytes done and bytes in all, after each tensor.

    Returns:
        ``out``.

    Raises:
        SourceError: a file that cannot be read or expressed.
        OutputError: ``out`` exists, does not fit on the disk, or cannot be written.
        ReadBackError: what is on disk is not what was meant.
    """
    gguf, out = Path(gguf), Path(out)
    if gguf.is_dir():
        raise SourceError(f"{gguf}: a directory; give the .gguf file itself")
    source = GGUFSource(gguf, dtype)
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
        write_json(staging / "config.json", source.config)
    return out
