"""Activation statistics of a checkpoint, one block in memory at a time."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor

from tersor.calibration.points import Points
from tersor.calibration.skeleton import Decoder
from tersor.calibration.statistics import Statistic
from tersor.calibration.text import check_windows
from tersor.checkpoints.source import Source
from tersor.models.architecture import describe

R = TypeVar("R")


def collect(
    source: Source,
    observers: Mapping[str, Statistic[R]],
    tokens: Tensor,
    *,
    progress: Callable[[int, int], None] | None = None,
    microbatch_tokens: int = 4096,
) -> dict[str, R]:
    """Run ``tokens (n, T)`` int64 through the model in fp32 and observe the inputs of linears.

    ``observers`` maps the weights of linears, by their published names
    (``model.layers.0.mlp.up_proj.weight``, an expert's as well, the head's too) to a statistic of
    what they are multiplied with. Linears that share an input need one observer only. A statistic
    is updated once per window ``(T, in)``; an expert's once per ``microbatch_tokens``, with the
    tokens that the router sent to it. At most one block's weights are in memory, with the hidden
    states of all windows twice. ``progress(done, total)`` counts blocks.

    Returns the results by name. An expert that no token was sent to is not among them.

    Raises :class:`SourceError` for a name that is no linear, a model that transformers cannot run,
    a checkpoint that is incomplete, or an activation that is not finite; :class:`TextError` for
    windows that the model cannot read.
    """
    shapes = {name: info.shape for name, info in source.tensors.items()}
    architecture = describe(source.config, shapes)
    decoder = Decoder(source, architecture)
    _check_windows(source, decoder, tokens)
    points = Points(source, architecture, decoder, tokens.shape[1])
    for name, observer in observers.items():
        points.add(name, observer)
    rows = max(1, microbatch_tokens // tokens.shape[1])
    final = decoder.run(tokens, points.observing, rows=rows, progress=progress)
    points.observe_head(final)
    return {name: observers[name].result() for name in observers if name in points.seen}


def _check_windows(source: Source, decoder: Decoder, tokens: Tensor) -> None:
    config = getattr(decoder.module, "config", None)
    check_windows(
        tokens,
        str(source.path),
        vocabulary=getattr(config, "vocab_size", None),
        positions=getattr(config, "max_position_embeddings", None),
    )
