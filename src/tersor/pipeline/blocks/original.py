"""The original model beside the quantized one: what its linears read, how far the two are apart."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from tersor.calibration.memory import ActivationMemory
from tersor.calibration.stages import Stage, staged
from tersor.calibration.statistics.hessian import cross_moment
from tersor.errors import SourceError
from tersor.families.blocks import canonical
from tersor.machine.parallel import in_order
from tersor.models.architecture import Architecture
from tersor.pipeline.blocks.observation import as_multiplied
from tersor.pipeline.blocks.parts import BlockParts
from tersor.ranges import Drift


class Reference:
    """Runs the original of a block through the same stages as the one that is quantized.

    ``hidden``: the quantized model's input of the block, ``original``: the original's, both fp32
    ``(n, T, hidden)``; the latter is replaced by the original block's output. Enters ``stack`` to
    end its threads.
    """

    def __init__(
        self,
        architecture: Architecture,
        parts: BlockParts,
        hidden: Tensor,
        original: Tensor,
        memory: ActivationMemory,
        stack: ExitStack,
    ) -> None:
        self._architecture, self._hidden, self._original = architecture, hidden, original
        self._call = parts.call
        block = deepcopy(parts.call.block)
        # Experts see other tokens in the other model, so theirs cannot be compared.
        self._stages = [stage for stage in parts.stages if stage.fused is None]
        if parts.call.shares:
            raise SourceError(
                f"{type(block).__name__} shares keys and values with other blocks, so the original "
                "cannot run beside it; use gptq in place of gptaq"
            )
        call = replace(parts.call, block=block)
        self._forward = staged(call, original, original, self._stages, memory)
        stack.enter_context(closing(self._forward))
        self._memory = memory
        self._apart: Tensor | None = None
        self._inputs: Sequence[Tensor] = ()

    def drift(self, stage: Stage, inputs: Sequence[Tensor]) -> Drift | None:
        """How far the two models are apart at a stage; ``None`` at an expert's."""
        if stage.fused is not None:
            return None
        dtype = self._call.dtype
        _, originals = next(self._forward)
        self._inputs = as_multiplied(originals, dtype)
        pairs = zip(originals, inputs, strict=True)
        differences = list(in_order(lambda pair: (pair[0] - pair[1]).to(dtype), pairs))
        stream = None
        if self._writes(stage):
            stream = cross_moment(self._distances(inputs), inputs)
        return Drift(cross_moment(differences, inputs), stream)

    def written(
        self,
        stage: Stage,
        inputs: Sequence[Tensor],
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
    ) -> None:
        """Account for what a stage adds to both residual streams.

        ``before``, ``after``: its weights ``(out, in)`` by name, in the original and now.
        """
        if not self._writes(stage) or self._apart is None or stage == self._stages[-1]:
            return
        (name,) = stage.weights
        old, new = (weights[name].to(self._call.dtype).T for weights in (before, after))

        def added(number: int) -> None:
            assert self._apart is not None
            moved = (self._inputs[number] @ old).float() - (inputs[number] @ new).float()
            self._apart[self._rows(number, len(inputs[number]))] += moved

        for _ in in_order(added, range(len(inputs))):
            pass

    def finish(self) -> None:
        """Let the original block end, so that its output is there for the next."""
        for _ in self._forward:
            pass

    def _writes(self, stage: Stage) -> bool:
        """Whether the stage's output is added to the residual stream as it is."""
        if self._architecture.sandwich or stage.fused or len(stage.weights) != 1:
            return False
        _, relative = self._architecture.split(stage.weights[0])
        return canonical(relative) in self._architecture.writers

    def _distances(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Original minus quantized residual stream, in pieces ``(tokens, hidden)``."""
        if self._apart is None:
            self._apart = self._memory.empty((self._hidden[..., 0].numel(), self._hidden.shape[-1]))
            flat = self._apart.view(self._hidden.shape)
            torch.sub(self._original, self._hidden, out=flat)
        lengths = [len(x) for x in inputs]
        return [apart.to(self._call.dtype) for apart in torch.split(self._apart, lengths)]

    def _rows(self, number: int, length: int) -> slice:
        start = number * self._call.rows * self._hidden.shape[1]
        return slice(start, start + length)
