"""The original model in memory, in float32: what every block reads of a text, and the logits."""

from collections.abc import Callable, Mapping
from functools import cached_property
from math import gcd

import torch
from torch import Tensor

from tersor import _native
from tersor.calibration.blocks import BlockCall
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.skeleton import Decoder
from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.models.architecture import Architecture
from tersor.pipeline.planning.logits import head_of, known_logits

_ROWS = 256
_TOGETHER = 4
_KEPT = 10**9
Progress = Callable[[int, int], None]


class Original:
    """A model and a text in windows, of the first ``scored`` of which positions ``first …`` count.

    ``pieces``: windows that go through a block together, all of them scored or none.
    """

    def __init__(
        self,
        source: Source,
        architecture: Architecture,
        tokens: Tensor,
        memory: ActivationMemory,
        *,
        first: int = 0,
        scored: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """``tokens``: int64 ``(n, T)``. The last position of a window has no next.

        Raises :class:`SourceError` for a model that cannot be run block by block, or whose logits
        are not the head's product.
        """
        self._rule = known_logits(
            source,
            architecture,
            "what single linears do to them cannot be measured; use a recipe without a budget",
        )
        self.decoder = Decoder(source, architecture)
        self.source, self.architecture, self.tokens = source, architecture, tokens
        self.first, self._memory = first, memory
        self.windows = len(tokens) if scored is None else scored
        """How many are scored."""
        self._rows = gcd(self.windows, len(tokens), _TOGETHER)
        self.pieces = [slice(i, i + self._rows) for i in range(0, len(tokens), self._rows)]
        self._base: dict[int, Tensor] = {}
        self.calls: list[BlockCall] = []
        self.inputs: list[Tensor] = []
        """Of every block, fp32 ``(n, T, hidden)``."""

        def keep(call: BlockCall, hidden: Tensor) -> Tensor:
            self._refuse_shared(call)
            self.calls.append(call)
            self.inputs.append(hidden)
            return call.run(hidden, memory.empty(tuple(hidden.shape)))

        self.output = self._walked(keep, progress)
        """Of the final norm, fp32 ``(n, T, hidden)``."""
        self._loaded = False

    @property
    def positions(self) -> int:
        """Scored positions of all windows."""
        return self.windows * (self.tokens.shape[1] - 1 - self.first)

    @cached_property
    def head(self) -> Tensor:
        """The matrix ``(vocab, hidden)`` that makes logits, fp32."""
        name = head_of(self.architecture)
        assert name is not None
        return self.source.read([name])[name].float()

    def load(self) -> None:
        """Put all blocks into memory for good; no walk may follow."""
        if not self._loaded:
            for index in range(len(self.calls)):
                self.decoder.load(index)
        self._loaded = True

    def weight(self, name: str) -> Tensor:
        """A view ``(out, in)`` of a weight of a block, by its published name."""
        view = self._views[name]
        return view.T if self.architecture.is_transposed(name) else view

    @cached_property
    def _views(self) -> Mapping[str, Tensor]:
        self.load()
        found: dict[str, Tensor] = {}
        for index, block in enumerate(self.decoder.blocks):
            for path, parameter in block.named_parameters():
                found |= self.decoder.published(index, path, parameter.detach())
        return found

    def divergence_from(self, block: int) -> float:
        """Mean KL divergence from the original to what blocks ``block …`` make now, in nats."""
        given = self.inputs[block][: self.windows]
        hidden = torch.empty_like(given)
        with torch.no_grad():
            for call in self.calls[block:]:
                given = call.run(given, hidden)
            return self.divergence(self._left(hidden), self.head)

    def divergence_of_embedding(self, changed: Tensor, head: Tensor) -> float:
        """The same with another table ``(vocab, hidden)`` of embeddings, and another head."""
        table = self.decoder.embedding().weight
        assert isinstance(table, Tensor)
        with torch.no_grad():
            table.copy_(changed)
        output = self._walked(lambda call, hidden: call.run(hidden, hidden), None, self.windows)
        return self.divergence(output, head)

    def divergence(self, output: Tensor, head: Tensor) -> float:
        """The same for a final norm's output ``(n, T, hidden)`` and a head ``(vocab, hidden)``."""
        totals = torch.empty(self.positions, dtype=torch.float64)
        rows = self.scored(output)
        for start in range(0, len(rows), _ROWS):
            piece = slice(start, start + _ROWS)
            now, before = self._logits(rows[piece], head), self._before(piece)
            _native.divergence(now.numpy(), before.numpy(), totals[piece].numpy())
        mean = float(totals.mean())
        if not mean < float("inf"):
            raise SourceError(f"{self.source.path}: logits hold NaN or infinity")
        return max(mean, 0.0)

    def scored(self, per_token: Tensor) -> Tensor:
        """Rows ``(positions, …)`` of what there is for every token ``(n, T, …)``."""
        return per_token[: self.windows, self.first : -1].flatten(0, 1)

    def gradient(self, labels: bool, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Of ``Σ log p(y)`` over scored positions, by the final norm's output.

        Of the windows that are scored, ``(n, T, hidden)``. ``y``: the text's next token with
        ``labels``, else drawn from the prediction. ``dtype``: what products are computed in.
        """
        generator = torch.Generator().manual_seed(seed)
        head, rows = self.head.to(dtype), self.scored(self.output)
        following = self.tokens[: self.windows, self.first + 1 :].flatten()
        found = torch.empty_like(rows)
        for start in range(0, len(rows), _ROWS):
            piece = slice(start, start + _ROWS)
            logits = self._rule((rows[piece].to(dtype) @ head.T).float())
            slope = logits.softmax(-1)
            chosen = following[piece] if labels else _drawn(slope, generator)
            slope.neg_()
            slope[torch.arange(len(slope)), chosen] += 1
            if self._rule.cap:
                slope *= 1 - (logits / self._rule.cap).square()
            found[piece] = self._rule.scale * (slope.to(dtype) @ head).float()
        whole = torch.zeros_like(self.output[: self.windows])
        whole[:, self.first : -1] = found.view(len(whole), -1, whole.shape[-1])
        return whole

    def _logits(self, rows: Tensor, head: Tensor) -> Tensor:
        return self._rule(rows @ head.T)

    def _before(self, piece: slice) -> Tensor:
        """The original's logits of some scored positions; kept if they are not many."""
        rows = self.scored(self.output)[piece]
        if 4 * self.positions * len(self.head) > _KEPT:
            return self._logits(rows, self.head)
        if piece.start not in self._base:
            self._base[piece.start] = self._logits(rows, self.head)
        return self._base[piece.start]

    def _left(self, hidden: Tensor) -> Tensor:
        return torch.cat(
            [
                self.decoder.leave(self.tokens[piece], hidden[piece])
                for piece in self.pieces
                if piece.start < len(hidden)
            ]
        )

    def _walked(
        self,
        visit: Callable[[BlockCall, Tensor], Tensor],
        progress: Progress | None,
        windows: int | None = None,
    ) -> Tensor:
        tokens = self.tokens[:windows]
        return torch.cat(
            list(
                self.decoder.walk(
                    tokens, visit, rows=self._rows, memory=self._memory, progress=progress
                )
            )
        )

    def _refuse_shared(self, call: BlockCall) -> None:
        """Blocks that hand keys on to later ones cannot be run from the middle of the model."""
        given = [call.kwargs, *(kwargs for _, kwargs in call.own.values())]
        if any(isinstance(value, dict) for kwargs in given for value in kwargs.values()):
            raise SourceError(
                f"{self.source.path}: {type(call.block).__name__} shares keys and values with "
                "other blocks, so single blocks cannot be run again"
            )


def _drawn(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """A token for each row ``(rows, vocab)``, by the inverse of the distribution function."""
    below = probabilities.cumsum(-1)
    wanted = torch.rand(len(below), 1, generator=generator) * below[:, -1:]
    return torch.searchsorted(below, wanted).clamp_max(below.shape[-1] - 1)[:, 0]
