"""What claims are held against: a model, artifacts of it, their loss and their speed.

Everything is measured when it is first asked for, and kept for the claims that follow.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import tersor
from tersor.calibration.text import evaluation_file, open_text, pack
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.opening import open_source
from tersor.evaluation import Evaluation

LINEARS = (".self_attn.", ".mlp.")


@dataclass(frozen=True)
class Study:
    """``model``: the original; ``out``: where artifacts go; ``text``: scored, ``windows`` of it.

    ``calibration``: text for methods that read one; without any the mixture of tersor's.
    """

    model: Path
    out: Path
    text: Path | None
    calibration: Path | None
    windows: int = 8
    found: dict[str, Any] = field(default_factory=dict)

    def artifact(self, recipe: str, **changes: Any) -> Path:
        """The model quantized by a recipe, changed by options of ``tersor.quantize``."""
        return self._made(recipe, **changes).directory

    def evaluation(self, recipe: str, *, engine: bool = False, **changes: Any) -> Evaluation:
        """What an artifact lost, dequantized or by the engine."""
        name = f"loss {_named(recipe, changes)} {engine}"
        if name not in self.found:
            result = tersor.evaluate(
                self.artifact(recipe, **changes),
                base=self.model,
                text=[self.text] if self.text else (),
                windows=self.windows,
                skip=512,
                engine=engine,
            )
            self.found[name] = result.evaluations[0]
        kept: Evaluation = self.found[name]
        return kept

    def kl(self, recipe: str, **changes: Any) -> float:
        """Mean KL divergence from the original in nats."""
        found = self.evaluation(recipe, **changes).kl_mean
        assert found is not None
        return found

    def worse(self, recipe: str, **changes: Any) -> float:
        """By how much perplexity grew, as a share."""
        found = self.evaluation(recipe, **changes)
        assert found.base_perplexity is not None
        return found.perplexity / found.base_perplexity - 1

    def rates(self, directory: Path, **options: Any) -> tuple[float, float]:
        """Tokens per second of a prompt of 512, and of the next 64; medians of five."""
        name = f"rates {directory.name} {options}"
        if name not in self.found:
            found = tersor.bench(directory, repetitions=5, **options)
            self.found[name] = (median(found.prefill), median(found.decode))
        kept: tuple[float, float] = self.found[name]
        return kept

    def variant(self, preset: str, **changes: Any) -> str:
        """A preset with keys changed, as the file of a recipe."""
        file = self.out / f"{preset}-{'-'.join(changes)}.yaml"
        document = tersor.load_recipe(preset).to_dict() | changes | {"name": file.stem}
        file.write_text(json.dumps(document))
        return str(file)

    def seconds(self, recipe: str) -> float:
        """Of quantizing."""
        return float(self._made(recipe).seconds)

    def bytes(self, recipe: str, **changes: Any) -> tuple[int, int]:
        """Of the artifact and of the original."""
        plan = self._made(recipe, **changes).plan
        return plan.bytes, plan.source_bytes

    def tokens(self) -> Tensor:
        """One window of the text, int64 ``(1, 512)``."""
        file = open_text(self.text) if self.text else evaluation_file()
        return pack(load_tokenizer(self.model), [file], 512, 1).tokens

    def share(self, *parts: str) -> float:
        """Of the weights inside the blocks, those of linears that have a part in their name."""
        sizes = {name: weight.numel() for name, weight in self.matrices()}
        chosen = sum(n for name, n in sizes.items() if any(part in name for part in parts))
        return chosen / sum(sizes.values())

    def matrices(self) -> Iterator[tuple[str, Tensor]]:
        """Names and weights ``(out, in)`` of the linears inside the blocks, float32."""
        source = open_source(self.model)
        for name in source.tensors:
            if name.endswith(".weight") and any(part in name for part in LINEARS):
                yield name, source.read([name])[name].float()

    def _made(self, recipe: str, **changes: Any) -> Any:
        name = f"made {_named(recipe, changes)}"
        if name not in self.found:
            given = dict(changes)
            if self.calibration is not None and tersor.load_recipe(recipe).needs_calibration:
                given["calibration"] = [self.calibration]
            out = self.out / _named(recipe, changes)
            self.found[name] = tersor.quantize(self.model, out, recipe, force=True, **given)
        return self.found[name]


def _named(recipe: str, changes: dict[str, Any]) -> str:
    name = Path(recipe).stem
    if not changes:
        return name
    return f"{name}-{sha256(repr(sorted(changes.items())).encode()).hexdigest()[:8]}"


@cache
def gaussian(seed: int = 0) -> Tensor:
    """Numbers of a normal distribution, to hold weights against."""
    return torch.randn(1 << 20, generator=torch.Generator().manual_seed(seed))
