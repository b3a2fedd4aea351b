"""What the commands print: plain text for people, or one JSON document."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tersor.cli.printing.layout import print_table, say
from tersor.report import damage_warning, duration, figure, for_people, size, worst_first

if TYPE_CHECKING:
    from tersor.evaluation import Evaluation
    from tersor.pipeline.planning import Plan
    from tersor.pipeline.result import QuantizeResult
    from tersor.pipeline.studies.comparison import CompareResult
    from tersor.pipeline.studies.effort import Effort
    from tersor.pipeline.studies.found import EvaluateResult
    from tersor.recipes import Preset
    from tersor.runtime.measuring.bench import BenchResult


def presets(found: "Sequence[Preset]", as_json: bool) -> None:
    """Every preset under its kind: how long it takes, what it loses, what it does."""
    if as_json:
        print_json([preset.to_dict() for preset in found])
        return
    longest = max(len(preset.recipe) for preset in found)
    for kind, same in groupby(found, key=lambda preset: (preset.kind, preset.use)):
        say(": ".join(kind), 2)
        for preset in same:
            cost = f"{preset.time:<7}  {figure(preset.kl_mean, 3):<5}"
            say(f"  {preset.recipe:<{longest}}  {cost}  {preset.description}", longest + 20)
        print()
    say(
        "Behind each name: the time it takes on a model of 0.1B weights (SmolLM2) with two cores, "
        "and the KL divergence in nats that it leaves on WikiText-2. `tersor recipes NAME` prints "
        "one as YAML.",
        0,
    )


def plan(planned: "Plan", as_json: bool) -> None:
    """What would be done, and how large the result would be."""
    quantized, kept = list(planned.quantized()), [m for m in planned.modules() if m.reason]
    if as_json:
        print_json(planned.to_dict())
        return
    say(f"recipe     {planned.recipe.name}: {planned.recipe.scheme}")
    say(f"quantize   {len(quantized)} matrices")
    _print_types(planned)
    for module in kept:
        say(f"keep       {module.module} ({module.reason})")
    _print_sizes(planned, planned.notes)
    if planned.bytes_at_most > planned.bytes:
        say(
            f"note       scales that float16 cannot hold (under 7.6e-6) take float32: "
            f"at most {size(planned.bytes_at_most)}"
        )


def result(done: "QuantizeResult", as_json: bool) -> None:
    """What was done, and the worst of what was lost."""
    if as_json:
        print_json(done.to_dict())
        return
    quantized = worst_first(done.layers)
    worst = quantized[0]
    say(f"recipe     {done.plan.recipe.name}: {done.plan.recipe.scheme}")
    say(f"quantized  {len(quantized)} matrices in {duration(done.seconds)}")
    say(f"worst      {worst.module}, SQNR {figure(worst.sqnr_db, 3)} dB")
    for record in done.layers:
        if record.reason:
            say(f"kept       {record.module} ({record.reason})")
    for text in done.calibration:
        say(f"{text.done:<10} on {text.line()}")
    _print_sizes(done.plan, done.notes)
    if done.repetition is not None:
        say(f"repeats    {done.repetition.line()}")
    say(f"written    {done.directory}")
    if warning := damage_warning(done.layers):
        say(f"WARNING    {warning}")


@contextmanager
def evaluation(as_json: bool) -> "Iterator[Callable[[EvaluateResult], None]]":
    """What shows a result: first without tasks, then with them.

    As JSON the last one is shown, in the end; both ways what was found even if the tasks fail.
    """
    latest: list[EvaluateResult] = []

    def show(result: "EvaluateResult") -> None:
        if not as_json and not latest:
            _print_evaluations(result.evaluations)
        if not as_json and result.tasks is not None:
            print(json.dumps(dict(result.tasks), indent=2))
        latest[:] = [result]

    try:
        yield show
    finally:
        if as_json and latest:
            print_json(latest[0].to_dict())


def effort(foreseen: "Effort") -> None:
    """What will be scored and how long it takes, on standard error: it is no result."""
    print(foreseen.line(), file=sys.stderr)


def _print_evaluations(found: "Sequence[Evaluation]") -> None:
    """One row per text."""
    rows = [
        {name: value for name, value in _evaluation_row(one).items() if value is not None}
        for one in found
    ]
    print_table(for_people(rows), ("text",))
    say(_protocol(found[0]))
    for note in dict.fromkeys(note for one in found for note in one.notes):
        say(f"read       {note}")


def _protocol(one: "Evaluation") -> str:
    """How windows were made and what of them was scored."""
    first = ", ".join(map(str, one.first_tokens))
    behind = f", each behind the tokenizer's first token {first}" if first else ""
    scored = "all but the first" if one.skip == 0 else f"all behind the first {one.skip + 1}"
    return f"windows    of {one.context} tokens{behind}; scored: {scored}"


def comparison(made: "CompareResult", out: Path, as_json: bool) -> None:
    """The table, and where it was written."""
    if as_json:
        print_json(made.to_dict())
        return
    print_table(made.table(), ("recipe", "text"))
    for line in made.lines():
        say(line, 2)
    if any(row.best for row in made.rows):
        say("best: nothing as small loses less", 2)
    say(f"written: {out / 'compare.html'} (the report), compare.csv, compare.json, compare.md", 2)


def report(out: Path) -> None:
    """Where the report of a study lies, as a browser takes it."""
    say(f"report: {(out / 'compare.html').absolute().as_uri()}", 2)


def bench(found: "BenchResult", as_json: bool) -> None:
    """Rates, and their share of what the machine can do."""
    if as_json:
        print_json(found.to_dict())
        return
    of_bandwidth = found.bandwidth / found.peak_bandwidth
    of_products = found.products / found.peak_products
    say(
        f"prefill    {_rates(found.prefill)}, {found.prompt_tokens} tokens: "
        f"{found.products / 1e9:.0f} G products/s, {of_products:.0%} of "
        f"{found.peak_products / 1e9:.0f}"
    )
    say(
        f"decode     {_rates(found.decode)}, {found.new_tokens} tokens: "
        f"{found.bandwidth / 1e9:.1f} GB/s of weights, {of_bandwidth:.0%} of "
        f"{found.peak_bandwidth / 1e9:.1f}"
    )
    say(f"weights    {size(found.bytes_per_token)} per token")
    say(f"threads    {found.threads}, batch {found.batch}")
    say(
        f"kernels    {found.instructions}, activations of {found.activation_bits} bits, cache "
        f"{found.cache}"
    )
    for note in found.notes:
        say(f"note       {note}")


def speeds(before: "BenchResult", after: "BenchResult") -> None:
    """Tokens per second of a model and of what was made of it, and how many times as many."""
    print()
    rows = [
        {
            "tokens/s": one.model.name,
            f"prompt of {one.prompt_tokens}": median(one.prefill),
            "next tokens": median(one.decode),
            "MB read per token": one.bytes_per_token / 1e6,
        }
        for one in (before, after)
    ]
    print_table(rows, ("tokens/s",))
    times = median(after.decode) / median(before.decode)
    say(f"{after.model.name} makes {times:.1f} times as many tokens per second", 2)


def asked(question: str, answers: dict[Path, str]) -> None:
    """A question, what each directory's model answers, and how to go on with the last."""
    print(f"\n{question}")
    longest = max(len(directory.name) for directory in answers)
    for directory, answer in answers.items():
        say(f"{directory.name:<{longest}}  {' '.join(answer.split())}", longest + 2)
    print()
    say(f"next: tersor chat {directory}, tersor evaluate --help, tersor recipes", 2)


