"""Rotations folded into the weights: outliers are spread over all channels before rounding.

QuaRot, https://arxiv.org/abs/2404.00456, and SpinQuant, https://arxiv.org/abs/2405.16406. An
orthogonal Q leaves the length of a vector, and so an RMS norm, as it is: whatever writes the
residual stream writes it rotated (R1) and whatever reads it rotates back. That needs norms without
weights, so the linears behind a norm absorb its weight first. A second matrix does the same between
v and the output projection of every value head (R2). Nothing is computed at run time. The matrices
are random, not learned.

A layer norm subtracts the mean as well. Its Q keeps the all-ones direction, along which the mean
lies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tersor.byte_sizes import human_bytes
from tersor.checkpoints.source import Source, TensorInfo, block_order
from tersor.errors import RecipeError, SourceError
from tersor.models.architecture import Architecture
from tersor.models.describing import describe
from tersor.models.probing import probe
from tersor.transforms.rotation.plan import head_name, residual_steps, value_steps
from tersor.transforms.rotation.steps import Step
from tersor.transforms.rotation.trial import TinySource, refuse_another_function


@dataclass(frozen=True)
class Rotation:
    """``residual``: R1, the residual stream. ``values``: R2, the value heads."""

    residual: bool = True
    values: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.residual and not self.values:
            raise RecipeError("rotation: neither residual nor values; leave the rotation out")


class RotatedSource:
    """A ``Source`` that rotates what it reads.

    ``tensors`` gives the original's dtypes. ``read`` returns fp32 for tensors that the rotation
    changes, so that nothing is rounded before it is quantized: who writes a tensor casts it.
    ``original``: what it reads. ``untied``: the head, where it was the embedding and is a tensor of
    its own now. ``notes``: those of the source, what could not be done as asked, and what it costs.
    """

    def __init__(
        self,
        source: Source,
        steps: Mapping[str, Step],
        untied: TensorInfo | None,
        notes: tuple[str, ...],
    ) -> None:
        """``steps``: how the tensors that are named come about; the others stay."""
        self.original, self._steps = source, steps
        everything = dict(source.tensors)
        if untied is not None:
            everything[untied.name] = untied
        self.path = source.path
        self.untied = untied
        self.config = source.config if untied is None else _untied_config(source.config)
        self.tensors = {name: everything[name] for name in block_order(everything)}
        inner: tuple[str, ...] = getattr(source, "notes", ())
        self.notes = (*inner, *notes)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See ``Source.read``; reads the norms that the named tensors absorb, and no more."""
        return {name: self._read(name) for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """See ``Source.copy_companions``."""
        return self.original.copy_companions(directory)

    def _read(self, name: str) -> Tensor:
        step = self._steps.get(name)
        return self._original(name) if step is None else step.compute(self._original)

    def _original(self, name: str) -> Tensor:
        return self.original.read([name])[name]


def rotated(
    source: Source, settings: Rotation, architecture: Architecture | None = None
) -> RotatedSource:
    """``source`` as a model of the same function with rotated weights.

    ``architecture``: of the source, if known already. Reads nothing but, of a layer norm whose
    readers have no bias, that norm. Where norms stand before the residual sum (Gemma 2 and 3) R1 is
    left out and ``notes`` says so.

    A family without a table is looked at in a tiny model of it (``models.probing``), on which the
    rotation is tried first. Raises :class:`SourceError` where that fails, for a model whose norms
    come after the sum (OPT 350M), and one with tensors that nobody knows.
    """
    if architecture is None:
        shapes = {name: info.shape for name, info in source.tensors.items()}
        architecture = describe(source.config, shapes)
        if not architecture.known:
            architecture = _found_by_numbers(source, architecture, settings)
    if not architecture.known:
        raise SourceError(f"{source.path}: {architecture.note}; choose a recipe without a rotation")
    steps: dict[str, Step] = {}
    notes: list[str] = []
    untied = None
    if settings.residual and architecture.sandwich:
        notes.append(
            f"the residual stream of {architecture.model_type} is not rotated: a norm with weights "
            "stands before each sum and would have to rotate as well"
        )
    elif settings.residual:
        steps = residual_steps(source, architecture, settings.seed)
        untied = _untied(source, architecture)
    if untied is not None and untied.name not in source.tensors:
        notes.append(
            f"{untied.name} is no longer the embedding: a tensor of its own "
            f"({human_bytes(untied.nbytes)} in {str(untied.dtype).removeprefix('torch.')})"
        )
    if settings.values:
        steps = value_steps(source, architecture, settings.seed, steps)
    return RotatedSource(source, steps, untied, tuple(notes))


def _found_by_numbers(
    source: Source, architecture: Architecture, settings: Rotation
) -> Architecture:
    shapes = {name: info.shape for name, info in source.tensors.items()}
    found = probe(architecture, source.config, shapes)
    if isinstance(found, str):
        return replace(architecture, note=f"{architecture.note}; {found}")
    tiny = TinySource(source.path, found)
    try:
        refuse_another_function(tiny, rotated(tiny, settings, found.tiny))
    except (RuntimeError, IndexError, KeyError) as error:  # what is stored in a way nobody foresaw
        raise SourceError(
            f"{source.path}: a small random {architecture.model_type} cannot be rotated "
            f"({type(error).__name__}); choose a recipe without a rotation"
        ) from error
    return found.architecture


def _untied(source: Source, architecture: Architecture) -> TensorInfo | None:
    """The head that a tied model needs; None if it was not tied."""
    name, embedding = head_name(architecture), architecture.embedding
    if not architecture.tied or name is None or embedding is None:
        return None
    return replace(source.tensors[embedding], name=name)


def _untied_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of a model whose head is a tensor of its own."""
    changed = {**config, "tie_word_embeddings": False}
    if isinstance(config.get("text_config"), Mapping):
        changed["text_config"] = {**config["text_config"], "tie_word_embeddings": False}
    return changed
