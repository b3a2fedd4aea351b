"""What claims are held against: a model, artifacts of it, their loss and their speed.

Losses are those of `tersor.compare` in one directory, which measures nothing twice: a run that was
interrupted goes on. Speed is measured when it is first asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import tersor
from tersor.checkpoints.opening import open_source
from tersor.pipeline.studies.comparison import CompareResult
from tersor.pipeline.studies.rows import CompareRow
from tersor.recipes import Adjustments, Recipe

LINEARS = (".self_attn.", ".mlp.")
SKIP = 512


@dataclass(frozen=True)
class Variant:
    """A preset with options of `tersor.quantize`; ``keys``: of its document, changed."""

    preset: str
    changes: tuple[tuple[str, Any], ...] = ()
    keys: tuple[tuple[str, Any], ...] = ()

    @property
    def recipe(self) -> Recipe:
        """Under a name of its own."""
        recipe = tersor.load_recipe(tersor.load_recipe(self.preset).to_dict() | dict(self.keys))
        given = Adjustments(**dict(self.changes)).apply(recipe)
        return replace(given, name=_named(self))


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
    compared: dict[str, CompareResult] = field(default_factory=dict)
    rated: dict[str, tuple[float, float]] = field(default_factory=dict)

    def compare(self, *variants: Variant) -> None:
        """Quantize and score them all, in one go."""
        recipes = [variant.recipe for variant in variants]
        reads = self.calibration is not None and any(one.needs_calibration for one in recipes)
        found = tersor.compare(
            self.model,
            recipes,
            self.out,
            text=[self.text] if self.text else (),
            calibration=[self.calibration] if reads and self.calibration else (),
            windows=self.windows,
            skip=SKIP,
        )
        self.compared.update({recipe.name: found for recipe in recipes})

    def row(self, preset: str, **changes: Any) -> CompareRow:
        """What became of one; options are those of `tersor.quantize`."""
        return self._row(Variant(preset, tuple(changes.items())))

    def changed(self, preset: str, **keys: Any) -> CompareRow:
        """The same with keys of its document changed."""
        return self._row(Variant(preset, keys=tuple(keys.items())))

    @property
    def original(self) -> CompareRow:
        """The model itself."""
        return next(iter(self.compared.values())).rows[0]

    def kl(self, preset: str, **changes: Any) -> float:
        """Mean KL divergence from the original in nats."""
        found = self.row(preset, **changes).kl_mean
        assert found is not None
        return found

    def worse(self, preset: str) -> float:
        """By how much perplexity grew, as a share."""
        found = self.row(preset)
        return found.perplexity / self.original.perplexity - 1

    def travel(self, preset: str) -> tuple[float, ...]:
        """Relative squared error of the hidden states behind each block."""
        self.row(preset)
        (found,) = [a for a in self.compared[preset].artifacts if a.recipe == preset]
        assert found.travel is not None
        return found.travel

    def engine_kl(self, preset: str) -> float:
        """The same divergence with everything that the engine rounds."""
        self.row(preset)
        found = tersor.evaluate(
            self.out / preset,
            base=self.model,
            text=[self.text] if self.text else (),
            windows=self.windows,
            skip=SKIP,
            engine=True,
        )
        return found.evaluations[0].kl_mean or 0.0

    def rates(self, directory: Path, **options: Any) -> tuple[float, float]:
        """Tokens per second of a prompt of 512, and of the next 64; medians of five."""
        name = f"{directory.name} {options}"
        if name not in self.rated:
            found = tersor.bench(directory, repetitions=5, **options)
            self.rated[name] = (median(found.prefill), median(found.decode))
        return self.rated[name]

    def artifact(self, preset: str) -> Path:
        """Its directory."""
        self.row(preset)
        return self.out / preset

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

    def _row(self, variant: Variant) -> CompareRow:
        name = _named(variant)
        if name not in self.compared:
            self.compare(variant)
        return next(row for row in self.compared[name].rows if row.recipe == name)


def _named(variant: Variant) -> str:
    changed = {**dict(variant.changes), **dict(variant.keys)}
    return "-".join([variant.preset, *(f"{k}-{_plain(v)}" for k, v in changed.items())])


def _plain(value: Any) -> str:
    text = "+".join(value) if isinstance(value, tuple) else str(value)
    return "".join(letter for letter in text if letter.isalnum() or letter in "_+") or "all"


def variants(names: Mapping[str, Any]) -> tuple[Variant, ...]:
    """From ``preset: [options, …]``."""
    return tuple(
        Variant(preset, tuple(options.items()))
        for preset, many in names.items()
        for options in many
    )


@cache
def gaussian(seed: int = 0) -> Tensor:
    """Numbers of a normal distribution, to hold weights against."""
    return torch.randn(1 << 20, generator=torch.Generator().manual_seed(seed))
