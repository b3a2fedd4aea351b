"""The orderings that theory demands, held by KL divergence on SmolLM2-135M.

    python benchmarks/loss/orderings.py --text wiki.test.raw -o /tmp/orderings

Scores the second half of each of 4 windows of 1024 tokens, in float32, against the restored
bfloat16 model. Prints every pair with its verdict.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from tersor.demo import demo_model
from tersor.grids import Granularity
from tersor.pipeline.studies.compare import CompareResult, compare_recipes
from tersor.pipeline.studies.evaluate import Protocol
from tersor.ranges import MeanSquaredError
from tersor.recipes import Recipe, load_recipe


def variants(norms: list[float]) -> list[Recipe]:
    """Recipes that differ from a preset in one respect, to hold one ordering each."""
    w4, int8 = load_recipe("w4"), load_recipe("vanilla-int8")
    found = [
        _named(int8.with_group_size(64), "int8-g64"),
        _named(int8.with_group_size(64).as_asymmetric(), "int8-g64-asym"),
        _named(_per_tensor(int8.as_asymmetric()), "int8-per-tensor-asym"),
    ]
    for bits in (4, 3, 2):
        base = w4.with_bits(bits)
        for symmetry, recipe in (("", base), ("-asym", base.as_asymmetric())):
            for size, grouped in (("g64", recipe), ("channel", recipe.with_group_size(0))):
                name = f"w{bits}-{size}{symmetry}"
                found.append(_named(grouped, name))
                for norm in norms:
                    end = "mse" if norm == 2 else f"mse{norm:g}"
                    range_ = MeanSquaredError(norm=norm)
                    found.append(replace(_named(grouped, f"{name}-{end}"), range=range_))
    found.append(_named(_per_tensor(w4), "w4-tensor"))
    found.append(_named(_per_tensor(w4.as_asymmetric()), "w4-tensor-asym"))
    return found


def orderings(kl: dict[str, float]) -> list[tuple[str, str, str]]:
    """(claim, better recipe, worse recipe): the better one should have the lower KL."""
    claims = [("group ≤ channel", "int8-g64", "vanilla-int8")]
    claims += [("channel ≤ tensor", "vanilla-int8", "int8-per-tensor")]
    claims += [("asymmetric ≤ symmetric", "vanilla-int8-asym", "vanilla-int8")]
    claims += [("asymmetric ≤ symmetric", "int8-g64-asym", "int8-g64")]
    claims += [("asymmetric ≤ symmetric", "int8-per-tensor-asym", "int8-per-tensor")]
    claims += [("channel ≤ tensor", f"w4-channel{s}", f"w4-tensor{s}") for s in ("", "-asym")]
    for bits in (4, 3, 2):
        for end in ("", "-asym", "-mse4", "-asym-mse4"):
            claims.append(("group ≤ channel", f"w{bits}-g64{end}", f"w{bits}-channel{end}"))
        for size in ("g64", "channel"):
            for end in ("", "-mse4"):
                pair = (f"w{bits}-{size}-asym{end}", f"w{bits}-{size}{end}")
                claims.append(("asymmetric ≤ symmetric", *pair))
            for symmetry in ("", "-asym"):
                name = f"w{bits}-{size}{symmetry}"
                claims.append(("MSE range ≤ min-max", f"{name}-mse", name))
                claims.append(("norm-4 range ≤ min-max", f"{name}-mse4", name))
    return [claim for claim in claims if claim[1] in kl and claim[2] in kl]


def _named(recipe: Recipe, name: str) -> Recipe:
    return replace(recipe, name=name)


def _per_tensor(recipe: Recipe) -> Recipe:
    weights = replace(recipe.scheme.weights, granularity=Granularity.TENSOR, group_size=None)
    return replace(recipe, scheme=replace(recipe.scheme, weights=weights))


def report_orderings(comparison: CompareResult) -> None:
    for text in dict.fromkeys(row.text for row in comparison.rows):
        kl = {row.recipe: row.kl_mean for row in comparison.rows if row.text == text}
        print(f"\norderings on {text} (KL)")
        for claim, better, worse in orderings(kl):
            verdict = "holds" if kl[better] <= kl[worse] else "DOES NOT HOLD"
            left, right = (f"{name:20s} {kl[name]:8.5f}" for name in (better, worse))
            print(f"  {claim:24s} {left}  {right}  {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, action="append", default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--norms", default="2,4", help="Powers of the error to search with.")
    parser.add_argument("--only", default="", help="Recipes whose name contains this.")
    arguments = parser.parse_args()
    int8 = [load_recipe(n) for n in ("vanilla-int8", "vanilla-int8-asym", "int8-per-tensor")]
    norms = [float(norm) for norm in arguments.norms.split(",")]
    comparison = compare_recipes(
        demo_model(),
        [recipe for recipe in int8 + variants(norms) if arguments.only in recipe.name],
        arguments.out,
        text=arguments.text,
        protocol=Protocol(context=1024, windows=arguments.windows, skip=512),
        force=True,
    )
    report_orderings(comparison)


if __name__ == "__main__":
    main()
