"""Training after rounding: the whole quantized model in memory, the original as its teacher."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tersor.calibration.blocks import arithmetic, windows_per_piece
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.skeleton import Decoder
from tersor.checkpoints.source import Source
from tersor.grids import QuantizedTensor
from tersor.pipeline.blocks.work import Work
from tersor.pipeline.planning import ModulePlan, Plan, Unit
from tersor.pipeline.planning.logits import head_of, trainable_logits
from tersor.recipes import Training
from tersor.rounding import Rounded
from tersor.training import (
    Checkpoint,
    LatentNorm,
    LatentScales,
    ModelProblem,
)

Decided = tuple[Unit, Work]


def train(
    source: Source,
    plan: Plan,
    decided: Sequence[Decided],
    tokens: Tensor,
    training: Training,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[list[Decided], list[str]]:
    """Improve what was decided for the blocks; returns it and what there is to report.

    ``tokens``: int64 ``(n, T)``. The quantized model, its gradient and the activations of one batch
    are in memory, however large the model is. ``checkpoint``: from which an interrupted training
    goes on, if the file is there.

    Raises :class:`SourceError` for a model that cannot be trained, and
    :class:`~tersor.errors.SchemeError` for grids that are not of integers.
    """
    budget = plan.recipe.calibration
    dtype = budget.precision.dtype()
    memory = ActivationMemory(int(budget.memory * 1e9))
    teacher = _teacher(source, plan, tokens, memory, dtype)
    student = _Student(source, plan, decided, dtype, training.latent)
    rule = trainable_logits(source, plan.architecture)
    problem = ModelProblem(
        forward=student.forward,
        parameters=student.parameters,
        parts=student.parts,
        latents=student.latents,
        weights=student.weights,
        norms=student.norms if training.trains_norms else {},
        head=(rule.scale * _head(source, plan, decided)).to(dtype),
        cap=rule.cap,
        tokens=tokens,
        teacher=teacher,
        rows=_rows_together(tokens),
    )
    losses = training.train(problem, plan.recipe.seed, progress, checkpoint)
    notes = []
    if losses:
        few = max(1, len(losses) // 10)
        first, last = sum(losses[:few]) / few, sum(losses[-few:]) / few
        notes.append(f"training took the divergence on its own text from {first:.4f} to {last:.4f}")
    return student.trained(), notes


def _rows_together(tokens: Tensor) -> int:
    """Windows that go through the model together: about 512 tokens, for a graph to fit memory."""
    return max(1, 512 // tokens.shape[1])


def _teacher(
    source: Source, plan: Plan, tokens: Tensor, memory: ActivationMemory, dtype: torch.dtype
) -> Tensor:
    """The original's final norm output ``(n, T, hidden)``, in ``dtype``."""
    decoder = Decoder(source, plan.architecture)
    rows = windows_per_piece(tokens.shape[1])
    found: Tensor | None = None
    start = 0
    for piece in decoder.walk(
        tokens, lambda call, hidden: call.run(hidden, hidden), rows=rows, memory=memory, dtype=dtype
    ):
        if found is None:
            found = memory.empty((len(tokens), *piece.shape[1:]), dtype)
        found[start : start + len(piece)] = piece
        start += len(piece)
    assert found is not None
    return found


def _head(source: Source, plan: Plan, decided: Sequence[Decided]) -> Tensor:
    """The matrix ``(vocab, hidden)`` that makes logits: the head as decided, or the embedding.

    An embedding is not quantized yet, even if it will be.
    """
    name = head_of(plan.architecture)
    assert name is not None
    for _, work in decided:
        if rounded := work.rounded.get(name.removesuffix(".weight")):
            return rounded.tensor.dequantize()
    return source.read([name])[name]