def _rates(rates: Sequence[float]) -> str:
    return f"{median(rates):.1f} tokens/s (of {len(rates)}: {min(rates):.1f} to {max(rates):.1f})"


def _evaluation_row(one: "Evaluation") -> dict[str, Any]:
    return {
        "text": one.texts[0],
        "tokens": one.tokens,
        "perplexity": one.perplexity,
        "nll_stderr": one.nll_stderr,
        "base_perplexity": one.base_perplexity,
        "kl_mean": one.kl_mean,
        "kl_median": one.kl_median,
        "kl_p99": one.kl_p99,
        "top1_agreement": one.top1_agreement,
        "rms_delta_p": one.rms_delta_p,
    }


def _print_types(planned: "Plan") -> None:
    """If matrices are stored in several ways, which are: counted by what they are in a block."""
    found: dict[str, Counter[str]] = {}
    for module, name in planned.stored_as().items():
        found.setdefault(name, Counter())[module.rpartition(".")[2]] += 1
    if len(found) > 1:
        for name, parts in sorted(found.items()):
            said = ", ".join(f"{count} {part}" for part, count in parts.items())
            say(f"{parts.total():>6} as  {name}: {said}")


def _print_sizes(planned: "Plan", notes: Sequence[str]) -> None:
    from tersor.formats import readings_line

    say(f"size       {size(planned.bytes)}, was {size(planned.source_bytes)}")
    say(
        f"bits       {planned.bits_per_quantized_weight:.3f} per quantized weight, "
        f"{planned.bits_per_weight:.3f} per parameter"
    )
    if planned.budget is not None:
        for label, fact in planned.budget.lines():
            say(f"{label:<10} {fact}")
    say(f"format     {planned.format}")
    say(f"readers    {readings_line(planned.readings())}")
    for note in notes:
        say(f"note       {note}")


def print_json(document: Any) -> None:
    """Print one JSON document."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    print()