class _Student:
    """The quantized model in memory, as decided, ready to be trained."""

    def __init__(
        self,
        source: Source,
        plan: Plan,
        decided: Sequence[Decided],
        dtype: torch.dtype,
        latent: Callable[[QuantizedTensor], LatentScales],
    ) -> None:
        self._source, self._plan, self._decided = source, plan, list(decided)
        self._dtype, self._latent = dtype, latent
        self._decoder = Decoder(source, plan.architecture)
        self._modules = _block_modules(plan)
        self.latents: dict[str, LatentScales] = {}
        self.norms: dict[str, LatentNorm] = {}
        self.weights: dict[str, Tensor] = {}
        self.parameters: list[nn.Parameter] = []
        self._prefixes: list[tuple[int, str]] = []
        changed: dict[str, Tensor] = {}
        rounded: dict[str, Rounded] = {}
        for _, work in decided:
            changed |= work.changed
            rounded |= work.rounded
        for index in range(plan.architecture.blocks):
            self._load(index, changed, rounded)
        self._find_norms()

    def forward(self, tokens: Tensor) -> Tensor:
        """Windows int64 ``(r, T)`` → final norm's output ``(r, T, hidden)``."""
        with arithmetic(self._dtype):
            output = self._decoder.module(input_ids=tokens, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def parts(self, index: int, gradient: Tensor) -> Mapping[str, Tensor]:
        """Gradient of the i-th parameter, by weight name, ``(out, in)``."""
        block, path = self._prefixes[index]
        found = self._decoder.published(block, path, gradient)
        return {
            name: part.T if self._modules[name].transposed else part
            for name, part in found.items()
            if name in self.latents
        }

    def trained(self) -> list[Decided]:
        """The decisions with what training made of them."""
        learned = {
            name.removesuffix(".weight"): latent.quantized()
            for name, latent in self.latents.items()
        }
        norms = {name: norm.parameter.detach() for name, norm in self.norms.items()}
        return [(unit, _learned(unit, work, learned, norms)) for unit, work in self._decided]

    def _load(
        self, index: int, changed: Mapping[str, Tensor], rounded: Mapping[str, Rounded]
    ) -> None:
        """Load a block for good and put the quantized weights into it."""
        block = self._decoder.load(index)
        for path, parameter in block.named_parameters():
            views = self._decoder.published(index, path, parameter.detach())
            for published, view in views.items():
                if published in changed:
                    view.copy_(changed[published])
            learnt = [published for published in views if self._quantized(published) in rounded]
            if not learnt:
                continue
            # Products would convert it each time.
            parameter.data = parameter.data.to(self._dtype)
            views = self._decoder.published(index, path, parameter.detach())
            for published in learnt:
                module = self._modules[published]
                matrix = views[published].T if module.transposed else views[published]
                latent = self._latent(rounded[module.module].tensor)
                latent.weight_into(matrix)
                self.latents[published], self.weights[published] = latent, matrix
            self.parameters.append(parameter)
            self._prefixes.append((index, path))

    def _quantized(self, published: str) -> str | None:
        module = self._modules.get(published)
        return None if module is None else module.module

    def _find_norms(self) -> None:
        """Weights with one axis, by published name; the decoder's own and those of its blocks."""
        for path, parameter in self._decoder.module.named_parameters():
            names = list(self._decoder.published(None, path, parameter.detach()))
            if len(names) == 1 and parameter.ndim == 1 and names[0].endswith(".weight"):
                published = names[0]
                dtype = self._source.tensors[published].dtype
                self.norms[published] = LatentNorm(parameter, dtype)


def _block_modules(plan: Plan) -> dict[str, ModulePlan]:
    return {f"{module.module}.weight": module for module in plan.quantized()}


def _learned(
    unit: Unit, work: Work, learned: Mapping[str, QuantizedTensor], norms: Mapping[str, Tensor]
) -> Work:
    """The work with what training made of it; errors from before are errors no longer."""
    rounded = {
        name: replace(before, tensor=learned[name]) if name in learned else before
        for name, before in work.rounded.items()
    }
    seen = {
        name: replace(found, output_error=None) if name in learned else found
        for name, found in work.seen.items()
    }
    names = {tensor.source.name for tensor in unit.tensors}
    changed = {name: norm for name, norm in norms.items() if name in names}
    return replace(work, rounded=rounded, seen=seen, changed={**work.changed, **changed})
